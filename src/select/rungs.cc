// The numbers of successive halving that its kinds share.
#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "select/halving_bracket.h"
#include "select/searchers.h"

namespace hopyard {

std::vector<Epochs> rung_epochs(const SearchSpec& spec) {
  if (spec.eta < 2) fail(ExitCode::usage, "search.eta is ", spec.eta, "; one in 2 or more is promoted");
  if (spec.min_epochs == 0 || spec.min_epochs > spec.max_epochs)
    fail(ExitCode::usage, "search.min_epochs is ", spec.min_epochs, " and train.epochs ", spec.max_epochs,
         "; it must be above 0 and at most train.epochs");
  std::vector<Epochs> rungs;
  const double enough = spec.max_epochs / std::sqrt(static_cast<double>(spec.eta));
  for (Epochs epochs = spec.min_epochs; epochs.value() <= enough; epochs = epochs * spec.eta) rungs.push_back(epochs);
  rungs.push_back(spec.max_epochs);
  return rungs;
}

std::uint64_t promoted_of(std::uint64_t trials, std::uint32_t eta) {
  return trials == 0 ? 0 : std::max<std::uint64_t>(1, trials / eta);
}

std::optional<std::vector<Epochs>> epochs_expected(const SearchSpec& spec, std::size_t trials) {
  using Method = SearchSpec::Method;
  const std::size_t members = members_of_group(spec);
  std::vector<Epochs> epochs;
  const auto add = [&](std::uint64_t groups, Epochs until) { epochs.insert(epochs.end(), groups * members, until); };
  if (spec.method == Method::hyperband) {
    for (const auto& bracket : hyperband_plan(spec.min_epochs, spec.max_epochs, spec.eta))
      for (std::size_t k = 0; k < bracket.size(); ++k)
        add(bracket[k].trials - (k + 1 < bracket.size() ? bracket[k + 1].trials : 0), bracket[k].epochs);
  } else if (spec.method == Method::asha || spec.method == Method::successive_halving) {
    std::uint64_t here = trials / members;
    for (const Epochs until : rung_epochs(spec)) {
      const std::uint64_t further = until == spec.max_epochs ? 0 : promoted_of(here, spec.eta);
      add(here - further, until);
      here = further;
    }
  } else {
    return std::nullopt;
  }
  std::sort(epochs.rbegin(), epochs.rend());
  return epochs;
}

std::string not_promoted(Epochs epoch, std::size_t place, std::size_t among) {
  return text::cat("not promoted beyond epoch ", epoch, ": place ", place, " of ", among);
}

}  // namespace hopyard
