#include <algorithm>

#include "base/failure.h"
#include "base/rng.h"
#include "select/halving_bracket.h"
#include "select/searchers.h"

namespace hopyard {
namespace {

using Plan = std::vector<std::vector<HalvingBracket::Rung>>;

std::size_t count_trials(const Plan& plan) {
  std::size_t count = 0;
  for (const auto& rungs : plan) count += rungs.front().trials;
  return count;
}

/// Brackets of successive halving side by side; one that waits for its rung's end lets the next one ask. The draws of a
/// bracket are numbered, so that what it compares does not depend on when scores arrive.
class HalvingSearcher final : public BookedSearcher {
 public:
  HalvingSearcher(Space space, const Plan& plan, bool maximize, std::uint64_t seed)
      : BookedSearcher(count_trials(plan), seed, maximize), draws_(derive(seed, "search")), space_(std::move(space)) {
    std::uint64_t first_draw = 0;
    for (const auto& rungs : plan) {
      brackets_.emplace_back(rungs, first_draw);
      first_draw += rungs.front().trials;
    }
  }

  std::optional<TrialOrder> ask() override {
    for (std::uint32_t b = 0; b < brackets_.size(); ++b) {
      HalvingBracket& bracket = brackets_[b];
      const auto order = bracket.ask();
      if (!order) continue;
      if (order->trial) return order_further(*order->trial, order->until_epoch);
      bracket.entered(static_cast<std::uint32_t>(asked()));
      bracket_of_.push_back(b);
      return order_new(space_.settings(draws_.at(space_, bracket.take_draw())), order->until_epoch);
    }
    return std::nullopt;
  }

  bool finished() const override {
    return std::all_of(brackets_.begin(), brackets_.end(), [](const auto& bracket) { return bracket.finished(); });
  }

 private:
  void completed(std::uint32_t trial, double loss) override {
    HalvingBracket& bracket = brackets_[bracket_of_[trial]];
    bracket.completed(trial, loss);
    stop_losers(bracket);
  }

  void died(std::uint32_t trial) override {
    HalvingBracket& bracket = brackets_[bracket_of_[trial]];
    bracket.died(trial);
    stop_losers(bracket);
  }

  void stop_losers(HalvingBracket& bracket) {
    for (const auto& loser : bracket.take_losers())
      stop(loser.trial, not_promoted(loser.epoch, loser.place, loser.among));
  }

  DistinctDraws draws_;
  const Space space_;
  std::vector<HalvingBracket> brackets_;
  std::vector<std::uint32_t> bracket_of_;  // by trial
};

}  // namespace

std::unique_ptr<Searcher> make_successive_halving(Space space, const SearchSpec& spec, std::uint64_t seed) {
  require_trials(spec, "successive_halving");
  Plan plan(1);
  std::uint64_t trials = spec.trials;
  for (const Epochs epochs : rung_epochs(spec)) {
    plan[0].push_back({static_cast<std::uint32_t>(trials), epochs});
    trials = promoted_of(trials, spec.eta);
  }
  return std::make_unique<HalvingSearcher>(std::move(space), plan, spec.maximize, seed);
}

std::unique_ptr<Searcher> make_hyperband(Space space, const SearchSpec& spec, std::uint64_t seed) {
  rung_epochs(spec);  // refuses impossible numbers
  const Plan plan = hyperband_plan(spec.min_epochs, spec.max_epochs, spec.eta);
  if (count_trials(plan) > kTrialsMax)
    fail(ExitCode::usage, "search.method: hyperband asks for ", count_trials(plan), " trials here and at most ",
         kTrialsMax, " are possible; raise search.min_epochs");
  return std::make_unique<HalvingSearcher>(std::move(space), plan, spec.maximize, seed);
}

}  // namespace hopyard
