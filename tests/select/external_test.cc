// A search that is driven from outside: what may be requested, and that it is led again to the same next question.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <deque>
#include <set>

#include "select/search_world.h"
#include "select/trial_requests.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;
using Method = SearchSpec::Method;
using testing::ElementsAre;
using testing::HasSubstr;
using namespace fakes;

const std::vector<Dimension> kRates{range("lr", Kind::loguniform, 1e-5, 1e-1)};

std::unique_ptr<Searcher> make(const std::vector<Dimension>& space = kRates, std::uint32_t trials = 0) {
  return make_searcher(search_spec(Method::external, trials, 9), space, 1);
}

std::vector<Setting> rate(double lr) { return {{"lr", lr}}; }

std::string next(Searcher& searcher) {
  const auto order = searcher.ask();
  return order ? describe_order(*order) : "nothing";
}

void train(Searcher& searcher, const std::string& trial, std::uint32_t first, std::uint32_t last) {
  for (std::uint32_t epoch = first; epoch <= last; ++epoch) searcher.tell({trial, epoch, 0, 0, 0.5, ""});
}

template <class Call>
std::string refusal_of(Call&& call) {
  try {
    call();
  } catch (const Failure& failure) {
    return failure.code() == ExitCode::usage ? failure.what() : "not of usage";
  }
  return "";
}

std::vector<std::string> stops_of(Searcher& searcher) {
  std::vector<std::string> all;
  for (const auto& stop : searcher.take_stops()) all.push_back(stop.trial + ": " + stop.reason);
  return all;
}

TEST(External, AsksForWhatIsRequestedAndNothingElse) {
  const auto searcher = make();
  TrialRequests& requests = *searcher->requests();
  EXPECT_EQ(next(*searcher), "nothing");
  EXPECT_FALSE(searcher->finished());
  EXPECT_TRUE(searcher->reacts());
  EXPECT_EQ(requests.propose(rate(1e-3)).id, "t0000");
  requests.request(rate(1e-3), 2);
  requests.request(rate(1e-2), std::nullopt);
  const TrialSpec proposed = requests.propose(rate(1e-3));
  EXPECT_EQ(proposed.id, "t0002");
  EXPECT_EQ(next(*searcher), "t0000@2 lr=0.001");
  EXPECT_EQ(next(*searcher), "t0001 lr=0.01");
  EXPECT_EQ(next(*searcher), "nothing");
}

TEST(External, TheTrialIsTheOneThatWasProposed) {
  const auto searcher = make();
  const TrialSpec proposed = searcher->requests()->propose(rate(1e-3));
  searcher->requests()->request(proposed.settings, 1);
  EXPECT_EQ(searcher->ask()->trial, proposed);
  EXPECT_EQ(proposed.seed, trial_seed(1, proposed.settings));
}

TEST(External, WhatIsAskedFurtherWaitsForItsPause) {
  const auto searcher = make();
  TrialRequests& requests = *searcher->requests();
  requests.request(rate(1e-3), 1);
  EXPECT_EQ(next(*searcher), "t0000@1 lr=0.001");
  requests.request_further("t0000", 3);
  requests.request_further("t0000", std::nullopt);
  requests.request(rate(1e-2), 1);
  EXPECT_EQ(next(*searcher), "t0001@1 lr=0.01") << "others do not wait";
  EXPECT_EQ(next(*searcher), "nothing");
  train(*searcher, "t0000", 1, 1);
  EXPECT_EQ(next(*searcher), "t0000@3 lr=0.001");
  train(*searcher, "t0000", 2, 3);
  EXPECT_EQ(next(*searcher), "t0000 lr=0.001");
}

