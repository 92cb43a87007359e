// How cards fared, with a made-up library of their driver.
#include "cuda/card_sampler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <chrono>

#include "fakes/fake_nvml.h"

namespace hopyard {
namespace {

namespace nvml = fakes::nvml;

constexpr double kOftenSeconds = 0.002, kNeverAgainSeconds = 3600;

std::unique_ptr<CardWatch> watch_without(const std::string& lacking = "") {
  auto functions = nvml::functions();
  functions.erase(lacking);
  std::string why_not;
  return nvml::watch(functions, why_not);
}

/// Returns when it was asked so often more.
void wait_for_looks(unsigned long long looks) {
  const auto until = nvml::energy_mj + 1000 * looks;
  while (nvml::energy_mj < until) std::this_thread::sleep_for(std::chrono::milliseconds(1));
}

const std::vector<SampledCard> kCards{{"cuda:0", nvml::kBus}, {"cuda:1", "0000:99:00.0"}};

TEST(CardSampler, AddsUpWhatTheDriverTells) {
  TraceRecorder trace;
  CardSampler sampler(watch_without(), kCards, kOftenSeconds, trace);
  wait_for_looks(3);
  const auto cards = sampler.stop();
  ASSERT_EQ(cards.size(), 2u);
  const CardCondition& card = cards[0];
  EXPECT_GE(card.samples, 3u);
  EXPECT_EQ(card.sm_mhz_mean, 1755);
  EXPECT_EQ(card.sm_mhz_least, 1755);
  EXPECT_EQ(card.sm_mhz_max, 1980);
  EXPECT_EQ(card.power_w_mean, 612.5);
  EXPECT_EQ(card.power_w_peak, 612.5);
  EXPECT_EQ(card.power_limit_w, std::nullopt);
  EXPECT_EQ(card.energy_j, static_cast<double>(card.samples - 1)) << "a joule for each look of the fake but the first";
  EXPECT_EQ(card.celsius_peak, 61);
  EXPECT_EQ(card.memory_peak, 700u);
  EXPECT_EQ(card.memory, 1000u);
  EXPECT_EQ(card.slowed_by,
            (std::vector<std::pair<std::string, double>>{{"heat (hardware)", 1.0}, {"power cap", 1.0}}));
  EXPECT_EQ(cards[1], CardCondition{.samples = card.samples}) << "a card that the driver does not know";
  EXPECT_EQ(sampler.stop(), cards);
}

TEST(CardSampler, ShortRunsHaveTwoSamples) {
  TraceRecorder trace;
  const auto before = nvml::energy_mj.load();
  CardSampler sampler(watch_without("nvmlDeviceGetPowerUsage"), kCards, kNeverAgainSeconds, trace);
  while (nvml::energy_mj == before) std::this_thread::sleep_for(std::chrono::milliseconds(1));
  const auto cards = sampler.stop();
  EXPECT_EQ(cards[0].samples, 2u);
  EXPECT_EQ(cards[0].energy_j, 1);
  EXPECT_EQ(cards[0].power_w_mean, std::nullopt);
}

TEST(CardSampler, TheTraceHasWhatChanged) {
  TraceRecorder trace;
  CardSampler sampler(watch_without(), kCards, kOftenSeconds, trace);
  wait_for_looks(3);
  sampler.stop();
  const auto counts = trace.counts();
  ASSERT_EQ(counts.size(), 4u) << "of one card; nothing changed";
  for (const auto& count : counts) EXPECT_EQ(trace.tracks().at(count.track), "cuda:0/compute");
  const auto power = std::find_if(counts.begin(), counts.end(), [](const auto& one) { return one.name == "power, W"; });
  ASSERT_NE(power, counts.end());
  EXPECT_EQ(power->value, 612.5);
}

}  // namespace
}  // namespace hopyard
