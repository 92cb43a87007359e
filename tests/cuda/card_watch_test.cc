// What NVIDIA's management library says of a card, with one that is made up, and with what it lacks.
#include "cuda/card_watch.h"

#include <gtest/gtest.h>

#include "fakes/fake_nvml.h"

namespace hopyard {
namespace {

namespace nvml = fakes::nvml;
using nvml::kBus;
using nvml::watch;

TEST(CardWatchTest, TellsWhatTheLibrarySays) {
  std::string why_not;
  const auto cards = watch(nvml::functions(), why_not);
  ASSERT_NE(cards, nullptr) << why_not;
  EXPECT_EQ(cards->driver(), "580.65.06");
  const CardState state = cards->state(kBus);
  EXPECT_EQ(state.sm_mhz, 1755);
  EXPECT_EQ(state.sm_mhz_max, 1980);
  EXPECT_EQ(state.memory_mhz, 3201);
  EXPECT_DOUBLE_EQ(state.power_w.value(), 612.5);
  EXPECT_EQ(state.power_limit_w, std::nullopt) << "the card does not tell";
  EXPECT_DOUBLE_EQ(state.energy_j.value(), nvml::energy_mj * 1e-3);
  EXPECT_EQ(state.celsius, 61);
  EXPECT_EQ(state.memory_used, 700u);
  EXPECT_EQ(state.memory, 1000u);
  EXPECT_DOUBLE_EQ(state.busy.value(), 0.97);
  EXPECT_EQ(state.slowed_by, (std::vector<std::string>{"power cap", "heat (hardware)"}));
  EXPECT_EQ(describe_link(state), "PCIe 4 × 16 (of 5 × 16)");
}

TEST(CardWatchTest, NamesWhoHoldsTheCard) {
  std::string why_not;
  const auto holders = watch(nvml::functions(), why_not)->holders(kBus);
  ASSERT_EQ(holders.size(), 2u);
  EXPECT_EQ(holders[0].process, 41u);
  EXPECT_EQ(holders[0].name, "python");
  EXPECT_EQ(holders[0].memory, 5000u);
  EXPECT_EQ(holders[1].name, "");
  EXPECT_EQ(holders[1].memory, std::nullopt);
}

TEST(CardWatchTest, KnowsNothingOfACardThatIsNotThere) {
  std::string why_not;
  const auto cards = watch(nvml::functions(), why_not);
  EXPECT_EQ(cards->state("0000:99:00.0").sm_mhz, std::nullopt);
  EXPECT_TRUE(cards->holders("0000:99:00.0").empty());
}

TEST(CardWatchTest, AnyFunctionMayLackButTwo) {
  for (const auto& [name, address] : nvml::functions()) {
    auto fewer = nvml::functions();
    fewer.erase(name);
    std::string why_not;
    const auto cards = watch(fewer, why_not);
    if (name == "nvmlInit_v2" || name == "nvmlDeviceGetHandleByPciBusId_v2") {
      EXPECT_EQ(cards, nullptr);
      EXPECT_NE(why_not, "");
      continue;
    }
    ASSERT_NE(cards, nullptr) << name;
    cards->driver();
    cards->state(kBus);
    cards->holders(kBus);
  }
}

TEST(CardWatchTest, ClosesWhatItOpenedAndSaysWhyItCannot) {
  std::string why_not;
  watch(nvml::functions(), why_not);
  EXPECT_FALSE(nvml::open);
  auto refusing = nvml::functions();
  refusing["nvmlInit_v2"] = reinterpret_cast<void*>(nvml::refuse);
  EXPECT_EQ(watch(refusing, why_not), nullptr);
  EXPECT_NE(why_not.find("Driver Not Loaded"), why_not.npos);
}

TEST(CardWatchTest, OfThisMachineThereIsOneOrAReason) {
  std::string why_not;
  const auto cards = CardWatch::open(why_not);
  EXPECT_EQ(cards == nullptr, !why_not.empty());
}

TEST(CardLinkTest, IsToldAsFarAsItIsKnown) {
  CardState state;
  EXPECT_EQ(describe_link(state), "");
  state.pcie_generation = 5;
  state.pcie_width = 8;
  EXPECT_EQ(describe_link(state), "PCIe 5 × 8");
  state.pcie_width_max = 16;
  EXPECT_EQ(describe_link(state), "PCIe 5 × 8 (of 5 × 16)");
}

}  // namespace
}  // namespace hopyard
