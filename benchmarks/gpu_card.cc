#include "gpu_card.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "cuda/cuda_device.h"
#include "fakes/fake_cuda.h"

namespace hopyard {

namespace {

class RealCard final : public GpuCard {
 public:
  explicit RealCard(std::string name) : name_(std::move(name)), whole_(resolve(0)) {}
  const std::string& name() const override { return name_; }
  bool is_real() const override { return true; }
  DeviceSpec spec(Bytes budget) const override {
    DeviceSpec spec = whole_;
    if (budget > 0) spec.memory = std::min(budget, whole_.memory);
    spec.overhead = cuda_overhead(spec.memory);
    return spec;
  }
  std::unique_ptr<Device> make(const DeviceSpec& spec) const override { return make_cuda_device(spec, 0, nullptr); }
  LinkSpeed measure_link() const override { return measure_cuda_link(0); }

 private:
  static DeviceSpec resolve(Bytes budget) {
    DeviceSpec spec;
    spec.type = DeviceSpec::Type::cuda;
    spec.memory = budget;
    spec.threads = host_threads_of_card(1);
    return resolve_cuda_device(spec, 0);
  }

  const std::string name_;
  const DeviceSpec whole_;
};

class FakeCard final : public GpuCard {
 public:
  const std::string& name() const override { return name_; }
  bool is_real() const override { return false; }
  DeviceSpec spec(Bytes budget) const override {
    DeviceSpec spec;
    spec.type = DeviceSpec::Type::cuda;
    spec.memory = budget > 0 ? budget : GiB;
    spec.link_bytes_per_s = fakes::FakeCuda::kBytesPerSecond;
    return spec;
  }
  std::unique_ptr<Device> make(const DeviceSpec& spec) const override {
    return make_cuda_device_over(
        std::make_unique<fakes::FakeCuda>(fakes::FakeCudaSpec{.memory = spec.memory, .eager_compute = true}), spec, 0,
        nullptr);
  }
  LinkSpeed measure_link() const override {
    fakes::FakeCuda calls({});
    return hopyard::measure_link(calls, MiB);
  }

 private:
  const std::string name_ = "a card that is none";
};

}  // namespace

std::unique_ptr<GpuCard> GpuCard::find(std::string& why_not) {
  const CudaCards found = cuda_cards();
  why_not = found.why_none;
  if (found.cards.empty()) return nullptr;
  try {
    return std::make_unique<RealCard>(found.cards.front().name);
  } catch (const Failure& failure) {
    why_not = failure.what();
    return nullptr;
  }
}

std::unique_ptr<GpuCard> GpuCard::fake() { return std::make_unique<FakeCard>(); }

double peak_flops_per_s(const std::string& card_name) {
  constexpr std::pair<const char*, double> kPeaks[] = {
      // the first that is in the name
      {"H100 NVL", 835e12}, {"H100 PCIe", 756e12}, {"H100", 989e12}, {"H200 NVL", 835e12}, {"H200", 989e12},
      {"GH200", 989e12},    {"B200", 2250e12},     {"A100", 312e12}, {"L40S", 362e12},     {"A10", 125e12}};
  for (const auto& [part, peak] : kPeaks)
    if (card_name.find(part) != std::string::npos) return peak;
  return 0;
}

}  // namespace hopyard
