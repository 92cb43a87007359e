#include <ATen/CPUGeneratorImpl.h>
#include <ATen/Functions.h>

#include "base/failure.h"
#include "device/compute_threads.h"
#include "device/copy_engine.h"
#include "device/device.h"

namespace hopyard {

namespace {

/// What both kinds have in common: they compute on the CPU with a fixed number of threads.
class ComputesOnCpu : public Device {
 public:
  ComputesOnCpu(const DeviceSpec& spec, std::string name, Bytes memory, Keeping keeping)
      : spec_(spec),
        name_(std::move(name)),
        account_(name_, memory, keeping),
        generator_(at::detail::createCPUGenerator(0)) {}
  const std::string& name() const override { return name_; }
  const DeviceSpec& spec() const override { return spec_; }
  at::Device place() const override { return at::kCPU; }
  MemoryAccount& account() override { return account_; }
  MemoryAccount* tensor_account() override { return &account_; }
  at::Tensor allocate(at::IntArrayRef sizes, at::ScalarType type) override {
    const AccountScope charged(&account_);
    return at::empty(sizes, type);
  }
  at::Tensor bring(const at::Tensor& value) override { return value; }
  at::Generator& generator() override { return generator_; }
  void enter_compute() override { compute_with_threads(spec_.threads); }
  void finish_compute() override {}

 private:
  const DeviceSpec spec_;
  const std::string name_;
  MemoryAccount account_;
  at::Generator generator_;
};

class CpuDevice final : public ComputesOnCpu {
 public:
  CpuDevice(const DeviceSpec& spec, std::uint32_t index, Bytes workspace)
      : ComputesOnCpu(spec, text::cat("cpu:", index), workspace, Keeping::within_limit) {}
  bool has_own_memory() const override { return false; }
  void load(std::vector<CopyRequest>, std::string, std::function<void()>) override { no_link(); }
  void store(std::vector<CopyRequest>, std::string, std::function<void()>) override { no_link(); }
  LinkCounters counters() const override { return {}; }

 private:
  void no_link() const { require(false, name(), ": computes in host memory and has no link"); }
};

class EmulatedDevice final : public ComputesOnCpu {
 public:
  EmulatedDevice(const DeviceSpec& spec, std::uint32_t index, TraceRecorder* trace)
      : ComputesOnCpu(spec, text::cat("emulated:", index), spec.memory, Keeping::as_a_device_has),
        load_(spec.link_bytes_per_s, spec.latency_s, trace, name() + "/load", "load"),
        store_(spec.link_bytes_per_s, spec.latency_s, trace, name() + "/store", "store") {}
  bool has_own_memory() const override { return true; }
  void load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) override {
    load_.submit(std::move(copies), std::move(label), std::move(done));
  }
  void store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) override {
    store_.submit(std::move(copies), std::move(label), std::move(done));
  }
  LinkCounters counters() const override { return {load_.moved(), store_.moved(), load_.busy_s(), store_.busy_s()}; }

 private:
  CopyEngine load_, store_;
};

}  // namespace

std::unique_ptr<Device> make_cpu_device(const DeviceSpec& spec, std::uint32_t index, Bytes workspace) {
  install_counting_allocator();
  return std::make_unique<CpuDevice>(spec, index, workspace);
}

std::unique_ptr<Device> make_emulated_device(const DeviceSpec& spec, std::uint32_t index, TraceRecorder* trace) {
  install_counting_allocator();
  require(spec.link_bytes_per_s > 0 && spec.memory > 0, "an emulated device needs memory and a link");
  return std::make_unique<EmulatedDevice>(spec, index, trace);
}

}  // namespace hopyard
