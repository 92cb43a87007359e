#include "select/rigor_leaders.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <string>

#include "base/failure.h"
#include "select/rigor_bootstrap.h"

namespace hopyard::rigor {
namespace {

constexpr const char* kHolmCitation = "; Holm, Scandinavian Journal of Statistics 6, 1979";

bool right_or_wrong(const Contestant& contestant) {
  return contestant.runs.size() == 1 && std::all_of(contestant.runs[0].begin(), contestant.runs[0].end(),
                                                    [](double score) { return score == 0 || score == 1; });
}

double mean_score(const Contestant& contestant) {
  double sum = 0;
  for (const auto& run : contestant.runs) sum += mean_of(run);
  return sum / static_cast<double>(contestant.runs.size());
}

void check(std::span<const Contestant> contestants, double alpha) {
  require(!contestants.empty(), "nobody to compare");
  require(alpha > 0 && alpha < 1, "a level of significance lies inside (0, 1), not at ", alpha);
  std::set<std::string> ids;
  for (const Contestant& contestant : contestants) {
    require(ids.insert(contestant.id).second, "two contestants are named '", contestant.id, "'");
    require(!contestant.runs.empty(), "'", contestant.id, "' has no runs to compare");
    for (const auto& run : contestant.runs)
      require(!run.empty() && run.size() == contestants[0].runs[0].size(), "'", contestant.id, "' has ", run.size(),
              " scores, '", contestants[0].id, "' ", contestants[0].runs[0].size());
  }
}

std::size_t find_leader(std::span<const Contestant> contestants, bool maximize) {
  std::size_t leader = 0;
  double best = mean_score(contestants[0]);
  for (std::size_t i = 1; i < contestants.size(); ++i) {
    const double mean = mean_score(contestants[i]);
    if (maximize ? mean <= best : mean >= best) continue;
    leader = i;
    best = mean;
  }
  return leader;
}

/// The two-sided p of each contestant against the leader; names the test.
std::vector<double> test_against(std::size_t leader, std::span<const Contestant> contestants,
                                 const LeaderOptions& options, LeaderVerdict& verdict) {
  std::vector<double> p;
  if (std::all_of(contestants.begin(), contestants.end(), right_or_wrong)) {
    verdict.method = "McNemar's mid-p test";
    verdict.citation = "McNemar, Psychometrika 12, 1947; Fagerland et al., BMC Med. Res. Methodol. 13:91, 2013";
    for (const Contestant& other : contestants) p.push_back(mcnemar(contestants[leader].runs[0], other.runs[0]).mid_p);
    return p;
  }
  const bool groups =
      std::any_of(contestants.begin(), contestants.end(), [](const auto& c) { return c.runs.size() > 1; });
  verdict.method = groups ? "paired bootstrap of examples and runs" : "paired bootstrap of examples";
  verdict.citation = groups ? "Sellam et al., The MultiBERTs, ICLR 2022"
                            : "Efron and Tibshirani, An Introduction to the Bootstrap, 1993";
  const PairedBootstrap bootstrap(contestants, options.seed, options.resamples);
  for (std::size_t i = 0; i < contestants.size(); ++i) p.push_back(bootstrap.compare(leader, i).p);
  return p;
}

}  // namespace

LeaderVerdict judge_leader(std::span<const Contestant> contestants, const LeaderOptions& options) {
  check(contestants, options.alpha);
  LeaderVerdict verdict;
  const std::size_t leader = find_leader(contestants, options.maximize), count = contestants.size();
  verdict.leader = contestants[leader].id;
  verdict.best_set = {verdict.leader};
  verdict.alpha = options.alpha;
  verdict.examples = static_cast<std::uint32_t>(contestants[0].runs[0].size());
  auto p = test_against(leader, contestants, options, verdict);
  p.erase(p.begin() + static_cast<std::ptrdiff_t>(leader));
  const bool pairs = options.family == Family::all_pairs;
  const std::size_t all = std::max(count, options.contestants);
  const auto corrected = holm(p, pairs ? all * (all - 1) / 2 : all - 1);
  verdict.method += pairs ? ", Holm-corrected over all pairs" : ", Holm-corrected over the leader's comparisons";
  verdict.citation += kHolmCitation;
  for (std::size_t i = 0, j = 0; i < count; ++i) {
    if (i == leader) continue;
    const double behind = std::abs(mean_score(contestants[leader]) - mean_score(contestants[i]));
    const bool told_apart = corrected[j] <= options.alpha;
    verdict.others.push_back({contestants[i].id, behind, p[j], corrected[j], told_apart});
    if (!told_apart) verdict.best_set.push_back(contestants[i].id);
    ++j;
  }
  return verdict;
}

}  // namespace hopyard::rigor
