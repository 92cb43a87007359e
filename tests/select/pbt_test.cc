#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "select/search_world.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace fakes;

SearchSpec pbt(std::uint32_t population, std::uint32_t epochs, std::uint32_t interval = 1) {
  SearchSpec spec = search_spec(SearchSpec::Method::pbt, population, epochs);
  spec.perturbation_interval = interval;
  return spec;
}

const std::vector<Dimension>& rates() {
  static const std::vector<Dimension> space{range("lr", Kind::loguniform, 1e-4, 1)};
  return space;
}
double lr_of(const TrialSpec& trial) { return std::get<double>(trial.settings[0].value); }

/// Leads five members to the end of the first generation, t00 the best and t04 the worst.
std::unique_ptr<Searcher> after_one_generation(const SearchSpec& spec, const std::vector<Dimension>& space,
                                               std::vector<TrialSpec>& first) {
  auto searcher = make_searcher(spec, space, 5);
  for (int i = 0; i < 5; ++i) first.push_back(searcher->ask()->trial);
  EXPECT_FALSE(searcher->ask()) << "nothing can be decided before all are told";
  for (int i = 0; i < 5; ++i) searcher->tell({first[i].id, 1, 0, 0, 0.1 * i, ""});
  return searcher;
}

TEST(Pbt, TheWorstIsReplacedByAWarmCloneOfTheBest) {
  std::vector<TrialSpec> first;
  SearchSpec spec = pbt(5, 3);
  spec.resample_probability = 0;
  const auto searcher = after_one_generation(spec, rates(), first);
  EXPECT_THAT(searcher->take_stops(),
              ElementsAre(TrialStop{"t04", "place 5 of 5 after epoch 1: replaced by a clone of t00"}));
  const auto clone = searcher->ask();
  ASSERT_TRUE(clone);
  EXPECT_EQ(clone->trial.id, "t05");
  EXPECT_EQ(clone->until_epoch, 2u);
  EXPECT_EQ(clone->trial.lineage, (Lineage{"t00", 1}));
  EXPECT_EQ(clone->trial.seed, first[0].seed);
  const double factor = lr_of(clone->trial) / lr_of(first[0]);
  EXPECT_TRUE(std::abs(factor - 0.8) < 1e-9 || std::abs(factor - 1.2) < 1e-9) << factor;
  for (const char* id : {"t00", "t01", "t02", "t03"}) {
    const auto order = searcher->ask();
    ASSERT_TRUE(order);
    EXPECT_EQ(order->trial.id, id);
    EXPECT_EQ(order->until_epoch, 2u);
    EXPECT_EQ(order->trial, first[order->trial.index]);
  }
  EXPECT_FALSE(searcher->ask());
}

TEST(Pbt, ACloneIsToldFromItsParentsEpochOn) {
  std::vector<TrialSpec> first;
  const auto searcher = after_one_generation(pbt(5, 3), rates(), first);
  for (int i = 0; i < 5; ++i) searcher->ask();
  EXPECT_THROW(searcher->tell({"t05", 1, 0, 0, 0.5, ""}), Failure);
  searcher->tell({"t05", 2, 0, 0, 0.5, ""});
}

TEST(Pbt, DimensionsThatCannotChangeInFlightAreInherited) {
  Dimension freeze = listed("freeze", {std::int64_t{0}, std::int64_t{2}, std::int64_t{4}});
  freeze.changes_in_flight = false;
  const std::vector<Dimension> space{freeze, range("k", Kind::integer, 1, 100),
                                     listed("batch", {std::int64_t{8}, std::int64_t{16}, std::int64_t{32}}),
                                     range("q", Kind::uniform, 0, 1, 0.25)};
  SearchSpec spec = pbt(5, 3);
  for (const double resample : {0.0, 0.5, 1.0}) {
    spec.resample_probability = resample;
    std::vector<TrialSpec> first;
    const auto searcher = after_one_generation(spec, space, first);
    const auto clone = searcher->ask()->trial;
    EXPECT_EQ(clone.settings[0], first[0].settings[0]);
    const auto k = std::get<std::int64_t>(clone.settings[1].value);
    EXPECT_TRUE(k >= 1 && k <= 100);
    const double q = std::get<double>(clone.settings[3].value);
    EXPECT_EQ(q * 4, std::floor(q * 4));
  }
}

TEST(Pbt, ClonesReplaceTheDeadAsWell) {
  const auto searcher = make_searcher(pbt(6, 4), rates(), 5);
  SearchWorld world([](const TrialSpec& trial, std::uint32_t) { return trial.index < 3 ? -1.0 : 0.1 * trial.index; }, 6,
                    1, 4);
  world.run(*searcher);
  EXPECT_TRUE(searcher->finished());
  int whole = 0;
  for (const auto& [trial, epochs] : world.epochs) whole += epochs == 4;
  EXPECT_EQ(whole, 6) << "the population is as large at the end as at the beginning";
}

