#include "spill/io_pool.h"

#include <gtest/gtest.h>

#include <atomic>
#include <future>
#include <vector>

namespace hopyard {
namespace {

TEST(IoPool, UrgentFirstElseInOrder) {
  std::vector<int> order;
  {
    IoPool pool(1);
    std::promise<void> gate;
    pool.submit([&] { gate.get_future().wait(); });
    for (int i = 0; i < 3; ++i) pool.submit([&order, i] { order.push_back(i); });
    for (int i = 10; i < 13; ++i) pool.submit([&order, i] { order.push_back(i); }, IoPool::Priority::urgent);
    gate.set_value();
  }
  EXPECT_EQ(order, (std::vector<int>{10, 11, 12, 0, 1, 2}));
}

TEST(IoPool, DrainWaitsForAllAlsoForJobsOfJobs) {
  IoPool pool(3);
  std::atomic<int> done = 0;
  for (int i = 0; i < 50; ++i) {
    pool.submit([&] {
      pool.submit([&] { ++done; });
      ++done;
    });
  }
  pool.drain();
  EXPECT_EQ(done, 100);
  pool.drain();
}

TEST(IoPool, RunsJobsSideBySide) {
  IoPool pool(2);
  std::promise<void> first, second;
  pool.submit([&] {
    first.set_value();
    second.get_future().wait();
  });
  pool.submit([&] {
    first.get_future().wait();
    second.set_value();
  });
  pool.drain();
}

}  // namespace
}  // namespace hopyard
