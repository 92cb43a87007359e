// The card that the group gpu measures, or one that is none, to try the benchmarks' code.
#pragma once

#include <memory>
#include <string>

#include "cuda/cuda_devices.h"
#include "cuda/link_speed.h"
#include "pipeline/compute_thread.h"

namespace hopyard {

class GpuCard {
 public:
  /// The first card of this machine; null and why not where there is none that can be used.
  static std::unique_ptr<GpuCard> find(std::string& why_not);
  /// Over fakes::FakeCuda, which computes on the CPU. Figures mean nothing.
  static std::unique_ptr<GpuCard> fake();
  virtual ~GpuCard() = default;

  virtual const std::string& name() const = 0;
  virtual bool is_real() const = 0;
  /// With a budget of so many bytes (0: what is free there but for a reserve) and the link as it was measured.
  virtual DeviceSpec spec(Bytes budget) const = 0;
  virtual std::unique_ptr<Device> make(const DeviceSpec& spec) const = 0;
  /// Raw copies from and to pinned memory, both ways at once.
  virtual LinkSpeed measure_link() const = 0;
  DeviceMaker maker(const DeviceSpec& spec) const {
    return [this, spec] { return make(spec); };
  }
};

/// Of dense bfloat16 products with float32 sums, by the vendor's data sheet; 0 for a card that is not known here.
double peak_flops_per_s(const std::string& card_name);

}  // namespace hopyard
