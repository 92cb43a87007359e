// Direct reads that go on while the thread does something else.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <optional>
#include <span>

#include "base/bytes.h"

namespace hopyard {

/// Up to kInFlight reads of one open file, ended in the order in which they began. Belongs to one thread. Where the
/// kernel refuses asynchronous I/O, finish() reads.
class AsyncReads {
 public:
  static constexpr std::size_t kInFlight = 2;

  explicit AsyncReads(int file) : file_(file) {}
  ~AsyncReads();  ///< waits for what is under way: `into` stays the kernel's until then
  AsyncReads(const AsyncReads&) = delete;

  /// Requires that fewer than kInFlight are under way.
  void begin(Bytes offset, std::span<std::byte> into);
  /// Ends the oldest: its bytes, fewer at the file's end, or −errno.
  long finish();
  std::size_t under_way() const { return count_; }

 private:
  struct Read {
    Bytes offset = 0;
    std::span<std::byte> into;
    bool submitted = false;
    std::optional<long> result;
  };
  void await(Read& read);

  const int file_;
  std::array<Read, kInFlight> reads_;
  std::size_t oldest_ = 0, count_ = 0;
};

}  // namespace hopyard
