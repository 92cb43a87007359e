// What every searcher promises: the same sequence of questions and answers leads to the same next question.
#include <gtest/gtest.h>

#include "select/search_world.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using Method = SearchSpec::Method;
using namespace fakes;

constexpr std::uint64_t kRuns = 12;
constexpr std::uint32_t kEpochs = 9, kVisits = 2;  // visits of an epoch
constexpr Method kMethods[] = {Method::grid, Method::random,    Method::sobol, Method::tpe, Method::successive_halving,
                               Method::asha, Method::hyperband, Method::pbt};

std::vector<Dimension> space_for(Method method) {
  Dimension joint{.path = "recipe", .kind = Kind::joint};
  joint.joint = {{{"freeze", std::int64_t{0}}}, {{"freeze", std::int64_t{4}}, {"dropout", 0.2}}};
  std::vector<Dimension> space{
      when(listed("momentum", {0.0, 0.9}), "type", {std::string("sgd")}),
      listed("type", {std::string("adamw"), std::string("sgd")}),
      joint,
      range("k", Kind::integer, 0, 4, 2),
  };
  if (method != Method::grid) space.push_back(range("lr", Kind::loguniform, 1e-5, 1e-1));
  return space;
}

SearchSpec spec_for(Method method, std::uint32_t seeds = 1) {
  SearchSpec spec = search_spec(method, method == Method::grid || method == Method::hyperband ? 0 : 18, kEpochs);
  spec.perturbation_interval = 2;
  if (method == Method::asha) spec.min_epochs = Epochs::of_visits(1, kVisits);
  spec.seeds = seeds;
  return spec;
}

/// A curve without meaning, with ties, trials that diverge and metrics that are no numbers.
double metric(const TrialSpec& trial, std::uint32_t visits) {
  const std::uint64_t key = derive(derive(trial.seed, trial.index), visits);
  if (key % 29 == 0) return -1;
  return key % 31 == 0 ? std::nan("") : static_cast<double>(key % 50);
}

std::unique_ptr<Searcher> make(Method method, std::uint64_t seed, std::uint32_t canonical, std::uint32_t seeds = 1) {
  auto searcher = make_searcher(spec_for(method, seeds), space_for(method), seed);
  return canonical == 0 ? std::move(searcher) : make_canonical(std::move(searcher), canonical);
}

TEST(Replay, ASearcherMadeAgainAsksTheSameNextQuestion) {
  for (const Method method : kMethods)
    for (std::uint64_t run = 0; run < 2 * kRuns; ++run) {
      const std::uint32_t canonical = run % 2 == 0 ? 0 : 3, seeds = run % 3 == 0 ? 3 : 1;
      const auto searcher = make(method, run, canonical, seeds);
      SearchWorld whole(metric, 1 + static_cast<std::uint32_t>(run % 5), run, kEpochs, kVisits);
      whole.run(*searcher);
      ASSERT_TRUE(searcher->finished()) << static_cast<int>(method) << ' ' << run;
      KeyedStream cuts(run);
      for (int i = 0; i < 6; ++i) {
        const auto cut = static_cast<std::ptrdiff_t>(cuts.below(whole.events.size() + 1));
        const auto again = make(method, run, canonical, seeds);
        const std::vector<SearchEvent> before(whole.events.begin(), whole.events.begin() + cut);
        const std::vector<SearchEvent> after(whole.events.begin() + cut, whole.events.end());
        ASSERT_TRUE(replay(*again, before)) << static_cast<int>(method) << ' ' << run << ' ' << cut;
        ASSERT_TRUE(replay(*again, after)) << static_cast<int>(method) << ' ' << run << ' ' << cut;
        EXPECT_TRUE(again->finished());
      }
    }
}