TEST(External, CanBeFinishedOnce) {
  const auto searcher = make();
  TrialRequests& requests = *searcher->requests();
  for (const double lr : {1e-4, 1e-3, 1e-2, 2e-2}) requests.request(rate(lr), 1);
  for (int i = 0; i < 4; ++i) searcher->ask();
  train(*searcher, "t0001", 1, 1);
  train(*searcher, "t0000", 1, 1);
  searcher->tell_end("t0003", TrialState::failed);
  requests.request_further("t0000", 2);
  EXPECT_THAT(stops_of(*searcher), ElementsAre()) << "somebody may ask for more";
  requests.close();
  EXPECT_THAT(stops_of(*searcher), ElementsAre("t0001: not asked for beyond epoch 1"));
  EXPECT_FALSE(searcher->finished());
  EXPECT_EQ(next(*searcher), "t0000@2 lr=1e-04");
  train(*searcher, "t0002", 1, 1);
  train(*searcher, "t0000", 2, 2);
  EXPECT_THAT(stops_of(*searcher),
              ElementsAre("t0002: not asked for beyond epoch 1", "t0000: not asked for beyond epoch 2"));
  EXPECT_TRUE(searcher->finished());
}

TEST(External, EndsByItselfWhenAllItsTrialsHaveEnded) {
  const auto searcher = make(kRates, 2);
  TrialRequests& requests = *searcher->requests();
  EXPECT_EQ(requests.propose(rate(1e-3)).id, "t00");
  requests.request(rate(1e-3), std::nullopt);
  requests.request(rate(1e-2), 1);
  EXPECT_THAT(refusal_of([&] { requests.propose(rate(1e-2)); }), HasSubstr("search.trials is 2"));
  searcher->ask();
  searcher->ask();
  searcher->tell_end("t00", TrialState::finished);
  train(*searcher, "t01", 1, 1);
  EXPECT_FALSE(searcher->finished()) << "t01 may be asked for further";
  requests.request_further("t01", 9);
  EXPECT_EQ(next(*searcher), "t01@9 lr=0.01");
  train(*searcher, "t01", 2, 9);
  searcher->tell_end("t01", TrialState::finished);
  EXPECT_TRUE(searcher->finished());
}

TEST(External, RefusesWhatCannotGoFurther) {
  const auto searcher = make();
  TrialRequests& requests = *searcher->requests();
  requests.request(rate(1e-3), 2);
  requests.request(rate(1e-2), std::nullopt);
  const auto further = [&](const char* trial, std::optional<std::uint32_t> until) {
    return refusal_of([&] { requests.require_further(trial, until); });
  };
  EXPECT_EQ(further("t0000", 3), "");
  EXPECT_EQ(further("t0000", std::nullopt), "");
  EXPECT_THAT(further("t0000", 2), HasSubstr("t0000 was asked for to epoch 2 already"));
  EXPECT_THAT(further("t0001", 2), HasSubstr("to its last epoch already"));
  EXPECT_THAT(further("t000", 2), HasSubstr("did you mean 't0000'?"));
  EXPECT_THAT(further("c00", 2), HasSubstr("no trial 'c00' was asked for"));
  searcher->ask();
  searcher->tell_end("t0000", TrialState::stopped);
  EXPECT_THAT(further("t0000", 3), HasSubstr("has ended"));
}

TEST(External, ARequestForATrialThatEndsIsPassedOver) {
  const auto searcher = make();
  TrialRequests& requests = *searcher->requests();
  requests.request(rate(1e-3), 1);
  searcher->ask();
  requests.request_further("t0000", 3);
  searcher->tell_end("t0000", TrialState::failed);
  EXPECT_EQ(next(*searcher), "nothing");
  requests.close();
  EXPECT_THAT(stops_of(*searcher), ElementsAre());
  EXPECT_TRUE(searcher->finished());
}

class Proposals : public testing::Test {
 protected:
  static std::vector<Dimension> space() {
    Dimension joint{.path = "search.joint", .kind = Kind::joint};
    joint.joint = {{{"freeze", std::int64_t{0}}}, {{"freeze", std::int64_t{4}}, {"dropout", 0.2}}};
    return {when(listed("momentum", {0.0, 0.9}), "type", {std::string("sgd")}),
            listed("type", {std::string("adamw"), std::string("sgd")}),
            joint,
            range("k", Kind::integer, 0, 8, 2),
            range("decay", Kind::uniform, 0, 1, 0.1),
            range("lr", Kind::loguniform, 1e-5, 1e-1)};
  }

