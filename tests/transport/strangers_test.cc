// Who is not let in, what strangers on the port can say, and addresses that lead nowhere.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "base/clock.h"
#include "fakes/failure_of.h"
#include "transport/frame.h"
#include "transport/store.h"
#include "transport/test_membership.h"

namespace hopyard {
namespace {

using Kind = CoordinatorEvent::Kind;
constexpr double kSoon = 20;

class Strangers : public testing::Test {
 protected:
  std::uint16_t port() const { return coordinator->endpoint().port; }
  std::string refusal(const std::function<void(LaunchSpec&, TransportOptions&)>& change) {
    auto launch = test_launch(1, port());
    auto options = test_options();
    change(launch, options);
    const auto joined = join_experiment(launch, options, kSoon);
    EXPECT_EQ(joined.worker, nullptr);
    EXPECT_TRUE(joined.refused);
    const auto event = coordinator->next(kSoon);
    EXPECT_TRUE(event && event->kind == Kind::refused && event->text.find("was turned away") != std::string::npos);
    return joined.error;
  }
  Store stranger() {
    std::string error;
    auto store = connect_store(coordinator->endpoint(), kSoon, error);
    EXPECT_EQ(error, "");
    return store;
  }
  std::unique_ptr<WorkerEnd> join() {
    auto joined = join_experiment(test_launch(1, port()), test_options(), kSoon);
    EXPECT_EQ(joined.error, "");
    EXPECT_EQ(coordinator->next(kSoon)->kind, Kind::joined);
    return std::move(joined.worker);
  }

