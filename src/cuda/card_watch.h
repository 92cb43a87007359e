// How a card is doing, by NVIDIA's management library, which comes with the driver and is loaded when somebody asks.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// Of this moment. What the driver does not tell is nothing.
struct CardState {
  std::optional<double> sm_mhz, sm_mhz_max, memory_mhz;
  std::optional<double> power_w, power_limit_w, celsius;
  std::optional<double> energy_j;  ///< that it took since the driver was loaded
  std::optional<Bytes> memory_used, memory;
  std::optional<double> busy;  ///< share of the last moments in which any kernel ran
  std::optional<int> pcie_generation, pcie_width, pcie_generation_max, pcie_width_max;
  std::vector<std::string> slowed_by;  ///< why its clocks are lower than they could be: "power cap"
};

/// A process that has a card open.
struct CardHolder {
  unsigned process = 0;
  std::string name;
  std::optional<Bytes> memory;
};

/// Any thread. Costs some 100 µs a call: not for hot paths.
class CardWatch {
 public:
  /// Where the library's functions are; null: it has no such function.
  using FindFunction = std::function<void*(const char* name)>;

  /// Null and why not where there is no driver, or it does not answer.
  static std::unique_ptr<CardWatch> open(std::string& why_not);
  static std::unique_ptr<CardWatch> open(FindFunction find, std::string& why_not);
  ~CardWatch();
  CardWatch(const CardWatch&) = delete;

  /// "580.65.06"
  std::string driver() const;
  /// `bus_id`: of a card, "0000:3b:00.0", as CudaCard has it. All nothing for one that the driver does not know.
  CardState state(const std::string& bus_id) const;
  std::vector<CardHolder> holders(const std::string& bus_id) const;

 private:
  struct Functions;
  explicit CardWatch(std::unique_ptr<const Functions> functions);
  const std::unique_ptr<const Functions> functions_;
};

/// "PCIe 5 × 16", with "(of 5 × 16)" when the link could be wider or faster than it is now; empty when nothing is
/// known.
std::string describe_link(const CardState& state);

}  // namespace hopyard
