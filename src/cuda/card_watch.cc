#include "cuda/card_watch.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <type_traits>

#include "base/text.h"

namespace hopyard {

namespace {

// As nvml.h, which toolkits do not all have, declares them.
using Result = int;
using Handle = struct NvmlDevice*;
constexpr Result kSuccess = 0, kInsufficientSize = 7;
enum Clock : int { kClockSm = 1, kClockMemory = 2 };
constexpr int kSensorOfChip = 0;
struct Memory {
  unsigned long long total, free, used;
};
struct Utilization {
  unsigned chip, memory;
};
struct Process {
  unsigned pid;
  unsigned long long memory;
  unsigned instance, compute_instance;
};
constexpr unsigned long long kMemoryUnknown = ~0ull;

struct Reason {
  unsigned long long bit;
  const char* words;
};
/// nvmlClocksThrottleReason…, without those of a card that is idle or set so by somebody.
constexpr Reason kReasons[] = {{0x04, "power cap"},
                               {0x08, "hardware slowdown"},
                               {0x10, "sync boost"},
                               {0x20, "heat"},
                               {0x40, "heat (hardware)"},
                               {0x80, "power brake"},
                               {0x02, "clocks set by an application"}};

}  // namespace

struct CardWatch::Functions {
  Result (*init)();
  Result (*shutdown)();
  const char* (*words)(Result);
  Result (*driver)(char*, unsigned);
  Result (*find)(const char*, Handle*);
  Result (*clock)(Handle, int, unsigned*);
  Result (*clock_max)(Handle, int, unsigned*);
  Result (*power)(Handle, unsigned*);
  Result (*power_limit)(Handle, unsigned*);
  Result (*energy)(Handle, unsigned long long*);
  Result (*temperature)(Handle, int, unsigned*);
  Result (*memory)(Handle, Memory*);
  Result (*utilization)(Handle, Utilization*);
  Result (*generation)(Handle, unsigned*);
  Result (*width)(Handle, unsigned*);
  Result (*generation_max)(Handle, unsigned*);
  Result (*width_max)(Handle, unsigned*);
  Result (*slowed)(Handle, unsigned long long*);
  Result (*processes)(Handle, unsigned*, Process*);
  Result (*process_name)(unsigned, char*, unsigned);

  explicit Functions(const FindFunction& symbol) {
    const auto take = [&](auto& function, const char* name) {
      function = reinterpret_cast<std::remove_reference_t<decltype(function)>>(symbol(name));
    };
    take(init, "nvmlInit_v2");
    take(shutdown, "nvmlShutdown");
    take(words, "nvmlErrorString");
    take(driver, "nvmlSystemGetDriverVersion");
    take(find, "nvmlDeviceGetHandleByPciBusId_v2");
    take(clock, "nvmlDeviceGetClockInfo");
    take(clock_max, "nvmlDeviceGetMaxClockInfo");
    take(power, "nvmlDeviceGetPowerUsage");
    take(power_limit, "nvmlDeviceGetEnforcedPowerLimit");
    take(energy, "nvmlDeviceGetTotalEnergyConsumption");
    take(temperature, "nvmlDeviceGetTemperature");
    take(memory, "nvmlDeviceGetMemoryInfo");
    take(utilization, "nvmlDeviceGetUtilizationRates");
    take(generation, "nvmlDeviceGetCurrPcieLinkGeneration");
    take(width, "nvmlDeviceGetCurrPcieLinkWidth");
    take(generation_max, "nvmlDeviceGetMaxPcieLinkGeneration");
    take(width_max, "nvmlDeviceGetMaxPcieLinkWidth");
    take(slowed, "nvmlDeviceGetCurrentClocksThrottleReasons");
    take(processes, "nvmlDeviceGetComputeRunningProcesses_v3");
    take(process_name, "nvmlSystemGetProcessName");
  }