  std::unique_ptr<CoordinatorEnd> coordinator = open_coordinator(test_launch(0, 0), test_options());
};

TEST_F(Strangers, AreTurnedAwayWithAReason) {
  const auto contains = [](const std::string& text, const char* part) {
    EXPECT_NE(text.find(part), std::string::npos) << text;
  };
  contains(refusal([](auto&, auto& options) { options.membership.secret = "guessed"; }), "secret");
  contains(refusal([](auto&, auto& options) { options.membership.version = "0.9"; }), "version 0.9");
  contains(refusal([](auto&, auto& options) { options.membership.experiment = "config 1;data 5;links a"; }),
           "it has data 5, and the coordinator data 4");
  contains(refusal([](auto& launch, auto&) { launch.world_size = 2; }), "one of 2 workers");
  EXPECT_NE(join(), nullptr);
}

TEST_F(Strangers, CannotSpeakForAWorker) {
  const auto worker = join();
  const auto store = stranger();
  auto membership = test_options().membership;
  membership.secret = "guessed";
  const FrameSeal forger(membership, *poll_key(store, names::kChallenge, 1));
  push(store, names::kInbox,
       forger.seal({Frame::Kind::message, worker->id(), 1, "forged"}, FrameSeal::Way::to_coordinator));
  push(store, names::kInbox, forger.seal({Frame::Kind::leave, worker->id(), 0, ""}, FrameSeal::Way::to_coordinator));
  for (const auto& queue : {names::kInbox, names::kBeats}) {
    for (const auto* garbage : {"", "garbage", "HYF1"}) push(store, queue, garbage);
    push(store, queue, std::string(3 * MiB, 'x'));
  }
  store->check({names::kPulse});
  worker->send("true");
  const auto event = coordinator->next(kSoon);
  ASSERT_TRUE(event);
  EXPECT_EQ(event->text, "true");
  EXPECT_EQ(coordinator->next(0.1), std::nullopt);
}

TEST_F(Strangers, WhoTakesMessagesAwayCostsTheWorkerItsIncarnationAndNoMore) {
  const auto worker = join();
  const FrameSeal seal(test_options().membership, *poll_key(stranger(), names::kChallenge, 1));
  push(stranger(), names::kInbox,
       seal.seal({Frame::Kind::message, worker->id(), 2, "number 1 is missing"}, FrameSeal::Way::to_coordinator));
  EXPECT_EQ(coordinator->next(kSoon)->kind, Kind::dead);
  EXPECT_EQ(worker->receive(kSoon), std::nullopt);
  EXPECT_EQ(worker->standing().kind, WorkerStanding::Kind::expelled);
}

TEST_F(Strangers, WhoSpeaksAnotherProtocolIsCutOff) {
  const auto worker = join();
  const Endpoint endpoint = coordinator->endpoint();
  EXPECT_EQ(try_to_connect(endpoint, kSoon), "");  // connects, says nothing and goes
  worker->send("still there");
  EXPECT_EQ(coordinator->next(kSoon)->text, "still there");
}

TEST_F(Strangers, WhoHangsUpDoesNotEndTheProcess) {
  int pipe[2];
  ASSERT_EQ(::pipe(pipe), 0);
  ::close(pipe[0]);
  EXPECT_EQ(::write(pipe[1], "x", 1), -1) << "with SIGPIPE not ignored, this test ends here";
  ::close(pipe[1]);
}

TEST_F(Strangers, NothingStaysInTheStore) {
  const auto watcher = stranger();
  {
    const auto worker = join();
    const auto keys = watcher->getNumKeys();
    for (int i = 0; i < 100; ++i) {
      worker->send("m");
      coordinator->send(worker->id(), "n");
      EXPECT_EQ(coordinator->next(kSoon)->text, "m");
      EXPECT_EQ(worker->receive(kSoon), "n");
    }
    EXPECT_EQ(watcher->getNumKeys(), keys);
    EXPECT_EQ(watcher->queueLen(names::kInbox), 0);
  }
  EXPECT_EQ(coordinator->next(kSoon)->kind, Kind::left);
}

TEST_F(Strangers, ARoundTripIsShort) {
  const auto worker = join();
  std::vector<double> trips_s;
  for (int i = 0; i < 50; ++i) {
    const double start_s = monotonic_seconds();
    worker->send("ping");
    coordinator->next(kSoon);
    coordinator->send(worker->id(), "pong");
    worker->receive(kSoon);
    trips_s.push_back(monotonic_seconds() - start_s);
  }
  const double least_s = *std::min_element(trips_s.begin(), trips_s.end());  // whatever else the machine does
  std::cout << "round trip " << least_s * 1e3 << " ms\n";
  EXPECT_LT(least_s, 0.005);
}

TEST_F(Strangers, APortInUseIsASentence) {
  const auto sentence =
      fakes::failure_of(ExitCode::usage, [&] { open_coordinator(test_launch(0, port()), test_options()); });
  EXPECT_NE(sentence.find("is in use"), std::string::npos) << sentence;
}

TEST(Addresses, ThatAreNotOursOrNotKnownAreSentences) {
  auto launch = test_launch(0, 0);
  launch.master_address = "no-such-host.invalid";
  auto sentence = fakes::failure_of(ExitCode::usage, [&] { open_coordinator(launch, test_options()); });
  EXPECT_NE(sentence.find("cannot be resolved"), std::string::npos) << sentence;
  launch.master_address = "192.0.2.1";  // of documentation (RFC 5737)
  sentence = fakes::failure_of(ExitCode::usage, [&] { open_coordinator(launch, test_options()); });
  EXPECT_NE(sentence.find("binds to 127.0.0.1 only"), std::string::npos) << sentence;
  auto options = test_options();
  options.bind_address = "192.0.2.1";
  sentence = fakes::failure_of(ExitCode::usage, [&] { open_coordinator(launch, options); });
  EXPECT_NE(sentence.find("no address of this machine"), std::string::npos) << sentence;
}

TEST(Addresses, WhereNobodyListensAWorkerGivesUpInTime) {
  std::uint16_t free_port = 0;
  {
    const ListeningSocket socket({"127.0.0.1", 0});
    free_port = socket.endpoint().port;
  }
  const double start_s = monotonic_seconds();
  const auto joined = join_experiment(test_launch(1, free_port), test_options(), 0.5);
  EXPECT_EQ(joined.worker, nullptr);
  EXPECT_FALSE(joined.refused);
  EXPECT_NE(joined.error.find("nobody answers"), std::string::npos) << joined.error;
  EXPECT_LT(monotonic_seconds() - start_s, 3);
}

TEST(Addresses, WhoListensAndNeverAnswersIsGivenUpInTime) {
  const ListeningSocket mute({"127.0.0.1", 0});
  const double start_s = monotonic_seconds();
  const auto joined = join_experiment(test_launch(1, mute.endpoint().port), test_options(), 0.5);
  EXPECT_EQ(joined.worker, nullptr);
  EXPECT_NE(joined.error, "");
  EXPECT_LT(monotonic_seconds() - start_s, 4);
}

TEST(Agents, TheirStoreOnlyTellsWhereOursIs) {
  ListeningSocket socket({"127.0.0.1", 0});
  auto launch = test_launch(0, socket.endpoint().port);
  const auto agent = host_store(socket);
  launch.agent_hosts_store = true;
  launch.restarts = 1;
  const auto coordinator = open_coordinator(launch, test_options());
  EXPECT_NE(coordinator->endpoint().port, launch.master_port);
  launch.rank = 2;
  const auto joined = join_experiment(launch, test_options(), kSoon);
  EXPECT_EQ(joined.error, "");
  EXPECT_EQ(coordinator->next(kSoon)->worker.rank, 2u);
  launch.restarts = 2;
  const auto early = join_experiment(launch, test_options(), 0.3);
  EXPECT_NE(early.error.find("has rank 0 started"), std::string::npos) << early.error;
}

}  // namespace
}  // namespace hopyard
