// Counting every tensor's bytes: an allocator under libtorch that charges the account of the thread that allocates.
#pragma once

#include <algorithm>
#include <atomic>
#include <stdexcept>
#include <string>

#include "base/bytes.h"
#include "device/kept_blocks.h"

namespace hopyard {

/// Thrown out of an allocation, also in the middle of a forward pass, when the account's limit would be exceeded. The
/// counts stay right; the executor re-cuts the shard and retries the task.
class DeviceOutOfMemory : public std::runtime_error {
 public:
  DeviceOutOfMemory(const std::string& account, Bytes needed, Bytes available);
  Bytes needed, available;
};

/// How much memory of large tensors that were let go an account keeps for others.
enum class Keeping {
  within_limit,     ///< with all that is in use no more than the limit: others want that memory, too
  as_a_device_has,  ///< with the large tensors in use no more than the limit: a device's memory is nobody else's.
                    ///< Beside what lies on the heap, so that up to twice the limit is of the machine's memory
};

/// Bytes in use against a limit. Thread-safe; counting is lock-free. Must outlive the tensors that were charged to it.
class MemoryAccount {
 public:
  MemoryAccount(std::string name, Bytes limit, Keeping keeping = Keeping::within_limit)
      : name_(std::move(name)), limit_(limit), keeping_(keeping) {}
  /// False, and nothing charged, when the limit would be exceeded by even one byte.
  bool charge(Bytes bytes);
  void credit(Bytes bytes) { used_.fetch_sub(bytes, std::memory_order_relaxed); }
  Bytes limit() const { return limit_; }
  Bytes used() const { return used_.load(std::memory_order_relaxed); }
  Bytes peak() const { return peak_.load(std::memory_order_relaxed); }
  /// Takes over what an allocator that counts for itself says.
  void observe(Bytes used, Bytes peak) {
    used_.store(used, std::memory_order_relaxed);
    peak_.store(peak, std::memory_order_relaxed);
  }
  /// Starts a new peak from what is in use now; for profiling.
  void reset_peak() { peak_.store(used(), std::memory_order_relaxed); }
  const std::string& name() const { return name_; }
  /// Of large tensors that were charged here.
  KeptBlocks& kept() { return kept_; }
  void trim_kept() {
    const Bytes beside = keeping_ == Keeping::within_limit ? used() : large_.load(std::memory_order_relaxed);
    const Bytes most = limit_ - std::min(limit_, beside);
    if (kept_.bytes() > most) kept_.trim(most);
  }
  void large_begins(Bytes bytes) { large_.fetch_add(bytes, std::memory_order_relaxed); }
  void large_ends(Bytes bytes) { large_.fetch_sub(bytes, std::memory_order_relaxed); }

 private:
  const std::string name_;
  const Bytes limit_;
  const Keeping keeping_;
  std::atomic<Bytes> used_{0}, peak_{0};
  std::atomic<Bytes> large_{0};  // of large tensors in use
  KeptBlocks kept_;
};

/// Puts the counting allocator under libtorch's CPU tensors; tensors start at multiples of kTensorAlignment. Call once,
/// before the first tensor; calling it again does nothing.
void install_counting_allocator();

/// While it lives, tensors that this thread allocates are charged to the account. Scopes nest; null: to nobody.
class AccountScope {
 public:
  explicit AccountScope(MemoryAccount* account);
  ~AccountScope();
  AccountScope(const AccountScope&) = delete;

 private:
  MemoryAccount* previous_;
};

/// What an allocation of `bytes` is charged as.
constexpr Bytes charged_bytes(Bytes bytes) { return align_up(bytes); }

}  // namespace hopyard
