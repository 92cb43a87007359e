// A server with bounded staleness, over links of both transports.
#include "hopper/server_end.h"

#include <gtest/gtest.h>

#include <future>
#include <limits>
#include <optional>
#include <stdexcept>
#include <thread>

#include "base/clock.h"
#include "conformance/each_member.h"
#include "hopper/three_workers.h"

namespace hopyard {
namespace {

constexpr std::uint32_t kMembers = 3;

/// Parameters lose what gradients are, and moments gain it twice.
class PlainState final : public ServedState {
 public:
  PlainState(std::uint32_t staleness, const std::vector<std::size_t>& sizes) : staleness_(staleness) {
    for (const std::size_t size : sizes) {
      parameters_.emplace_back(size);
      moments_.emplace_back(2 * size);
      gradients_.emplace_back(staleness + 1, std::vector<float>(size));
    }
    staging_.resize(kMembers, std::vector<std::byte>(kExchangeStagingBytes));
  }
  std::uint32_t staleness() const override { return staleness_; }
  std::size_t parts() const override { return parameters_.size(); }
  std::span<float> values(Served what, std::size_t part) override {
    return what == Served::parameters ? parameters_[part] : moments_[part];
  }
  std::span<float> gradients(std::uint64_t step, std::size_t part) override {
    return gradients_[part][step % (staleness_ + 1)];
  }
  void update(std::uint64_t step) override {
    require(step != fails_at, "what an update broke");
    updated_.push_back(step);
    for (std::size_t part = 0; part < parts(); ++part) {
      const auto spent = gradients(step, part);
      for (std::size_t i = 0; i < spent.size(); ++i) {
        parameters_[part][i] -= spent[i];
        moments_[part][2 * i] += 2 * std::exchange(spent[i], 0.0f);
      }
    }
  }
  std::span<std::byte> staging(std::uint32_t member) override { return staging_[member]; }
  const std::vector<std::uint64_t>& updated() const { return updated_; }
  std::optional<std::uint64_t> fails_at;

 private:
  const std::uint32_t staleness_;
  std::vector<std::vector<float>> parameters_, moments_;
  std::vector<std::vector<std::vector<float>>> gradients_;
  std::vector<std::vector<std::byte>> staging_;
  std::vector<std::uint64_t> updated_;
};

/// What a member has by its end, and what it does in a step.
struct TestMember {
  std::shared_ptr<ServerEnd> end;
  std::vector<std::vector<float>> parameters, moments;
  std::vector<std::vector<double>> losses;
  std::uint64_t begun = 0, pulls = 0;

  /// Gradients are `gradient` everywhere.
  ServerEnd::Answer step(std::uint32_t member, float gradient, bool last, double loss = 0.5) {
    StepReport report{kMembers, MicroBatchShare{member, kMembers}.of(kMembers), {loss, 1.0 + member}, last};
    end->begin_step(report);
    ++begun;
    for (std::size_t part = 0; part < parameters.size(); ++part)
      end->push(part, std::vector<float>(parameters[part].size(), gradient));
    const auto answer = end->end_step();
    if (answer.newer) {
      ++pulls;
      for (std::size_t part = 0; part < parameters.size(); ++part)
        end->pull(Served::parameters, part, parameters[part]);
    }
    if (!last || answer.diverged) return answer;
    for (std::size_t part = 0; part < moments.size(); ++part) end->pull(Served::moments, part, moments[part]);
    losses = end->finish();
    return answer;
  }
};

template <class Workers>
class Server : public testing::Test {
 protected:
  void open(std::uint32_t staleness, double wait_s, std::vector<std::size_t> sizes = {16, 5 * MiB / 4 + 7, 1}) {
    ++opened_;
    state_ = std::make_shared<PlainState>(staleness, std::move(sizes));
    members_ = std::vector<TestMember>(kMembers);
    each_member(kMembers, [&](std::uint32_t m) {
      auto opened = open_server_end(workers_.worker(m), {workers_.ids(kMembers), m, opened_, 30, wait_s});
      EXPECT_EQ(opened.error, "");
      members_[m].end = std::move(opened.end);
    });
    for (auto& member : members_) {
      ASSERT_NE(member.end, nullptr);
      for (std::size_t part = 0; part < state_->parts(); ++part) {
        member.parameters.emplace_back(state_->values(Served::parameters, part).size());
        member.moments.emplace_back(state_->values(Served::moments, part).size());
      }
    }
    members_[0].end->host(state_);
  }

