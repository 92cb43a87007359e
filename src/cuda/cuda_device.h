// A card as a Device, over the calls that drive it.
#pragma once

#include <atomic>
#include <memory>
#include <string>

#include "cuda/copy_door.h"
#include "cuda/staging_ring.h"
#include "device/device.h"

namespace hopyard {

/// Three streams: libtorch computes on one, the copy door loads and stores on the others. Nothing orders them but the
/// host, which waits for events: the door's threads before they call `done`, the compute thread in finish_compute().
///
/// Memory of allocate() comes from the load stream's pool, so that what a task lets go is never given to intermediates
/// of another that is still under way. What is let go is reused at once: whoever lets go has waited for all that used
/// it.
///
/// When a call fails (the card fell off the bus, a kernel broke its context), the first failure is kept and nothing
/// more is asked of the card. Nothing waits for ever: what was queued calls its `done` all the same, without having
/// moved; allocate() gives memory of the host; bring() and finish_compute() throw the failure, and failure() has it. It
/// is noted before the first `done` that is concerned is called, so whoever asks in its `done` knows whether the bytes
/// are there.
class CudaDevice final : public Device {
 public:
  /// `spec.memory`: the budget that the calls' allocator is held to. `trace` may be null and must outlive it.
  CudaDevice(std::unique_ptr<CudaCalls> calls, const DeviceSpec& spec, std::uint32_t index, TraceRecorder* trace);
  ~CudaDevice() override;
  const std::string& name() const override { return name_; }
  const DeviceSpec& spec() const override { return spec_; }
  bool has_own_memory() const override { return true; }
  at::Device place() const override { return calls_->place(); }
  /// As the caching allocator has it now.
  MemoryAccount& account() override;
  MemoryAccount* tensor_account() override { return nullptr; }
  void reset_peak() override { calls_->reset_peak(); }
  bool reads_from(const Device& other) const override;
  at::Tensor allocate(at::IntArrayRef sizes, at::ScalarType type) override;
  /// The source may change as soon as this returns. The result is of the compute stream's pool and in its order.
  at::Tensor bring(const at::Tensor& value) override;
  at::Generator& generator() override { return generator_; }
  void enter_compute() override;
  /// Throws the device's failure, if there was one on any of its streams.
  void finish_compute() override;
  bool can_record() const override { return records_; }
  /// One work at a time. A work that cannot be recorded, for another reason than memory, is the last that is tried.
  std::unique_ptr<RecordedWork> record(const std::function<void()>& work) override;
  void load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) override;
  void store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) override;
  LinkCounters counters() const override { return door_.counters(); }
  /// Null while all is well. Any thread.
  std::exception_ptr failure() const override { return failure_.get(); }

 private:
  class Record;
  at::Tensor allocate_in(StreamHandle pool, at::IntArrayRef sizes, at::ScalarType type);

  const std::unique_ptr<CudaCalls> calls_;
  const DeviceSpec spec_;
  const std::string name_;
  MemoryAccount account_;
  CardFailure failure_;
  at::Generator generator_;
  const OwnedEvent computed_;
  std::atomic<bool> records_{true};
  StagingRing staging_;
  CopyDoor door_;
};

/// "cuda:<index>".
std::unique_ptr<CudaDevice> make_cuda_device_over(std::unique_ptr<CudaCalls> calls, const DeviceSpec& spec,
                                                  std::uint32_t index, TraceRecorder* trace);

}  // namespace hopyard
