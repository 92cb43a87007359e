// What every exchange of a step does. Instantiate StepExchangeConformance with a harness for each implementation.
#pragma once

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <functional>
#include <memory>
#include <numeric>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "base/rng.h"
#include "conformance/each_member.h"
#include "pipeline/step_exchange.h"

namespace hopyard {

/// All members of one visit.
class ExchangeHarness {
 public:
  virtual ~ExchangeHarness() = default;
  /// Each member's end; nobody waits longer than `wait_s` for a member.
  virtual std::vector<std::shared_ptr<StepExchange>> open(std::uint32_t members, double wait_s) = 0;
};

struct ExchangeCase {
  std::string name;
  std::function<std::unique_ptr<ExchangeHarness>()> make;
  bool in_order = true;  ///< else sums are those of any order, within rounding
};

/// A step's gradients as one process has them, micro-batch by micro-batch, and what each member makes of its own.
class StepToExchange {
 public:
  StepToExchange(std::vector<std::size_t> sizes, std::uint32_t micro_batches, std::uint32_t members, std::uint64_t seed)
      : sizes_(std::move(sizes)), micro_batches_(micro_batches), members_(members), seed_(seed) {}

  float value(std::size_t part, std::uint32_t micro_batch, std::size_t i) const {
    const std::uint64_t word = mix(seed_ * 1000003 + part * 8191 + micro_batch, i);
    return std::ldexp(static_cast<float>(static_cast<std::int64_t>(word >> 40) - (1 << 23)),
                      -20 - static_cast<int>(word % 12));
  }
  /// Added from the first micro-batch to the last.
  std::vector<float> sum(std::size_t part) const { return added(part, {0, micro_batches_}); }

  struct Member {
    std::vector<std::vector<float>> buffers;
    std::vector<GradientPart> parts;
    std::vector<std::byte> staging;
  };
  Member member(std::uint32_t index, bool in_order) const {
    const MicroBatchRange own = MicroBatchShare{index, members_}.of(micro_batches_);
    const bool apart = in_order && index > 0;
    Member member;
    std::size_t largest = 0;
    for (std::size_t p = 0; p < sizes_.size(); ++p) {
      const std::uint32_t pieces = apart ? own.count() : std::min(own.count(), 1u);
      auto& buffer = member.buffers.emplace_back(sizes_[p] * std::max(pieces, 1u), std::nanf(""));
      for (std::uint32_t piece = 0; piece < pieces; ++piece) {
        const auto some = added(p, apart ? MicroBatchRange{own.begin + piece, own.begin + piece + 1} : own);
        std::copy(some.begin(), some.end(), buffer.begin() + static_cast<std::ptrdiff_t>(piece * sizes_[p]));
      }
      member.parts.push_back({std::span(buffer).first(sizes_[p]), std::span(buffer).subspan(sizes_[p]), pieces});
      largest = std::max(largest, sizes_[p] * sizeof(float));
    }
    member.staging.resize(std::min<std::size_t>(largest, kExchangeStagingBytes));
    return member;
  }
  Bytes bytes() const { return std::accumulate(sizes_.begin(), sizes_.end(), std::size_t{0}) * sizeof(float); }

 private:
  static std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
    std::uint64_t x = a * 0x9e3779b97f4a7c15 + b * 0xbf58476d1ce4e5b9 + 1;
    x ^= x >> 31, x *= 0x94d049bb133111eb;
    return x ^ (x >> 29);
  }
  std::vector<float> added(std::size_t part, MicroBatchRange range) const {
    std::vector<float> sum(sizes_[part]);
    for (std::uint32_t m = range.begin; m < range.end; ++m)
      for (std::size_t i = 0; i < sum.size(); ++i)
        sum[i] = m == range.begin ? value(part, m, i) : sum[i] + value(part, m, i);
    return sum;
  }
  std::vector<std::size_t> sizes_;
  std::uint32_t micro_batches_, members_;
  std::uint64_t seed_;
};