TEST(Pbt, EndsWhenAllAreDead) {
  const auto searcher = make_searcher(pbt(4, 4), rates(), 5);
  SearchWorld world([](const TrialSpec&, std::uint32_t) { return -1.0; }, 4, 1, 4);
  world.run(*searcher);
  EXPECT_TRUE(searcher->finished());
  EXPECT_EQ(world.orders().size(), 4u);
}

/// Jaderberg et al., section 3.3 and figure 2: the surrogate 1.2 − h0 θ0² − h1 θ1² of two agents that each see one θ
/// only; exploit and explore together come to the optimum 1.2, which neither does alone.
TEST(Pbt, TheToyOfThePaper) {
  const std::vector<Dimension> space{listed("h", {std::int64_t{0}, std::int64_t{1}}),
                                     range("unused", Kind::uniform, 0, 1)};
  SearchSpec spec = pbt(2, 40, 4);
  spec.maximize = true;
  spec.quantile_fraction = 0.5;
  spec.resample_probability = 1;
  const auto best_of = [&](const SearchSpec& with, std::uint64_t seed) {
    const auto searcher = make_searcher(with, space, seed);
    std::map<std::string, std::map<std::uint32_t, std::pair<double, double>>> theta;
    double best = -1e9;
    SearchWorld world(
        [&](const TrialSpec& trial, std::uint32_t epoch) {
          auto& mine = theta[trial.id];
          std::pair<double, double> now{0.9, 0.9};
          if (trial.lineage && epoch == trial.lineage->epochs + 1)
            now = theta[trial.lineage->parent].at(trial.lineage->epochs);
          else if (epoch > 1)
            now = mine.at(epoch - 1);
          auto& chosen = std::get<std::int64_t>(trial.settings[0].value) == 0 ? now.first : now.second;
          chosen -= 0.05 * 2 * chosen;  // gradient of the surrogate with h = (1, 0) or (0, 1)
          mine[epoch] = now;
          const double value = 1.2 - now.first * now.first - now.second * now.second;
          best = std::max(best, value);
          return value;
        },
        2, seed, with.max_epochs);
    world.run(*searcher);
    EXPECT_TRUE(searcher->finished());
    return best;
  };
  SearchSpec alone = spec;
  alone.perturbation_interval = alone.max_epochs;  // neither exploits nor explores
  int better = 0;
  for (std::uint64_t seed = 0; seed < 10; ++seed) better += best_of(spec, seed) > best_of(alone, seed) + 0.2;
  EXPECT_LT(best_of(alone, 1), 0.4);
  EXPECT_GE(better, 8);
}

TEST(Pbt, DoesNotDependOnWhenScoresArrive) {
  std::set<std::vector<std::string>> outcomes;
  for (std::uint64_t key = 0; key < 20; ++key) {
    const auto searcher = make_searcher(pbt(7, 6, 2), rates(), 5);
    SearchWorld world(
        [](const TrialSpec& trial, std::uint32_t epoch) { return std::abs(std::log(lr_of(trial) * 30)) / epoch; },
        1 + static_cast<std::uint32_t>(key % 7), key, 6);
    world.run(*searcher);
    outcomes.insert(world.orders());
  }
  EXPECT_EQ(outcomes.size(), 1u);
}

TEST(Pbt, RefusesImpossibleNumbers) {
  EXPECT_THAT(refusal(pbt(0, 4), rates()), HasSubstr("needs search.trials"));
  EXPECT_THAT(refusal(pbt(1, 4), rates()), HasSubstr("a population needs 2"));
  EXPECT_THAT(refusal(pbt(4, 4, 0), rates()), HasSubstr("search.perturbation_interval is 0"));
  EXPECT_THAT(refusal(pbt(4, 4, 5), rates()), HasSubstr("search.perturbation_interval is 5 and train.epochs 4"));
  EXPECT_THAT(refusal(pbt(4, 1'000'000), rates()), HasSubstr("may ask for 4000000 trials"));
  SearchSpec spec = pbt(4, 4);
  spec.quantile_fraction = 0.6;
  EXPECT_THAT(refusal(spec, rates()), HasSubstr("search.quantile_fraction is 0.6"));
  spec.quantile_fraction = 0.2, spec.resample_probability = 1.5;
  EXPECT_THAT(refusal(spec, rates()), HasSubstr("search.resample_probability is 1.5"));
}

}  // namespace
}  // namespace hopyard
