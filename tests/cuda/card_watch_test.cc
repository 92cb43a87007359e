// What NVIDIA's management library says of a card, with one that is made up, and with what it lacks.
#include "cuda/card_watch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <map>

namespace hopyard {
namespace {

/// The library as its header has it, of one card at bus 0000:3b:00.0.
namespace nvml {

struct Card {
} card;
bool open = false;

int init() {
  open = true;
  return 0;
}
int refuse() { return 9; }
int shutdown() {
  open = false;
  return 0;
}
const char* words(int) { return "Driver Not Loaded"; }
int driver(char* to, unsigned size) {
  std::strncpy(to, "580.65.06", size);
  return 0;
}
int find(const char* bus_id, Card** found) {
  *found = &card;
  return std::strcmp(bus_id, "0000:3b:00.0") == 0 ? 0 : 6;
}
int clock(Card*, int which, unsigned* mhz) {
  *mhz = which == 1 ? 1755 : which == 2 ? 3201 : 0;
  return 0;
}
int clock_max(Card*, int which, unsigned* mhz) {
  *mhz = which == 1 ? 1980 : 0;
  return 0;
}
int power(Card*, unsigned* milliwatts) {
  *milliwatts = 612'500;
  return 0;
}
int power_limit(Card*, unsigned*) { return 3; }  // not supported
int temperature(Card*, int sensor, unsigned* celsius) {
  *celsius = sensor == 0 ? 61 : 0;
  return 0;
}
int memory(Card*, unsigned long long* total_free_used) {
  total_free_used[0] = 1000;
  total_free_used[1] = 300;
  total_free_used[2] = 700;
  return 0;
}
int utilization(Card*, unsigned* chip_memory) {
  chip_memory[0] = 97;
  chip_memory[1] = 40;
  return 0;
}
int generation(Card*, unsigned* value) {
  *value = 4;
  return 0;
}
int width(Card*, unsigned* value) {
  *value = 16;
  return 0;
}
int generation_max(Card*, unsigned* value) {
  *value = 5;
  return 0;
}
int slowed(Card*, unsigned long long* bits) {
  *bits = 0x1 | 0x4 | 0x40;
  return 0;
}
struct Process {
  unsigned pid;
  unsigned long long memory;
  unsigned instance, compute_instance;
};
int processes(Card*, unsigned* count, Process* to) {
  if (*count < 2) return 7;
  to[0] = {41, 5000, 0, 0};
  to[1] = {42, ~0ull, 0, 0};
  *count = 2;
  return 0;
}
int process_name(unsigned pid, char* to, unsigned size) {
  if (pid == 42) return 6;
  std::strncpy(to, "python", size);
  return 0;
}

std::map<std::string, void*> functions() {
  const auto address = [](auto* function) { return reinterpret_cast<void*>(function); };
  return {{"nvmlInit_v2", address(init)},
          {"nvmlShutdown", address(shutdown)},
          {"nvmlErrorString", address(words)},
          {"nvmlSystemGetDriverVersion", address(driver)},
          {"nvmlDeviceGetHandleByPciBusId_v2", address(find)},
          {"nvmlDeviceGetClockInfo", address(clock)},
          {"nvmlDeviceGetMaxClockInfo", address(clock_max)},
          {"nvmlDeviceGetPowerUsage", address(power)},
          {"nvmlDeviceGetEnforcedPowerLimit", address(power_limit)},
          {"nvmlDeviceGetTemperature", address(temperature)},
          {"nvmlDeviceGetMemoryInfo", address(memory)},
          {"nvmlDeviceGetUtilizationRates", address(utilization)},
          {"nvmlDeviceGetCurrPcieLinkGeneration", address(generation)},
          {"nvmlDeviceGetCurrPcieLinkWidth", address(width)},
          {"nvmlDeviceGetMaxPcieLinkGeneration", address(generation_max)},
          {"nvmlDeviceGetMaxPcieLinkWidth", address(width)},
          {"nvmlDeviceGetCurrentClocksThrottleReasons", address(slowed)},
          {"nvmlDeviceGetComputeRunningProcesses_v3", address(processes)},
          {"nvmlSystemGetProcessName", address(process_name)}};
}

}  // namespace nvml

constexpr const char* kBus = "0000:3b:00.0";

std::unique_ptr<CardWatch> watch(const std::map<std::string, void*>& functions, std::string& why_not) {
  return CardWatch::open(
      [functions](const char* name) {
        const auto found = functions.find(name);
        return found == functions.end() ? nullptr : found->second;
      },
      why_not);
}

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