  static std::vector<Setting> whole() {
    return {{"lr", 1e-3},
            {"decay", 0.30000000000000004},
            {"type", std::string("adamw")},
            {"k", std::int64_t{4}},
            {"search.joint", std::int64_t{1}}};
  }
  static std::vector<Setting> with(const std::string& path, SettingValue value) {
    auto settings = whole();
    for (auto& setting : settings)
      if (setting.path == path) return setting.value = std::move(value), settings;
    settings.push_back({path, std::move(value)});
    return settings;
  }
  static std::vector<Setting> without(const std::string& path) {
    auto settings = whole();
    std::erase_if(settings, [&](const auto& setting) { return setting.path == path; });
    return settings;
  }

  std::string refusal(const std::vector<Setting>& settings) {
    return refusal_of([&] { searcher_->requests()->propose(settings); });
  }
  const std::unique_ptr<Searcher> searcher_ = make(space());
};

TEST_F(Proposals, HaveTheSpacesValuesInItsOrder) {
  const std::vector<Setting> expected{{"type", std::string("adamw")},
                                      {"freeze", std::int64_t{4}},
                                      {"dropout", 0.2},
                                      {"k", std::int64_t{4}},
                                      {"decay", 0.3},
                                      {"lr", 1e-3}};
  EXPECT_EQ(searcher_->requests()->propose(whole()).settings, expected);
  EXPECT_EQ(searcher_->requests()->propose(with("k", 4.0)).settings, expected) << "a whole number, however written";
  auto sgd = with("type", std::string("sgd"));
  sgd.push_back({"momentum", std::int64_t{0}});
  EXPECT_EQ(searcher_->requests()->propose(sgd).settings.front(), (Setting{"momentum", 0.0}));
}

TEST_F(Proposals, AreRefusedWithASentence) {
  EXPECT_THAT(refusal(with("batch_size", std::int64_t{8})),
              HasSubstr("'batch_size' is not searched; searched are momentum, type, search.joint, k, decay, lr"));
  EXPECT_THAT(refusal(with("lr", 0.5)), HasSubstr("lr = 0.5 is not a number from 1e-05 to 0.1"));
  EXPECT_THAT(refusal(with("lr", std::string("fast"))), HasSubstr("lr = fast is not a number"));
  EXPECT_THAT(refusal(with("lr", std::nan(""))), HasSubstr("is not a number from"));
  EXPECT_THAT(refusal(with("k", std::int64_t{3})), HasSubstr("k = 3 is not a whole number from 0 to 8 in steps of 2"));
  EXPECT_THAT(refusal(with("decay", 0.25)), HasSubstr("in steps of 0.1"));
  EXPECT_THAT(refusal(with("type", std::string("adam"))), HasSubstr("type = adam is not one of adamw, sgd"));
  EXPECT_THAT(refusal(with("search.joint", std::int64_t{2})),
              HasSubstr("search.joint = 2 is not the place of an entry"));
  EXPECT_THAT(refusal(without("lr")), HasSubstr("lr is missing; give it a number from 1e-05 to 0.1"));
  EXPECT_THAT(refusal(with("momentum", 0.9)), HasSubstr("momentum exists only where type is sgd"));
  EXPECT_THAT(refusal(with("type", std::string("sgd"))), HasSubstr("momentum is missing; give it one of 0, 0.9"));
  auto twice = whole();
  twice.push_back({"lr", 1e-2});
  EXPECT_THAT(refusal(twice), HasSubstr("lr is given twice"));
}

TEST(External, GoesWithNeitherGroupsNorCanonicalOrder) {
  SearchSpec spec = search_spec(Method::external, 0, 9);
  spec.seeds = 2;
  EXPECT_THAT(refusal(spec, kRates), HasSubstr("external trains each trial once"));
  spec.seeds = 1;
  spec.deterministic = true;
  EXPECT_THAT(refusal(spec, kRates), HasSubstr("leave out search.deterministic"));
}

struct Request {
  std::string trial;  // empty: a new one
  std::optional<std::uint32_t> until;
  bool finish = false;
};

void apply(Searcher& searcher, const Request& request) {
  if (request.finish)
    searcher.requests()->close();
  else if (request.trial.empty())
    searcher.requests()->request(rate(1e-3), request.until);
  else
    searcher.requests()->request_further(request.trial, request.until);
}

