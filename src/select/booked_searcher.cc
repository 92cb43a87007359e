#include <algorithm>
#include <charconv>
#include <cmath>
#include <iomanip>
#include <limits>
#include <sstream>
#include <utility>

#include "base/failure.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

std::string trial_id(std::size_t index, std::size_t count) {
  const auto digits = std::max<std::size_t>(2, std::to_string(count - 1).size());
  std::ostringstream id;
  id << 't' << std::setw(static_cast<int>(digits)) << std::setfill('0') << index;
  return id.str();
}

constexpr double kWorst = std::numeric_limits<double>::infinity();

}  // namespace

TrialOrder BookedSearcher::enter(TrialSpec spec, std::optional<Epochs> until_epoch, Epochs epochs) {
  require(asked() < trials_max_, "trial ", asked(), " is asked for and at most ", trials_max_, " were announced");
  spec.index = static_cast<std::uint32_t>(asked());
  spec.id = id_at(asked());
  TrialOrder order{spec, until_epoch};
  if (!until_epoch) spec.settings = {};
  book_.push_back({std::move(spec), until_epoch, epochs, kWorst});
  return order;
}

std::string BookedSearcher::id_at(std::size_t index) const { return trial_id(index, trials_max_); }

TrialSpec BookedSearcher::spec_of(std::vector<Setting> settings, std::size_t index) const {
  TrialSpec spec;
  spec.id = id_at(index);
  spec.index = static_cast<std::uint32_t>(index);
  spec.seed = trial_seed(seed_, settings);
  spec.settings = std::move(settings);
  return spec;
}

TrialOrder BookedSearcher::order_new(std::vector<Setting> settings, std::optional<Epochs> until_epoch) {
  return enter(spec_of(std::move(settings), asked()), until_epoch, 0);
}

TrialOrder BookedSearcher::order_clone(std::vector<Setting> settings, std::uint32_t parent, Epochs until_epoch) {
  TrialSpec spec;
  spec.seed = book_[parent].spec.seed;
  spec.settings = std::move(settings);
  spec.lineage = Lineage{id_of(parent), epochs_of(parent).visits(1)};
  return enter(std::move(spec), until_epoch, epochs_of(parent));
}

TrialOrder BookedSearcher::order_further(std::uint32_t trial, std::optional<Epochs> until_epoch) {
  Entry& entry = book_[trial];
  require(!entry.under_way && !entry.ended, "trial ", entry.spec.id, " is asked for while it cannot go on");
  entry.under_way = true;
  entry.until_epoch = until_epoch;
  return {entry.spec, until_epoch};
}

void BookedSearcher::stop(std::uint32_t trial, const std::string& reason) {
  Entry& entry = book_[trial];
  require(!entry.under_way && !entry.ended, "trial ", entry.spec.id, " is stopped while it is not paused");
  entry.ended = true;
  stops_.push_back({entry.spec.id, reason});
}

std::uint32_t BookedSearcher::find(const std::string& trial) const {
  std::uint32_t index = 0;
  if (trial.size() > 1 && trial[0] == 't') std::from_chars(trial.data() + 1, trial.data() + trial.size(), index);
  if (index >= asked() || book_[index].spec.id != trial)
    fail(ExitCode::usage, "the search was told of trial '", trial, "', which it never asked for");
  return index;
}

void BookedSearcher::tell(const TrialScore& score) {
  const std::uint32_t trial = find(score.trial);
  Entry& entry = book_[trial];
  if (entry.ended) fail(ExitCode::usage, "the search was told a score of trial ", score.trial, ", which has ended");
  if (!entry.under_way)
    fail(ExitCode::usage, "the search was told a score of trial ", score.trial, " at epoch ", score.epoch,
         " and had asked for it until epoch ", entry.epochs);
  if (score.epoch <= entry.epochs || score.epoch > entry.until_epoch.value_or(score.epoch))
    fail(ExitCode::usage, "the search was told a score of trial ", score.trial, " at epoch ", score.epoch,
         " and expects one after epoch ", entry.epochs,
         entry.until_epoch ? text::cat(", up to ", *entry.until_epoch) : "");
  entry.epochs = score.epoch;
  const double loss = maximize_ ? -score.metric : score.metric;
  entry.loss = std::isfinite(loss) ? loss : kWorst;
  if (score.epoch != entry.until_epoch) return;
  entry.under_way = false;
  completed(trial, entry.loss);
}

void BookedSearcher::tell_end(const std::string& id, TrialState state) {
  const std::uint32_t trial = find(id);
  Entry& entry = book_[trial];
  if (entry.ended) fail(ExitCode::usage, "the search was told the end of trial ", id, ", which has ended");
  require(state > TrialState::active, "the search was told that trial ", id, " ended as ", to_string(state));
  entry.ended = true;
  died(trial);
  if (!std::exchange(entry.under_way, false)) return;
  completed(trial, state == TrialState::finished ? entry.loss : kWorst);
}

}  // namespace hopyard
