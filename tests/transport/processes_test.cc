// Workers in processes of their own: killed, stopped, in the middle of a transfer.
#include <gtest/gtest.h>

#include <thread>

#include "base/clock.h"
#include "base/text.h"
#include "transport/child_process.h"
#include "transport/test_membership.h"

namespace hopyard {
namespace {

using Kind = CoordinatorEvent::Kind;
constexpr double kSoon = 20, kDetected = 2;

class Processes : public testing::Test {
 protected:
  ChildProcess child(std::uint32_t rank) {
    return ChildProcess({std::to_string(coordinator->endpoint().port), std::to_string(rank)});
  }
  /// Waits for an event of this kind; what comes before is dropped.
  CoordinatorEvent wait_for(Kind kind) {
    for (const double until_s = monotonic_seconds() + kSoon; monotonic_seconds() < until_s;) {
      const auto event = coordinator->next(kSoon);
      if (event && event->kind == kind) return *event;
    }
    ADD_FAILURE() << "it did not happen";
    return {};
  }
  /// The next worker that joins, when it has also answered: it has all its connections then.
  WorkerId wait_for_worker() {
    const WorkerId worker = wait_for(Kind::joined).worker;
    coordinator->send(worker, "echo in");
    EXPECT_EQ(wait_for(Kind::message).text, "in");
    return worker;
  }
  /// This process's own worker, of rank 0.
  void join() {
    auto joined = join_experiment(test_launch(0, coordinator->endpoint().port), test_options(), kSoon);
    ASSERT_EQ(joined.error, "");
    own = std::move(joined.worker);
    wait_for(Kind::joined);
  }
  /// Receives 256 MiB that the peer sends slowly, and does `at_chunk` when the fifth arrives.
  TransferResult receive_from(const WorkerId& peer, const std::function<void()>& at_chunk) {
    constexpr Bytes kBytes = 256 * MiB;
    coordinator->send(peer, text::cat("send ", own->id().rank, ' ', own->id().incarnation, ' ', kBytes));
    const auto opened = own->open_link({peer, 1, kSoon, 1.0});
    EXPECT_EQ(opened.error, "");
    if (!opened.link) return {opened.error};
    std::vector<std::byte> memory(kBytes);
    return opened.link->receive({1, kBytes},
                                {[&](Bytes offset, Bytes bytes) { return std::span(memory).subspan(offset, bytes); },
                                 [&](Bytes offset, std::span<const std::byte>) {
                                   if (offset == 4 * kChunkBytes) at_chunk();
                                   return true;
                                 }});
  }

  /// What is done to the peer in the middle of that is an error here within the bound.
  void expect_error_within(double bound_s, const WorkerId& peer, const std::function<void()>& at_chunk) {
    double start_s = 0;
    const auto result = receive_from(peer, [&] {
      start_s = monotonic_seconds();
      at_chunk();
    });
    EXPECT_FALSE(result.ok());
    EXPECT_LT(monotonic_seconds() - start_s, bound_s);
    std::cout << result.error << '\n';
  }