/// A few hundred random events: requests of both kinds, epochs, failures and stops by a person, and the end at some
/// time. A searcher that has all requests first, and is led through what was decided and told, decides the same.
TEST(External, LedAgainAsksTheSame) {
  constexpr std::uint32_t kEpochs = 6;
  for (std::uint64_t run = 0; run < 300; ++run) {
    KeyedStream random(derive(77, run));
    const auto searcher = make();
    std::vector<Request> requests;
    struct Event {
      std::optional<TrialOrder> order;
      std::optional<TrialStop> stop;
      std::optional<TrialScore> score;
      std::optional<Ended> end;
    };
    std::vector<Event> events;
    std::map<std::string, std::uint32_t> epochs;
    std::map<std::string, Epochs> until;  // of what is under way
    std::set<std::string> paused, ended;
    std::map<std::string, std::uint32_t> requested;
    bool finished = false;
    const auto decide = [&] {
      for (const auto& stop : searcher->take_stops()) {
        events.push_back({.stop = stop});
        paused.erase(stop.trial);
        ended.insert(stop.trial);
      }
      while (const auto order = searcher->ask()) {
        events.push_back({.order = order});
        paused.erase(order->trial.id);
        until[order->trial.id] = order->until_epoch.value_or(kEpochs);
      }
    };
    const auto end = [&](const std::string& trial, TrialState state) {
      events.push_back({.end = Ended{trial, state}});
      searcher->tell_end(trial, state);
      until.erase(trial);
      paused.erase(trial);
      ended.insert(trial);
    };
    for (int step = 0; step < 200 && !searcher->finished(); ++step) {
      const auto dice = random.below(100);
      if (dice < 10 && !finished && requested.size() < 10) {  // ids of one digit are enough
        const auto epoch = 1 + static_cast<std::uint32_t>(random.below(kEpochs));
        const std::string id = text::cat("t000", requested.size());
        requested[id] = epoch;
        requests.push_back({"", epoch == kEpochs ? std::nullopt : std::optional(epoch)});
        apply(*searcher, requests.back());
      } else if (dice < 25 && !finished && !requested.empty()) {
        auto one = std::next(requested.begin(), static_cast<std::ptrdiff_t>(random.below(requested.size())));
        if (one->second >= kEpochs || ended.contains(one->first)) continue;
        ++one->second;
        requests.push_back({one->first, one->second == kEpochs ? std::nullopt : std::optional(one->second)});
        apply(*searcher, requests.back());
      } else if (dice < 80 && !until.empty()) {
        const auto one = *std::next(until.begin(), static_cast<std::ptrdiff_t>(random.below(until.size())));
        const TrialScore score{one.first, ++epochs[one.first], 0, 0, 0.5, ""};
        events.push_back({.score = score});
        searcher->tell(score);
        if (score.epoch == kEpochs) {
          end(one.first, TrialState::finished);
        } else if (score.epoch == one.second) {
          until.erase(one.first);
          paused.insert(one.first);
        }
      } else if (dice < 84 && !until.empty()) {
        end(until.begin()->first, TrialState::failed);
      } else if (dice < 88 && !paused.empty()) {
        end(*paused.rbegin(), TrialState::stopped);
      } else if (dice >= 99 && !finished) {
        finished = true;
        requests.push_back({"", std::nullopt, true});
        apply(*searcher, requests.back());
      }
      if (random.below(3) > 0) decide();
    }

    const auto again = make();
    for (const auto& request : requests) apply(*again, request);
    std::deque<TrialStop> stops;
    for (const auto& event : events) {
      if (event.order) {
        ASSERT_EQ(again->ask(), *event.order) << "run " << run;
      }
      if (event.score) again->tell(*event.score);
      if (event.end) again->tell_end(event.end->trial, event.end->state);
      if (!event.stop) continue;
      if (stops.empty())
        for (auto& stop : again->take_stops()) stops.push_back(std::move(stop));
      ASSERT_FALSE(stops.empty()) << "run " << run;
      ASSERT_EQ(stops.front(), *event.stop) << "run " << run;
      stops.pop_front();
    }
  }
}

}  // namespace
}  // namespace hopyard