  /// Nothing where the library lacks the function or the function says no.
  template <class Value, class Function, class... Arguments>
  std::optional<Value> ask(Function function, Arguments... arguments) const {
    Value value{};
    if (function == nullptr || function(arguments..., &value) != kSuccess) return std::nullopt;
    return value;
  }
  std::optional<Handle> card(const std::string& bus_id) const { return ask<Handle>(find, bus_id.c_str()); }
};

CardWatch::CardWatch(std::unique_ptr<const Functions> functions) : functions_(std::move(functions)) {}

CardWatch::~CardWatch() {
  if (functions_->shutdown != nullptr) functions_->shutdown();
}

std::unique_ptr<CardWatch> CardWatch::open(std::string& why_not) {
  static void* const library = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (library == nullptr) {
    why_not = "no NVIDIA driver here: libnvidia-ml.so.1 lacks";
    return nullptr;
  }
  return open([](const char* name) { return dlsym(library, name); }, why_not);
}

std::unique_ptr<CardWatch> CardWatch::open(FindFunction find, std::string& why_not) {
  auto functions = std::make_unique<Functions>(find);
  if (functions->init == nullptr || functions->find == nullptr) {
    why_not = "libnvidia-ml.so.1 lacks functions that it should have";
    return nullptr;
  }
  if (const Result result = functions->init(); result != kSuccess) {
    const char* const said = functions->words == nullptr ? nullptr : functions->words(result);
    why_not = text::cat("the NVIDIA driver does not answer: ", said == nullptr ? "no reason" : said);
    return nullptr;
  }
  return std::unique_ptr<CardWatch>(new CardWatch(std::move(functions)));
}

std::string CardWatch::driver() const {
  std::array<char, 96> version{};
  if (functions_->driver == nullptr || functions_->driver(version.data(), version.size() - 1) != kSuccess) return "";
  return version.data();
}

CardState CardWatch::state(const std::string& bus_id) const {
  CardState state;
  const Functions& nvml = *functions_;
  const auto card = nvml.card(bus_id);
  if (!card) return state;
  const auto number = [&](auto function, double unit, auto... more) -> std::optional<double> {
    const auto value = nvml.ask<unsigned>(function, *card, more...);
    if (!value) return std::nullopt;
    return *value * unit;
  };
  const auto whole = [&](auto function) -> std::optional<int> {
    const auto value = nvml.ask<unsigned>(function, *card);
    if (!value) return std::nullopt;
    return static_cast<int>(*value);
  };
  state.sm_mhz = number(nvml.clock, 1, kClockSm);
  state.sm_mhz_max = number(nvml.clock_max, 1, kClockSm);
  state.memory_mhz = number(nvml.clock, 1, kClockMemory);
  state.power_w = number(nvml.power, 1e-3);
  state.power_limit_w = number(nvml.power_limit, 1e-3);
  if (const auto millijoules = nvml.ask<unsigned long long>(nvml.energy, *card)) state.energy_j = *millijoules * 1e-3;
  state.celsius = number(nvml.temperature, 1, kSensorOfChip);
  if (const auto memory = nvml.ask<Memory>(nvml.memory, *card)) {
    state.memory_used = memory->used;
    state.memory = memory->total;
  }
  if (const auto busy = nvml.ask<Utilization>(nvml.utilization, *card)) state.busy = busy->chip / 100.0;
  state.pcie_generation = whole(nvml.generation);
  state.pcie_width = whole(nvml.width);
  state.pcie_generation_max = whole(nvml.generation_max);
  state.pcie_width_max = whole(nvml.width_max);
  if (const auto bits = nvml.ask<unsigned long long>(nvml.slowed, *card))
    for (const auto& reason : kReasons)
      if ((*bits & reason.bit) != 0) state.slowed_by.push_back(reason.words);
  return state;
}

std::vector<CardHolder> CardWatch::holders(const std::string& bus_id) const {
  const Functions& nvml = *functions_;
  const auto card = nvml.card(bus_id);
  std::vector<CardHolder> holders;
  if (!card || nvml.processes == nullptr) return holders;
  constexpr unsigned kHoldersMax = 64;
  std::array<Process, kHoldersMax> processes{};
  unsigned count = kHoldersMax;
  const Result result = nvml.processes(*card, &count, processes.data());
  if (result != kSuccess && result != kInsufficientSize) return holders;
  for (unsigned i = 0; i < std::min(count, kHoldersMax); ++i) {
    CardHolder holder{processes[i].pid, "", std::nullopt};
    if (processes[i].memory != kMemoryUnknown) holder.memory = processes[i].memory;
    std::array<char, 256> name{};
    if (nvml.process_name != nullptr && nvml.process_name(holder.process, name.data(), name.size() - 1) == kSuccess)
      holder.name = name.data();
    holders.push_back(std::move(holder));
  }
  return holders;
}

std::string describe_link(const CardState& state) {
  if (!state.pcie_generation || !state.pcie_width) return "";
  std::string link = text::cat("PCIe ", *state.pcie_generation, " × ", *state.pcie_width);
  const bool slower = state.pcie_generation_max && *state.pcie_generation < *state.pcie_generation_max;
  const bool narrower = state.pcie_width_max && *state.pcie_width < *state.pcie_width_max;
  if (slower || narrower)
    link += text::cat(" (of ", state.pcie_generation_max.value_or(*state.pcie_generation), " × ",
                      state.pcie_width_max.value_or(*state.pcie_width), ")");
  return link;
}

}  // namespace hopyard
