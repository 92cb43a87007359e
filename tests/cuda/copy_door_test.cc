// The copy door over a card that does things as late, and in as odd an order, as it may.
#include "cuda/copy_door.h"

#include <gtest/gtest.h>

#include <future>

#include "base/rng.h"
#include "base/text.h"
#include "fakes/drawn_runs.h"
#include "fakes/fake_cuda.h"
#include "fakes/forgetful_calls.h"

namespace hopyard {
namespace {

using fakes::FakeCuda;
using fakes::ForgetfulCalls;
using fakes::OrderingSite;

/// Bytes go round: from a source in host memory to the card, and from there back, many at a time. Whoever is told that
/// bytes have come overwrites where they came from at once.
class RoundTrips {
 public:
  explicit RoundTrips(std::uint64_t seed, OrderingSite forgotten = OrderingSite::none)
      : drawn_(derive(seed, "round trips")), card_({.seed = seed}), calls_(card_, forgotten) {
    for (auto& trip : trips_) {
      const Bytes bytes = 1 + drawn_.below(200);
      trip.source.resize(bytes);
      trip.on_card.resize(bytes);
      trip.back.resize(bytes);
    }
  }

  /// The first thing that was wrong; empty when nothing was.
  std::string run() {
    {
      CopyDoor door(calls_, failure_, nullptr, "cuda:0");
      door_ = &door;
      for (std::size_t t = 0; t < kTrips; ++t) load(t);
      std::unique_lock lock(mutex_);
      over_.wait(lock, [&] { return ended_ == kTrips; });
      lock.unlock();
      counters_ = door.counters();
    }
    if (failure_.get()) note("a call failed");
    if (counters_.loaded != moved_ || counters_.stored != moved_) note("bytes were counted wrongly");
    const double busy_s = static_cast<double>(moved_) / FakeCuda::kBytesPerSecond;
    if (std::abs(counters_.load_busy_s - busy_s) > 1e-12) note("the time of loads was counted wrongly");
    if (std::abs(counters_.store_busy_s - busy_s) > 1e-12) note("the time of stores was counted wrongly");
    if (!card_.all_given_back()) note("something was not given back");
    return wrong_;
  }

 private:
  static constexpr std::size_t kTrips = 6;
  static constexpr int kRounds = 3;
  struct Trip {
    std::vector<unsigned char> source, on_card, back;
    int round = 0;
    unsigned char first = 0;
    bool right(const std::vector<unsigned char>& bytes) const {
      for (std::size_t i = 0; i < bytes.size(); ++i)
        if (bytes[i] != static_cast<unsigned char>(first + i)) return false;
      return true;
    }
  };

  /// In up to three copies, some of which may be empty.
  std::vector<CopyRequest> copies(void* to, const void* from, Bytes bytes) {
    const std::lock_guard lock(mutex_);
    std::vector<CopyRequest> parts;
    Bytes at = 0;
    for (int part = 0; part < 3; ++part) {
      const Bytes end = part == 2 ? bytes : at + drawn_.below(bytes - at + 1);
      parts.push_back({static_cast<std::byte*>(to) + at, static_cast<const std::byte*>(from) + at, end - at});
      at = end;
    }
    return parts;
  }
  void load(std::size_t t) {
    Trip& trip = trips_[t];
    trip.first = static_cast<unsigned char>(17 * t + 31 * static_cast<unsigned>(trip.round));
    for (std::size_t i = 0; i < trip.source.size(); ++i) trip.source[i] = static_cast<unsigned char>(trip.first + i);
    auto parts = copies(trip.on_card.data(), trip.source.data(), trip.source.size());
    const std::lock_guard lock(asking_[0]);
    door_->load(std::move(parts), "", [this, t, turn = asked_[0]++] {
      if (turn != told_[0]++) note("loads were told of out of order");
      if (!trips_[t].right(trips_[t].on_card)) note("a load had not happened");
      std::fill(trips_[t].source.begin(), trips_[t].source.end(), 0xee);
      store(t);
    });
  }
  void store(std::size_t t) {
    Trip& trip = trips_[t];
    auto parts = copies(trip.back.data(), trip.on_card.data(), trip.on_card.size());
    const std::lock_guard lock(asking_[1]);
    door_->store(std::move(parts), "", [this, t, turn = asked_[1]++] {
      Trip& trip = trips_[t];
      if (turn != told_[1]++) note("stores were told of out of order");
      if (!trip.right(trip.back)) note("a store had not happened");
      std::fill(trip.on_card.begin(), trip.on_card.end(), 0xee);
      std::fill(trip.back.begin(), trip.back.end(), 0xdd);
      ++trip.round;
      {
        const std::lock_guard lock(mutex_);
        moved_ += trip.back.size();
        if (trip.round == kRounds) ++ended_;
      }
      if (trip.round < kRounds)
        load(t);
      else
        over_.notify_one();
    });
  }
  void note(const char* what) {
    const std::lock_guard lock(mutex_);
    if (wrong_.empty()) wrong_ = what;
  }

  std::mutex mutex_;  // guards what several threads of the door use: drawn_, moved_, ended_, wrong_
  std::condition_variable over_;
  KeyedStream drawn_;
  Bytes moved_ = 0;
  std::size_t ended_ = 0;
  std::string wrong_;
  std::mutex asking_[2];  // of each direction: held while asking, so that turns are the order of asking
  int asked_[2] = {0, 0}, told_[2] = {0, 0};
  std::array<Trip, kTrips> trips_;  // before the card, whose queues name their bytes
  FakeCuda card_;
  ForgetfulCalls calls_;
  CardFailure failure_;
  CopyDoor* door_ = nullptr;
  LinkCounters counters_;
};

TEST(CopyDoorTest, BytesAreWhereTheyShouldBeInWhateverOrderTheCardWorks) {
  const std::uint64_t runs = fakes::drawn_runs(3000);
  for (std::uint64_t seed = 0; seed < runs; ++seed) ASSERT_EQ(RoundTrips(seed).run(), "") << "seed " << seed;
}

TEST(CopyDoorTest, GoesOnlyOnceAllWhoWereToldHaveWhatTheyAskedFor) {
  FakeCuda card({});
  CardFailure failure;
  int told = 0, left = 20;
  std::function<void()> next;
  {
    CopyDoor door(card, failure, nullptr, "cuda:0");
    next = [&] {
      ++told;
      if (left-- == 0) return;
      if (left % 2 == 0)
        door.load({}, "", next);
      else
        door.store({}, "", next);
    };
    door.load({}, "", next);
  }
  EXPECT_EQ(told, 21);
}

TEST(CopyDoorTest, NoOrderingCanBeForgotten) {
  for (const auto site :
       {OrderingSite::load_begin_record, OrderingSite::load_end_record, OrderingSite::load_synchronize,
        OrderingSite::store_begin_record, OrderingSite::store_end_record, OrderingSite::store_synchronize}) {
    std::string wrong;
    for (std::uint64_t seed = 0; seed < 100 && wrong.empty(); ++seed) wrong = RoundTrips(seed, site).run();
    EXPECT_NE(wrong, "") << to_string(site) << " can be forgotten, and nobody sees it";
  }
}

}  // namespace
}  // namespace hopyard