/// Asking in vain between the events changes nothing.
TEST(Replay, AskingInVainChangesNothing) {
  for (const Method method : kMethods)
    for (const std::uint32_t seeds : {1u, 3u}) {
      SearchWorld eager(metric, 300, 7, kEpochs, kVisits);
      const auto searcher = make(method, 7, 0, seeds);
      eager.run(*searcher);
      const auto other = make(method, 7, 0, seeds);
      std::size_t asked = 0;
      for (const auto& event : eager.events) {
        const auto* order = std::get_if<TrialOrder>(&event);
        if (order != nullptr) {
          ASSERT_EQ(other->ask(), *order);
          ++asked;
          continue;
        }
        ASSERT_FALSE(other->ask()) << static_cast<int>(method) << " after " << asked << " orders";
        ASSERT_TRUE(replay(*other, {event}));
      }
    }
}

/// Every trial ends once: it finished, failed or was stopped with a reason.
TEST(Replay, NoTrialIsForgotten) {
  for (const Method method : kMethods)
    for (std::uint64_t run = 0; run < kRuns; ++run) {
      const auto searcher = make(method, run, run % 3 == 0 ? 4 : 0, run % 2 == 0 ? 1 : 4);
      SearchWorld world(metric, 6, run, kEpochs, kVisits);
      world.run(*searcher);
      std::map<std::string, int> ends;
      for (const auto& event : world.events) {
        if (const auto* order = std::get_if<TrialOrder>(&event)) ends.try_emplace(order->trial.id, 0);
        if (const auto* ended = std::get_if<Ended>(&event)) ++ends[ended->trial];
      }
      for (const auto& stop : world.stops) {
        ++ends[stop.trial];
        EXPECT_FALSE(stop.reason.empty());
      }
      for (const auto& [trial, times] : ends)
        EXPECT_EQ(times, 1) << static_cast<int>(method) << ' ' << run << ' ' << trial;
    }
}

TEST(Replay, IdsSortLikeTheirNumbers) {
  for (const Method method : kMethods)
    for (const std::uint32_t seeds : {1u, 12u}) {
      const auto searcher = make(method, 3, 0, seeds);
      SearchWorld world(metric, 4, 3, kEpochs, kVisits);
      world.run(*searcher);
      std::map<std::string, std::uint32_t> index_of;
      for (const auto& event : world.events)
        if (const auto* order = std::get_if<TrialOrder>(&event)) index_of[order->trial.id] = order->trial.index;
      std::uint32_t next = 0;
      for (const auto& [id, index] : index_of) EXPECT_EQ(index, next++) << id;
    }
}

/// Whoever is fast and whoever is slow: a canonical searcher gives the same orders in the same sequence.
TEST(Canonical, TheExperimentIsAFunctionOfConfigAndSeed) {
  for (const Method method : kMethods)
    for (const std::uint32_t seeds : {1u, 3u}) {
      std::set<std::vector<std::string>> outcomes;
      for (std::uint64_t key = 0; key < kRuns; ++key) {
        const auto searcher = make(method, 11, 4, seeds);
        SearchWorld world(metric, 1 + static_cast<std::uint32_t>(key % 6), key, kEpochs, kVisits);
        world.run(*searcher);
        EXPECT_TRUE(searcher->finished()) << static_cast<int>(method);
        outcomes.insert(world.orders());
      }
      EXPECT_EQ(outcomes.size(), 1u) << static_cast<int>(method) << ' ' << seeds;
    }
}

/// With workers that really take turns, canonical delivery changes nothing but the order of the equal.
TEST(Canonical, OneWorkerHearsWhatItHeard) {
  for (const Method method : kMethods) {
    const auto plain = make(method, 11, 0), canonical = make(method, 11, 1);
    SearchWorld a(metric, 1, 1, kEpochs, kVisits), b(metric, 1, 1, kEpochs, kVisits);
    a.run(*plain);
    b.run(*canonical);
    EXPECT_EQ(a.orders(), b.orders()) << static_cast<int>(method);
  }
}

}  // namespace
}  // namespace hopyard
