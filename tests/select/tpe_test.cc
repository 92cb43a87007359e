// TPE against Optuna's TPESampler, on functions whose minimum is known.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <sstream>

#include "select/search_world.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using Method = SearchSpec::Method;
using testing::HasSubstr;
using namespace fakes;

constexpr std::uint32_t kTrials = 50;
constexpr int kSeeds = 30;

using Function = std::function<double(const std::vector<double>&)>;

double branin(const std::vector<double>& x) {
  const double b = 5.1 / (4 * M_PI * M_PI), c = 5 / M_PI, t = 1 / (8 * M_PI);
  const double bow = x[1] - b * x[0] * x[0] + c * x[0] - 6;
  return bow * bow + 10 * (1 - t) * std::cos(x[0]) + 10;
}

double hartmann6(const std::vector<double>& x) {
  constexpr double alpha[] = {1.0, 1.2, 3.0, 3.2};
  constexpr double a[4][6] = {
      {10, 3, 17, 3.5, 1.7, 8}, {0.05, 10, 17, 0.1, 8, 14}, {3, 3.5, 1.7, 10, 17, 8}, {17, 8, 0.05, 10, 0.1, 14}};
  constexpr double p[4][6] = {{1312, 1696, 5569, 124, 8283, 5886},
                              {2329, 4135, 8307, 3736, 1004, 9991},
                              {2348, 1451, 3522, 2883, 3047, 6650},
                              {4047, 8828, 8732, 5743, 1091, 381}};
  double sum = 0;
  for (int i = 0; i < 4; ++i) {
    double exponent = 0;
    for (int j = 0; j < 6; ++j) exponent += a[i][j] * (x[j] - p[i][j] * 1e-4) * (x[j] - p[i][j] * 1e-4);
    sum += alpha[i] * std::exp(-exponent);
  }
  return -sum;
}

struct Problem {
  std::string name;
  Function function;
  std::vector<Dimension> space;
  double minimum = 0;
};

std::vector<Problem> problems() {
  std::vector<Dimension> cube;
  for (int d = 0; d < 6; ++d) cube.push_back(range(text::cat("x", d), Kind::uniform, 0, 1));
  return {
      {"branin", branin, {range("x0", Kind::uniform, -5, 10), range("x1", Kind::uniform, 0, 15)}, 0.39788735772973816},
      {"hartmann6", hartmann6, cube, -3.322368011391339}};
}

double regret(const Problem& problem, Method method, std::uint64_t seed) {
  const auto searcher = make_searcher(search_spec(method, kTrials), problem.space, seed);
  double best = INFINITY;
  while (auto order = searcher->ask()) {
    std::vector<double> x;
    for (const auto& setting : order->trial.settings) x.push_back(std::get<double>(setting.value));
    const double value = problem.function(x);
    best = std::min(best, value);
    searcher->tell({order->trial.id, 1, 0, 0, value, ""});
    searcher->tell_end(order->trial.id, TrialState::finished);
  }
  return best - problem.minimum;
}

std::vector<double> regrets(const Problem& problem, Method method) {
  std::vector<double> all;
  for (int seed = 0; seed < kSeeds; ++seed) all.push_back(regret(problem, method, seed));
  return all;
}

std::vector<double> optuna_regrets(const std::string& problem) {
  std::ifstream file(HOPYARD_SOURCE "/tests/select/optuna_regrets.txt");
  std::vector<double> all;
  for (std::string line; std::getline(file, line);) {
    std::istringstream words(line);
    std::string name;
    int seed = 0;
    double value = 0;
    if (words >> name >> seed >> value && name == problem) all.push_back(value);
  }
  return all;
}

