#include <algorithm>
#include <cmath>
#include <tuple>
#include <utility>

#include "base/rng.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

/// A trial's result at a rung.
struct Result {
  double loss = 0;
  std::uint32_t trial = 0;
  bool settled = false;  // promoted, dead or stopped: never promoted from here (again)
  bool operator<(const Result& other) const { return std::tie(loss, trial) < std::tie(other.loss, other.trial); }
};

struct AshaRung {
  Epochs epochs;
  std::vector<Result> results;     // the best first
  std::uint32_t under_way = 0;     // trials asked for to here
  std::size_t more = 0;            // results that may still come
  std::size_t next_promotion = 0;  // no result before this place is unsettled
};

/// Asynchronous successive halving (Li et al., "A system for massively parallel hyperparameter tuning", MLSys 2020,
/// algorithm 2), over a known number of trials, so that it comes to an end: when all results of a rung are there, the
/// best one goes on even where they are fewer than eta.
class AshaSearcher final : public BookedSearcher {
 public:
  AshaSearcher(Space space, const SearchSpec& spec, std::uint64_t seed)
      : BookedSearcher(spec.trials, seed, spec.maximize),
        trials_(spec.trials),
        eta_(spec.eta),
        draws_(derive(seed, "search")),
        space_(std::move(space)) {
    for (const Epochs epochs : rung_epochs(spec)) rungs_.push_back({epochs, {}, 0, trials_});
  }

  std::optional<TrialOrder> ask() override {
    for (std::size_t k = rungs_.size() - 1; k-- > 0;)
      if (Result* best = promotable(rungs_[k])) return promote(*best, k);
    if (asked() == trials_) return std::nullopt;
    ++rungs_[0].under_way;
    rung_of_.push_back(0);
    dead_.push_back(false);
    return order_new(space_.settings(draws_.at(space_, asked())), rungs_[0].epochs);
  }

  /// While a trial is under way its rung may grow, and another be promoted; and what is promotable is asked for first.
  bool finished() const override {
    if (asked() < trials_) return false;
    for (std::size_t k = 0; k + 1 < rungs_.size(); ++k)
      if (rungs_[k].under_way > 0 || promotable(rungs_[k])) return false;
    return true;
  }

 private:
  std::size_t candidates_of(const AshaRung& rung) const {
    return rung.more == 0 ? promoted_of(rung.results.size(), eta_) : rung.results.size() / eta_;
  }

  /// The best of the rung's best 1 / eta that is not promoted yet.
  const Result* promotable(const AshaRung& rung) const {
    const std::size_t candidates = candidates_of(rung);
    for (std::size_t i = rung.next_promotion; i < candidates; ++i)
      if (!rung.results[i].settled) return &rung.results[i];
    return nullptr;
  }
  Result* promotable(AshaRung& rung) {
    const std::size_t candidates = candidates_of(rung);
    while (rung.next_promotion < candidates && rung.results[rung.next_promotion].settled) ++rung.next_promotion;
    return const_cast<Result*>(promotable(std::as_const(rung)));
  }

  TrialOrder promote(Result& result, std::size_t rung) {
    result.settled = true;
    rung_of_[result.trial] = rung + 1;
    ++rungs_[rung + 1].under_way;
    return order_further(result.trial, rungs_[rung + 1].epochs);
  }

  void completed(std::uint32_t trial, double loss) override {
    AshaRung& rung = rungs_[rung_of_[trial]];
    --rung.under_way;
    const Result result{loss, trial, !std::isfinite(loss)};
    const auto place = static_cast<std::size_t>(std::upper_bound(rung.results.begin(), rung.results.end(), result) -
                                                rung.results.begin());
    rung.results.insert(rung.results.begin() + static_cast<std::ptrdiff_t>(place), result);
    rung.next_promotion = std::min(rung.next_promotion, place);
    if (result.settled && !dead_[trial] && &rung != &rungs_.back())
      stop(trial, not_promoted(rung.epochs, place + 1, rung.results.size()));
    retire();
  }

  void died(std::uint32_t trial) override {
    dead_[trial] = true;
    for (Result& result : rungs_[rung_of_[trial]].results)
      if (result.trial == trial) result.settled = true;
    retire();
  }

  /// Stops the paused trials that no further result can bring among the best 1 / eta: a place never gets better.
  void retire() {
    std::size_t more = trials_ - asked();  // that may still be asked for to come to the rung
    for (std::size_t k = 0; k + 1 < rungs_.size(); ++k) {
      AshaRung& rung = rungs_[k];
      more += rung.under_way;
      rung.more = more;
      const std::size_t places = promoted_of(rung.results.size() + more, eta_);
      for (std::size_t i = rung.results.size(); i-- > places;) {
        if (std::exchange(rung.results[i].settled, true)) continue;
        stop(rung.results[i].trial, not_promoted(rung.epochs, i + 1, rung.results.size()));
      }
      for (const Result& result : rung.results) more += !result.settled;
    }
  }

  const std::size_t trials_;
  const std::uint32_t eta_;
  DistinctDraws draws_;
  const Space space_;
  std::vector<AshaRung> rungs_;
  std::vector<std::size_t> rung_of_;  // by trial: where it is, or to where it was asked for last
  std::vector<bool> dead_;            // by trial
};

}  // namespace

std::unique_ptr<Searcher> make_asha(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "asha");
  return std::make_unique<AshaSearcher>(std::move(space), spec, seed);
}

}  // namespace hopyard
