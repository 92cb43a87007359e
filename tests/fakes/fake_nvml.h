// NVIDIA's management library, made up.
#pragma once

#include <atomic>
#include <cstring>
#include <map>
#include <memory>
#include <string>

#include "cuda/card_watch.h"

namespace hopyard {

/// The library as its header has it, of one card at bus 0000:3b:00.0.
namespace fakes::nvml {

struct Card {};
inline Card card;
inline std::atomic<unsigned long long> energy_mj = 5'000'000;  ///< more by a thousand each time that somebody asks
inline bool open = false;

inline int init() {
  open = true;
  return 0;
}
inline int refuse() { return 9; }
inline int shutdown() {
  open = false;
  return 0;
}
inline const char* words(int) { return "Driver Not Loaded"; }
inline int driver(char* to, unsigned size) {
  std::strncpy(to, "580.65.06", size);
  return 0;
}
inline int find(const char* bus_id, Card** found) {
  *found = &card;
  return std::strcmp(bus_id, "0000:3b:00.0") == 0 ? 0 : 6;
}
inline int clock(Card*, int which, unsigned* mhz) {
  *mhz = which == 1 ? 1755 : which == 2 ? 3201 : 0;
  return 0;
}
inline int clock_max(Card*, int which, unsigned* mhz) {
  *mhz = which == 1 ? 1980 : 0;
  return 0;
}
inline int power(Card*, unsigned* milliwatts) {
  *milliwatts = 612'500;
  return 0;
}
inline int energy(Card*, unsigned long long* millijoules) {
  *millijoules = energy_mj += 1000;
  return 0;
}
inline int power_limit(Card*, unsigned*) { return 3; }  // not supported
inline int temperature(Card*, int sensor, unsigned* celsius) {
  *celsius = sensor == 0 ? 61 : 0;
  return 0;
}
inline int memory(Card*, unsigned long long* total_free_used) {
  total_free_used[0] = 1000;
  total_free_used[1] = 300;
  total_free_used[2] = 700;
  return 0;
}
inline int utilization(Card*, unsigned* chip_memory) {
  chip_memory[0] = 97;
  chip_memory[1] = 40;
  return 0;
}
inline int generation(Card*, unsigned* value) {
  *value = 4;
  return 0;
}
inline int width(Card*, unsigned* value) {
  *value = 16;
  return 0;
}
inline int generation_max(Card*, unsigned* value) {
  *value = 5;
  return 0;
}
inline int slowed(Card*, unsigned long long* bits) {
  *bits = 0x1 | 0x4 | 0x40;
  return 0;
}
struct Process {
  unsigned pid;
  unsigned long long memory;
  unsigned instance, compute_instance;
};
inline int processes(Card*, unsigned* count, Process* to) {
  if (*count < 2) return 7;
  to[0] = {41, 5000, 0, 0};
  to[1] = {42, ~0ull, 0, 0};
  *count = 2;
  return 0;
}
inline int process_name(unsigned pid, char* to, unsigned size) {
  if (pid == 42) return 6;
  std::strncpy(to, "python", size);
  return 0;
}

inline std::map<std::string, void*> functions() {
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
          {"nvmlDeviceGetTotalEnergyConsumption", address(energy)},
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

constexpr const char* kBus = "0000:3b:00.0";

inline std::unique_ptr<CardWatch> watch(const std::map<std::string, void*>& functions, std::string& why_not) {
  return CardWatch::open(
      [functions](const char* name) {
        const auto found = functions.find(name);
        return found == functions.end() ? nullptr : found->second;
      },
      why_not);
}

}  // namespace fakes::nvml
}  // namespace hopyard