class StepExchangeConformance : public testing::TestWithParam<ExchangeCase> {
 protected:
  static constexpr double kSoon = 10;
  bool in_order() const { return GetParam().in_order; }

  /// One step; `at_a_time` says how many parts each member brings in one call.
  void expect_sums(std::span<const std::shared_ptr<StepExchange>> ends, const StepToExchange& step,
                   const std::function<std::size_t(std::uint32_t member)>& at_a_time, const std::string& what) {
    std::vector<StepToExchange::Member> members;
    for (std::uint32_t m = 0; m < ends.size(); ++m) members.push_back(step.member(m, in_order()));
    const auto broken = each_member(static_cast<std::uint32_t>(ends.size()), [&](std::uint32_t m) {
      for (std::size_t first = 0; first < members[m].parts.size(); first += at_a_time(m)) {
        const auto count = std::min(at_a_time(m), members[m].parts.size() - first);
        ends[m]->sum(std::span(members[m].parts).subspan(first, count), members[m].staging);
      }
    });
    for (const auto& error : broken) ASSERT_EQ(error, "") << what;
    for (std::size_t p = 0; p < members[0].parts.size(); ++p) {
      const auto expected = step.sum(p);
      const auto first = members[0].parts[p].sum;
      for (const auto& member : members)
        ASSERT_EQ(std::memcmp(member.parts[p].sum.data(), first.data(), first.size_bytes()), 0) << what << p;
      if (in_order()) {
        ASSERT_EQ(std::memcmp(expected.data(), first.data(), first.size_bytes()), 0) << what << ", part " << p;
      }
      for (std::size_t i = 0; i < expected.size(); i += 97)
        ASSERT_NEAR(first[i], expected[i], 1e-4) << what << ", part " << p << " at " << i;
    }
  }

  std::unique_ptr<ExchangeHarness> harness = GetParam().make();
};

TEST_P(StepExchangeConformance, SumsAreThoseOfOneProcess) {
  for (const std::uint32_t members : {2u, 3u}) {
    const auto ends = harness->open(members, kSoon);
    for (const auto& end : ends) ASSERT_EQ(end->in_order(), in_order());
    for (std::uint32_t micro_batches = 1; micro_batches <= 7; ++micro_batches) {
      const StepToExchange step({16, 1000, 3, 4096}, micro_batches, members, micro_batches);
      // Members whose windows differ bring other numbers of parts at a time.
      const auto at_a_time = [&](std::uint32_t member) { return std::size_t{1 + (member + micro_batches) % 4}; };
      expect_sums(ends, step, at_a_time, std::to_string(members) + " members, " + std::to_string(micro_batches));
    }
  }
}

TEST_P(StepExchangeConformance, PartsOfManyChunksAndWhatTheyCost) {
  for (const std::uint32_t members : {2u, 3u}) {
    const auto ends = harness->open(members, kSoon);
    const StepToExchange step({5 * MiB / 4 + 7, 11, 6 * MiB, 1}, 4, members, 5);
    expect_sums(
        ends, step, [](std::uint32_t) { return 4; }, "many chunks");
    ExchangeTraffic all;
    for (const auto& end : ends) {
      all.sent += end->traffic().sent;
      all.received += end->traffic().received;
    }
    const auto expected = static_cast<double>(2 * (members - 1) * step.bytes());
    EXPECT_NEAR(static_cast<double>(all.sent), expected, members);  // rounded at each member
    EXPECT_EQ(all.received, all.sent);
  }
}

TEST_P(StepExchangeConformance, EveryMemberGetsAllValues) {
  for (const std::uint32_t members : {2u, 3u}) {
    const auto ends = harness->open(members, kSoon);
    for (const std::uint32_t micro_batches : {1u, 2u, 5u}) {
      std::vector<std::vector<double>> values(members, std::vector<double>(micro_batches, -1));
      const auto broken = each_member(members, [&](std::uint32_t m) {
        const auto own = MicroBatchShare{m, members}.of(micro_batches);
        for (auto i = own.begin; i < own.end; ++i) values[m][i] = 0.1 * i;
        ends[m]->gather(values[m], own);
      });
      for (std::uint32_t m = 0; m < members; ++m) {
        EXPECT_EQ(broken[m], "");
        for (std::uint32_t i = 0; i < micro_batches; ++i) EXPECT_EQ(values[m][i], 0.1 * i) << m;
      }
    }
  }
}

