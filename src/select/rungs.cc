// The numbers of successive halving that its kinds share.
#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "select/halving_bracket.h"
#include "select/searchers.h"

namespace hopyard {

std::vector<std::uint32_t> rung_epochs(const SearchSpec& spec) {
  if (spec.eta < 2) fail(ExitCode::usage, "search.eta is ", spec.eta, "; one in 2 or more is promoted");
  if (spec.min_epochs == 0 || spec.min_epochs > spec.max_epochs)
    fail(ExitCode::usage, "search.min_epochs is ", spec.min_epochs, " and train.epochs ", spec.max_epochs,
         "; it must be from 1 to train.epochs");
  std::vector<std::uint32_t> rungs;
  const double enough = spec.max_epochs / std::sqrt(static_cast<double>(spec.eta));
  for (std::uint64_t epochs = spec.min_epochs; static_cast<double>(epochs) <= enough; epochs *= spec.eta)
    rungs.push_back(static_cast<std::uint32_t>(epochs));
  rungs.push_back(spec.max_epochs);
  return rungs;
}

void require_trials_for(const SearchSpec& spec, const std::vector<std::uint32_t>& rungs) {
  std::uint64_t needed = 1;
  for (std::size_t i = 1; i < rungs.size(); ++i) needed *= spec.eta;
  if (spec.trials >= needed) return;
  fail(ExitCode::usage, "search.trials is ", spec.trials, ", of which none would come to all ", spec.max_epochs,
       " epochs when one in ", spec.eta, " is promoted at each of ", rungs.size() - 1, " rungs; ask for at least ",
       needed, ", or raise search.min_epochs");
}

std::optional<std::vector<std::uint32_t>> epochs_expected(const SearchSpec& spec, std::size_t trials) {
  using Method = SearchSpec::Method;
  const std::size_t members = members_of_group(spec);
  std::vector<std::uint32_t> epochs;
  const auto add = [&](std::uint64_t groups, std::uint32_t until) {
    epochs.insert(epochs.end(), groups * members, until);
  };
  if (spec.method == Method::hyperband) {
    for (const auto& bracket : hyperband_plan(spec.min_epochs, spec.max_epochs, spec.eta))
      for (std::size_t k = 0; k < bracket.size(); ++k)
        add(bracket[k].trials - (k + 1 < bracket.size() ? bracket[k + 1].trials : 0), bracket[k].epochs);
  } else if (spec.method == Method::asha || spec.method == Method::successive_halving) {
    std::uint64_t here = trials / members;
    for (const std::uint32_t until : rung_epochs(spec)) {
      const std::uint64_t further = until == spec.max_epochs ? 0 : here / spec.eta;
      add(here - further, until);
      here = further;
    }
  } else {
    return std::nullopt;
  }
  std::sort(epochs.rbegin(), epochs.rend());
  return epochs;
}

std::string not_promoted(std::uint32_t epoch, std::size_t place, std::size_t among) {
  return text::cat("not promoted beyond epoch ", epoch, ": place ", place, " of ", among);
}

}  // namespace hopyard
