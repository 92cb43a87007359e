// What every StateBook must do. A test program includes this once and instantiates StateBookConformance with the ways
// to make an empty book.
#pragma once

#include <gtest/gtest.h>

#include <functional>
#include <memory>
#include <thread>

#include "hopper/state_book.h"

namespace hopyard {

using StateBookFactory = std::function<std::unique_ptr<StateBook>()>;

class StateBookConformance : public testing::TestWithParam<StateBookFactory> {
 protected:
  void SetUp() override { book_ = GetParam()(); }

  static HeldState state(const std::string& trial, std::uint32_t visits) {
    return {trial, visits, "00112233445566778899aabbccddeeff", {{0, 4096, visits}, {7, 64, 0xffffffffffffffffULL}}};
  }

  std::unique_ptr<StateBook> book_;
};

TEST_P(StateBookConformance, IsEmptyAtFirst) { EXPECT_TRUE(book_->all().empty()); }

TEST_P(StateBookConformance, GivesBackWhatWasPut) {
  book_->put(state("t00", 1));
  EXPECT_EQ(book_->all(), std::vector{state("t00", 1)});
}

TEST_P(StateBookConformance, IsInTheOrderOfTrialsThenOfVisits) {
  for (const auto& one : {state("t01", 2), state("t00", 10), state("t01", 1), state("t00", 9)}) book_->put(one);
  EXPECT_EQ(book_->all(), (std::vector{state("t00", 9), state("t00", 10), state("t01", 1), state("t01", 2)}));
}

TEST_P(StateBookConformance, PuttingAgainReplacesTheWholeState) {
  book_->put(state("t00", 1));
  HeldState newer{"t00", 1, "ffeeddccbbaa99887766554433221100", {{3, 128, 5}}};
  book_->put(newer);
  EXPECT_EQ(book_->all(), std::vector{newer});
}

TEST_P(StateBookConformance, AStateMayHaveNoBlobs) {
  const HeldState nothing{"t00", 1, "00", {}};
  book_->put(nothing);
  book_->put(state("t01", 1));
  EXPECT_EQ(book_->all(), (std::vector{nothing, state("t01", 1)}));
}

TEST_P(StateBookConformance, RemovesOneStateAndNoOther) {
  book_->put(state("t00", 1));
  book_->put(state("t00", 2));
  book_->put(state("t01", 1));
  book_->remove("t00", 1);
  EXPECT_EQ(book_->all(), (std::vector{state("t00", 2), state("t01", 1)}));
}

TEST_P(StateBookConformance, RemovingWhatIsNotThereIsNoFault) {
  book_->remove("t00", 1);
  book_->put(state("t00", 1));
  book_->remove("t00", 2);
  EXPECT_EQ(book_->all(), std::vector{state("t00", 1)});
}

TEST_P(StateBookConformance, AnyThreadMayCall) {
  constexpr std::uint32_t kThreads = 4, kStates = 8;
  std::vector<std::thread> threads;
  for (std::uint32_t t = 0; t < kThreads; ++t)
    threads.emplace_back([&, t] {
      for (std::uint32_t v = 0; v < kStates; ++v) {
        book_->put(state("t0" + std::to_string(t), v));
        if (v > 0) book_->remove("t0" + std::to_string(t), v - 1);
      }
    });
  for (auto& thread : threads) thread.join();
  ASSERT_EQ(book_->all().size(), kThreads);
  for (const auto& one : book_->all()) EXPECT_EQ(one.visits, kStates - 1);
}

}  // namespace hopyard