/// One-sided Mann–Whitney test by the normal approximation with continuity correction, without ties: how likely `a`
/// would lie as much above `b` or more if both came from one distribution.
double mann_whitney_above(const std::vector<double>& a, const std::vector<double>& b) {
  double u = 0;
  for (const double x : a)
    for (const double y : b) u += x > y ? 1 : x == y ? 0.5 : 0;
  const double n = static_cast<double>(a.size()), m = static_cast<double>(b.size());
  const double z = (u - n * m / 2 - 0.5) / std::sqrt(n * m * (n + m + 1) / 12);
  return 0.5 * std::erfc(z / std::sqrt(2.0));
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values[values.size() / 2];
}

TEST(Tpe, IsNoWorseThanOptunas) {
  for (const Problem& problem : problems()) {
    const auto ours = regrets(problem, Method::tpe), theirs = optuna_regrets(problem.name);
    ASSERT_EQ(theirs.size(), static_cast<std::size_t>(kSeeds));
    const double p = mann_whitney_above(ours, theirs);
    EXPECT_GE(p, 0.05) << problem.name << ": median regret " << median(ours) << " and Optuna's " << median(theirs);
    std::printf("%s: median regret %.4f, Optuna's %.4f, random's %.4f, p %.2f\n", problem.name.c_str(), median(ours),
                median(theirs), median(regrets(problem, Method::random)), p);
  }
}

TEST(Tpe, IsBetterThanRandomSearch) {
  for (const Problem& problem : problems())
    EXPECT_LT(mann_whitney_above(regrets(problem, Method::random), regrets(problem, Method::tpe)), 1e-2)
        << problem.name;
}

/// What it asks for last, when the metric is a function of the settings' text.
std::map<std::string, int> favourites(const std::vector<Dimension>& space,
                                      const std::function<double(const TrialSpec&)>& metric) {
  const auto searcher = make_searcher(search_spec(Method::tpe, 120), space, 4);
  std::map<std::string, int> counts;
  while (auto order = searcher->ask()) {
    if (order->trial.index >= 80) ++counts[describe_order(*order).substr(5)];
    searcher->tell({order->trial.id, 1, 0, 0, metric(order->trial), ""});
    searcher->tell_end(order->trial.id, TrialState::finished);
  }
  return counts;
}

TEST(Tpe, LearnsListsIntegersAndConditionalDimensions) {
  const auto counts =
      favourites({listed("type", {std::string("a"), std::string("b"), std::string("c")}, Kind::choice),
                  when(range("k", Kind::integer, 1, 8), "type", {std::string("b")})},
                 [](const TrialSpec& trial) {
                   if (trial.settings.size() == 1) return 10.0;
                   return std::abs(static_cast<double>(std::get<std::int64_t>(trial.settings[1].value)) - 6);
                 });
  EXPECT_GT(counts.at("type=b k=6"), 15);
}

TEST(Tpe, LearnsQuantisedRanges) {
  const auto counts = favourites({range("q", Kind::loguniform, 1, 32, 1)}, [](const TrialSpec& trial) {
    return std::abs(std::get<double>(trial.settings[0].value) - 5);
  });
  EXPECT_GT(counts.at("q=5"), 10) << "of 40; a draw would give 2";
}

TEST(Tpe, DivergedTrialsAreTheWorst) {
  const auto counts = favourites({range("q", Kind::uniform, 0, 1, 0.125)}, [](const TrialSpec& trial) {
    const double q = std::get<double>(trial.settings[0].value);
    return q > 0.6 ? std::nan("") : -q;
  });
  EXPECT_GT(counts.at("q=0.5"), 20);
}

TEST(Tpe, BeginsLikeRandomSearchAndKnowsItsEnd) {
  const std::vector<Dimension> space{range("x", Kind::uniform, 0, 1)};
  const auto tpe = make_searcher(search_spec(Method::tpe, 12), space, 4);
  const auto random = make_searcher(search_spec(Method::random, 12), space, 4);
  for (int i = 0; i < 12; ++i) EXPECT_EQ(tpe->ask(), random->ask());
  EXPECT_TRUE(tpe->finished());
  EXPECT_THAT(refusal(search_spec(Method::tpe, 0), space), HasSubstr("search.method: tpe needs search.trials"));
}

}  // namespace
}  // namespace hopyard