TEST_P(StepExchangeConformance, TheSlowestMemberIsWaitedFor) {
  const auto ends = harness->open(3, kSoon);
  const StepToExchange step({100, 7}, 3, 3, 1);
  for (std::uint32_t late = 0; late < 3; ++late) {
    std::vector<StepToExchange::Member> members;
    for (std::uint32_t m = 0; m < 3; ++m) members.push_back(step.member(m, in_order()));
    const auto broken = each_member(3, [&](std::uint32_t m) {
      if (m == late) sleep_seconds(0.5);
      ends[m]->sum(members[m].parts, members[m].staging);
    });
    for (const auto& error : broken) EXPECT_EQ(error, "") << late;
  }
}

TEST_P(StepExchangeConformance, AMemberThatDoesNotComeIsAnErrorInTimeAndForGood) {
  for (std::uint32_t missing = 0; missing < 3; ++missing) {
    const auto ends = harness->open(3, 0.5);
    const StepToExchange step({100, 7}, 3, 3, 1);
    const double begin = monotonic_seconds();
    const auto try_step = [&] {
      return each_member(3, [&](std::uint32_t m) {
        auto member = step.member(m, in_order());
        if (m != missing) ends[m]->sum(member.parts, member.staging);
      });
    };
    auto broken = try_step();
    for (std::uint32_t m = 0; m < 3; ++m) EXPECT_EQ(broken[m].empty(), m == missing) << missing;
    EXPECT_LT(monotonic_seconds() - begin, 5);
    broken = try_step();
    for (std::uint32_t m = 0; m < 3; ++m) EXPECT_EQ(broken[m].empty(), m == missing) << missing;
  }
}

TEST_P(StepExchangeConformance, CancellingLetsAllMembersGo) {
  for (std::uint32_t cancels = 0; cancels < 3; ++cancels) {
    const auto ends = harness->open(3, 60);
    const double begin = monotonic_seconds();
    double let_go = 0;
    const auto broken = each_member(3, [&](std::uint32_t m) {
      std::jthread canceller;
      if (m == cancels) canceller = std::jthread([&] { sleep_seconds(0.1), ends[m]->cancel("it was abandoned"); });
      if (m == 1) sleep_seconds(1);  // computes
      std::vector<double> values(3);
      try {
        for (int step = 0; step < 3; ++step) ends[m]->gather(values, MicroBatchShare{m, 3}.of(3));
      } catch (const ExchangeBroken&) {
        if (m == cancels) let_go = monotonic_seconds() - begin;
        throw;
      }
    });
    EXPECT_LT(monotonic_seconds() - begin, 5);
    if (cancels != 1) {
      EXPECT_LT(let_go, 0.9) << "it waited for member 1";
    }
    for (const auto& error : broken) EXPECT_NE(error, "");
    EXPECT_NE(broken[cancels].find("it was abandoned"), std::string::npos) << broken[cancels];
  }
}

TEST_P(StepExchangeConformance, AMemberThatIsGoneLetsTheOthersGo) {
  for (std::uint32_t gone = 0; gone < 3; ++gone) {
    auto ends = harness->open(3, 60);
    const double begin = monotonic_seconds();
    const StepToExchange step({6 * MiB, 100}, 3, 3, 1);
    const auto broken = each_member(3, [&](std::uint32_t m) {
      auto member = step.member(m, in_order());
      if (m == gone) {
        sleep_seconds(0.1);
        ends[m].reset();
      } else {
        ends[m]->sum(member.parts, member.staging);
      }
    });
    EXPECT_LT(monotonic_seconds() - begin, 5);
    for (std::uint32_t m = 0; m < 3; ++m) EXPECT_EQ(broken[m].empty(), m == gone) << gone;
  }
}

}  // namespace hopyard
