#include "device/compute_threads.h"

#include <gtest/gtest.h>

#include <barrier>
#include <thread>
#include <vector>

namespace hopyard {
namespace {

TEST(ComputeThreads, EachThreadHasItsOwnNumberWhateverOthersSetMeanwhile) {
  constexpr int kThreads = 8, kRounds = 200;
  std::vector<int> wrong(kThreads, 0);
  for (int round = 0; round < kRounds; ++round) {
    std::barrier all_are_here(kThreads);
    std::vector<std::jthread> threads;
    for (int t = 0; t < kThreads; ++t)
      threads.emplace_back([&, t] {
        const int own = 1 + t % 2;
        all_are_here.arrive_and_wait();
        compute_with_threads(own);
        if (at::get_num_threads() != own) ++wrong[t];
      });
  }
  EXPECT_EQ(wrong, std::vector<int>(kThreads, 0));
}

}  // namespace
}  // namespace hopyard