  std::unique_ptr<CoordinatorEnd> coordinator = open_coordinator(test_launch(0, 0), test_options());
  std::unique_ptr<WorkerEnd> own;
};

TEST_F(Processes, AKilledWorkerIsDetected) {
  auto killed = child(1);
  const auto worker = wait_for_worker();
  killed.kill();
  const double start_s = monotonic_seconds();
  EXPECT_EQ(wait_for(Kind::dead).worker, worker);
  const double took_s = monotonic_seconds() - start_s;
  EXPECT_LT(took_s, kDetected);
  std::cout << "detected after " << text::format_seconds(took_s) << '\n';
  EXPECT_EQ(coordinator->send(worker, "echo x"), SendStatus::gone);
}

TEST_F(Processes, AStoppedWorkerIsSilentThenDeadAndHearsOfItWhenItComesBack) {
  auto stopped = child(1);
  const auto worker = wait_for_worker();
  stopped.signal(SIGSTOP);
  const double start_s = monotonic_seconds();
  EXPECT_EQ(wait_for(Kind::silent).worker, worker);
  coordinator->send(worker, "echo too late");
  EXPECT_EQ(wait_for(Kind::dead).worker, worker);
  EXPECT_LT(monotonic_seconds() - start_s, kDetected);
  stopped.signal(SIGCONT);
  EXPECT_EQ(stopped.wait(), 12) << "it should have been told that it is expelled";
  EXPECT_EQ(coordinator->next(0.1), std::nullopt) << "the dead do not speak";
}

TEST_F(Processes, AWorkerThatStopsForAMomentStays) {
  auto stopped = child(1);
  const auto worker = wait_for_worker();
  stopped.signal(SIGSTOP);
  wait_for(Kind::silent);
  stopped.signal(SIGCONT);
  wait_for(Kind::awake);
  coordinator->send(worker, "echo still here");
  EXPECT_EQ(wait_for(Kind::message).text, "still here");
}

TEST_F(Processes, ALostCoordinatorIsNoticedByAllWorkers) {
  auto first = child(1);
  wait_for_worker();
  auto second = child(2);
  wait_for_worker();
  const double start_s = monotonic_seconds();
  coordinator.reset();
  EXPECT_EQ(first.wait(), 11);
  EXPECT_EQ(second.wait(), 11);
  EXPECT_LT(monotonic_seconds() - start_s, 2 * kDetected);
}

TEST_F(Processes, APeerThatIsKilledInATransferIsAnErrorAtOnce) {
  auto peer = child(1);
  const auto worker = wait_for_worker();
  join();
  expect_error_within(kDetected, worker, [&] { peer.kill(); });
}

TEST_F(Processes, APeerThatIsKilledWhileItReceivesIsAnErrorWithinTheBound) {
  auto peer = child(1);
  const auto worker = wait_for_worker();
  join();
  constexpr Bytes kBytes = 256 * MiB;
  coordinator->send(worker, text::cat("receive ", own->id().rank, ' ', own->id().incarnation, ' ', kBytes));
  const auto opened = own->open_link({worker, 1, kSoon, 1.0});
  ASSERT_EQ(opened.error, "");
  const std::vector<std::byte> memory(kBytes);
  double start_s = 0;
  const auto result = opened.link->send({1, kBytes}, {[&](Bytes offset, Bytes bytes) {
                                                        if (offset == 8 * kChunkBytes) {
                                                          start_s = monotonic_seconds();
                                                          peer.kill();
                                                        }
                                                        return std::span(memory).subspan(offset, bytes);
                                                      },
                                                      nullptr});
  EXPECT_FALSE(result.ok());
  EXPECT_LT(monotonic_seconds() - start_s, 1.0 + kDetected);
  std::cout << result.error << '\n';
}

TEST_F(Processes, APeerThatIsStoppedInATransferIsAnErrorWithinTheBound) {
  auto peer = child(1);
  const auto worker = wait_for_worker();
  join();
  expect_error_within(1.0 + kDetected, worker, [&] { peer.signal(SIGSTOP); });
  peer.signal(SIGCONT);
  const int code = peer.wait();
  EXPECT_TRUE(code == 12 || code == 13) << code;
}

TEST_F(Processes, AWorkerThatComesBackJoinsAnew) {
  WorkerId first;
  {
    auto killed = child(1);
    first = wait_for_worker();
    killed.kill();
  }
  auto back = child(1);
  EXPECT_EQ(wait_for(Kind::dead).worker, first);
  auto event = wait_for(Kind::joined);
  EXPECT_GT(event.worker.incarnation, first.incarnation);
  coordinator->send(event.worker, "echo back");
  EXPECT_EQ(wait_for(Kind::message).text, "back");
}

}  // namespace
}  // namespace hopyard
