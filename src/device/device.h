// Where tasks run: memory of its own or the host's, a link with a load and a store engine, and a keyed generator.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <exception>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/trace.h"
#include "device/device_spec.h"
#include "device/memory_account.h"

namespace hopyard {

/// Bytes to be moved between host and device memory, or, for a load, from another device's.
struct CopyRequest {
  void* to = nullptr;
  const void* from = nullptr;
  Bytes bytes = 0;
  bool from_device = false;  ///< whose memory reads_from() must allow
};

/// What went over a device's link since it was made; bytes from other devices are not counted, their time is.
struct LinkCounters {
  Bytes loaded = 0, stored = 0;
  double load_busy_s = 0, store_busy_s = 0;
};

/// Work that was asked for once and is kept, to be asked for again in one call.
class RecordedWork {
 public:
  virtual ~RecordedWork() = default;  ///< any thread; what was asked for is still computed
  /// Asks for all of it again: over the same memory, with the same numbers wherever the host gave them. Compute thread
  /// only.
  virtual void ask() = 0;
};

/// A device. Computing happens on the thread that calls enter_compute(), in program order. load() and store() may be
/// called from any thread; each direction is a queue of its own, first in, first out, and both move at the same time.
/// Nothing orders the three but the caller: bytes are loaded once `done` was called, and computed once
/// finish_compute() has returned; only then may anybody read or write them elsewhere.
class Device {
 public:
  virtual ~Device() = default;                  ///< finishes what is queued
  virtual const std::string& name() const = 0;  ///< "emulated:0"
  virtual const DeviceSpec& spec() const = 0;
  /// False: it computes in host memory, and load() and store() are never called.
  virtual bool has_own_memory() const = 0;
  /// Where its tensors are, for libtorch.
  virtual at::Device place() const = 0;
  /// Every byte on the device is charged here, as of this call; the limit is the device's memory.
  virtual MemoryAccount& account() = 0;
  /// What an AccountScope charges around the making of its tensors; null: the device's own allocator counts.
  virtual MemoryAccount* tensor_account() = 0;
  /// Starts a new peak of account() from what is in use now; for profiling.
  virtual void reset_peak() { account().reset_peak(); }
  /// load() can take bytes straight from the other device's memory. They must have been computed, and stay there until
  /// `done`. Any thread.
  virtual bool reads_from([[maybe_unused]] const Device& other) const { return false; }
  /// Memory for bytes that load() and store() move, contents undefined. Any thread; throws DeviceOutOfMemory. It may be
  /// let go only when nothing on the device uses it any more.
  virtual at::Tensor allocate(at::IntArrayRef sizes, at::ScalarType type) = 0;
  /// A value of the host where computing can use it: the same tensor, or a copy on the device. Compute thread only.
  virtual at::Tensor bring(const at::Tensor& value) = 0;
  /// For this device's compute thread only.
  virtual at::Generator& generator() = 0;
  /// Prepares the calling thread to compute: number of threads, the compute stream. Called once by each compute thread.
  virtual void enter_compute() = 0;
  /// Waits until all that the compute thread asked for has been computed. Compute thread only.
  virtual void finish_compute() = 0;
  virtual bool can_record() const { return false; }
  /// Calls `work`, which asks for computing as ever. Nothing of it is computed: it is kept. Tensors that it makes and
  /// leaves to others have their contents after each ask(); memory that it takes and lets go stays set aside for as
  /// long as the record lives. It must neither wait for the device nor read what is computed. Null where that was not
  /// to be had; a warning has said why. Compute thread only; throws the device's failure.
  virtual std::unique_ptr<RecordedWork> record([[maybe_unused]] const std::function<void()>& work) { return nullptr; }
  /// Moves all the bytes of `copies`, then calls `done` from the engine's thread. The memory must stay until then.
  /// `label` names the slice in the trace.
  virtual void load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) = 0;
  virtual void store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) = 0;
  virtual LinkCounters counters() const = 0;
  /// What ended the device, so that bytes are no longer where load() and store() say; null while all is well. Whoever
  /// asks in a `done` knows whether it speaks the truth. Any thread.
  virtual std::exception_ptr failure() const { return nullptr; }
};

/// Computes in host memory, without copies. `workspace`: the part of the host tier granted to its computing.
std::unique_ptr<Device> make_cpu_device(const DeviceSpec& spec, std::uint32_t index, Bytes workspace);
/// Computes on the CPU, but owns a fixed memory and a metered link: emulated. `trace` may be null and must outlive it.
std::unique_ptr<Device> make_emulated_device(const DeviceSpec& spec, std::uint32_t index, TraceRecorder* trace);

}  // namespace hopyard