  Workers workers_;
  std::uint64_t opened_ = 0;
  std::shared_ptr<PlainState> state_;
  std::vector<TestMember> members_;
};
using Transports = testing::Types<MemoryWorkers, GlooWorkers>;
TYPED_TEST_SUITE(Server, Transports);

TYPED_TEST(Server, WithoutStalenessEachStepHasAllUpdatesBefore) {
  constexpr std::uint64_t kSteps = 4;
  this->open(0, 20);
  const auto broken = each_member(kMembers, [&](std::uint32_t m) {
    float sum = 0;
    for (std::uint64_t step = 0; step < kSteps; ++step) {
      this->members_[m].step(m, static_cast<float>((m + 1) * (step + 1)), step + 1 == kSteps);
      sum += static_cast<float>((1 + 2 + 3) * (step + 1));
      for (const auto& part : this->members_[m].parameters)
        for (const float value : part) ASSERT_EQ(value, -sum) << "member " << m << ", step " << step;
    }
    EXPECT_EQ(this->members_[m].pulls, kSteps);
  });
  for (const auto& error : broken) EXPECT_EQ(error, "");
  EXPECT_EQ(this->state_->updated(), (std::vector<std::uint64_t>{0, 1, 2, 3}));
}

TYPED_TEST(Server, ParametersLackSoManyUpdatesAtMostAndInTheEndNone) {
  constexpr std::uint64_t kSteps = 9, kStaleness = 2;
  this->open(kStaleness, 20);
  const auto broken = each_member(kMembers, [&](std::uint32_t m) {
    for (std::uint64_t step = 0; step < kSteps; ++step) {
      if (step % kMembers == m) sleep_seconds(0.03);
      this->members_[m].step(m, 1, step + 1 == kSteps);
      const double updates = step + 1 == kSteps ? kSteps : std::max(0.0, static_cast<double>(step + 1) - kStaleness);
      for (const auto& part : this->members_[m].parameters)
        for (const float value : part) ASSERT_LE(value, -updates * kMembers) << "member " << m << ", step " << step;
    }
  });
  for (std::uint32_t m = 0; m < kMembers; ++m) {
    EXPECT_EQ(broken[m], "");
    const TestMember& member = this->members_[m];
    for (std::size_t part = 0; part < member.parameters.size(); ++part) {
      for (const float value : member.parameters[part]) ASSERT_EQ(value, -1.0f * kSteps * kMembers);
      for (std::size_t i = 0; i < member.moments[part].size(); ++i)
        ASSERT_EQ(member.moments[part][i], i % 2 == 0 ? 2.0f * kSteps * kMembers : 0.0f);
    }
    ASSERT_EQ(member.losses.size(), kSteps);
    for (const auto& losses : member.losses) EXPECT_EQ(losses, (std::vector<double>{0.5, 1, 0.5, 2, 0.5, 3}));
  }
}

TYPED_TEST(Server, NobodyIsMoreThanSoManyStepsAheadOfTheSlowest) {
  for (const std::uint32_t staleness : {0u, 1u, 3u})
    for (std::uint32_t slow = 0; slow < kMembers; ++slow) {
      this->open(staleness, 0.5, {3, 1});  // small, so that all but the slow one are in time
      const auto broken = each_member(kMembers, [&](std::uint32_t m) {
        if (m == slow) return;
        for (;;) this->members_[m].step(m, 1, false);
      });
      for (std::uint32_t m = 0; m < kMembers; ++m) {
        EXPECT_EQ(broken[m].empty(), m == slow) << m;
        EXPECT_EQ(this->members_[m].begun, m == slow ? 0 : staleness + 1) << "member " << m << " and " << slow;
      }
    }
}

TYPED_TEST(Server, ALossThatIsNoNumberEndsTheVisitOfAll) {
  this->open(1, 20);
  const auto broken = each_member(kMembers, [&](std::uint32_t m) {
    for (std::uint64_t step = 0;; ++step) {
      const double loss = m == 1 && step == 2 ? std::numeric_limits<double>::infinity() : 0.5;
      const auto answer = this->members_[m].step(m, 1, false, loss);
      if (!answer.diverged) continue;
      EXPECT_EQ(answer.diverged, 2u);
      this->members_[m].end.reset();
      return;
    }
  });
  for (const auto& error : broken) EXPECT_EQ(error, "");
  EXPECT_EQ(this->state_->updated().size(), 2u);
}

TYPED_TEST(Server, WhatBreaksInTheServersProcessIsThrownThereWhoeverWasLast) {
  for (int run = 0; run < 5; ++run) {
    this->open(2, 20);
    this->state_->fails_at = 3;
    each_member(kMembers, [&](std::uint32_t m) {
      const auto train = [&] {
        for (;;) this->members_[m].step(m, 1, false);
      };
      if (m == 0)
        EXPECT_THROW(train(), std::logic_error);
      else
        EXPECT_THROW(train(), ExchangeBroken);
      this->members_[m].end->cancel("it leaves");
    });
  }
}

TYPED_TEST(Server, MembersThatMeanDifferentVisitsAreFound) {
  this->open(1, 20);
  const auto broken = each_member(kMembers, [&](std::uint32_t m) {
    try {
      this->members_[m].step(m, 1, m == 1);
      this->members_[m].step(m, 1, true);
    } catch (...) {
      this->members_[m].end->cancel("it leaves");
      throw;
    }
  });
  EXPECT_NE(broken[0], "");
  EXPECT_NE(broken[2], "");
}

// Who was writing when its peer went may never hear of that from Gloo: the coordinator cancels, as here.
TYPED_TEST(Server, AMemberThatIsGoneOrCancelsLetsTheOthersGo) {
  for (std::uint32_t which = 0; which < kMembers; ++which)
    for (const bool cancels : {false, true}) {
      this->open(1, 60);
      const double begin = monotonic_seconds();
      std::promise<void> gone;
      std::jthread coordinator([&] {
        gone.get_future().wait();
        sleep_seconds(0.5);
        for (std::uint32_t m = 0; m < kMembers; ++m)
          if (m != which) this->members_[m].end->cancel("the visit was abandoned");
      });
      const auto broken = each_member(kMembers, [&](std::uint32_t m) {
        for (int step = 0;; ++step) {
          if (m == which && step == 3) {
            if (cancels)
              this->members_[m].end->cancel("it was abandoned");
            else
              this->members_[m].end.reset();
            gone.set_value();
            if (!cancels) return;
          }
          this->members_[m].step(m, 1, false);
        }
      });
      EXPECT_LT(monotonic_seconds() - begin, 10);
      for (std::uint32_t m = 0; m < kMembers; ++m) EXPECT_EQ(broken[m].empty(), m == which && !cancels) << m;
    }
}

}  // namespace
}  // namespace hopyard
