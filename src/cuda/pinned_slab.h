// Host memory that is pinned once, as one piece, and given out in parts.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

#include "device/host_memory.h"

namespace hopyard {

/// CudaCalls::pin and unpin, or what does the same for all cards.
struct Pinning {
  std::function<bool(void* data, Bytes bytes)> pin;
  std::function<void(void* data)> unpin;
};

/// Of exactly its size, in huge pages where the kernel grants them. The first free part that is large enough is given
/// out; what comes back joins what is free beside it.
class PinnedSlab final : public HostMemory {
 public:
  /// `bytes` in whole pages of 4 KiB. When the system refuses, as much of it as it does not, halved each time; of a
  /// process that may have `limit` bytes at most seven eighths of it, since a process that goes over its limit is
  /// killed, not refused. A warning says how much it became; null when not even an eighth of it could be had. On that
  /// NUMA node as far as it has memory and the kernel lets us choose; without one where the kernel puts it.
  static std::unique_ptr<PinnedSlab> make(Bytes bytes, Pinning pinning, std::optional<Bytes> limit,
                                          std::optional<std::uint32_t> node = std::nullopt);
  /// Requires that all came back.
  ~PinnedSlab() override;
  std::byte* map(Bytes bytes) override;
  void unmap(std::byte* data, Bytes bytes) override;
  Bytes bytes() const { return bytes_; }
  Bytes free() const;

 private:
  PinnedSlab(std::byte* data, Bytes bytes, Pinning pinning);

  std::byte* const data_;
  const Bytes bytes_;
  const Pinning pinning_;
  mutable std::mutex mutex_;     // guards free_
  std::map<Bytes, Bytes> free_;  ///< where a free part begins, and how long it is; no two touch
};

}  // namespace hopyard
