// The digest of a model: equal for bit-equal models, computed shard by shard in any order.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace hopyard {

/// 128 bits of XXH3.
struct Digest {
  std::uint64_t high = 0, low = 0;
  bool operator==(const Digest&) const = default;
  auto operator<=>(const Digest&) const = default;
};
std::string to_hex(const Digest& digest);

/// XXH3-128 of each 1 MiB chunk, then of the chunk hashes.
Digest digest_bytes(std::span<const std::byte> bytes);

/// digest_bytes() of what comes piece by piece.
class RunningDigest {
 public:
  RunningDigest();
  ~RunningDigest();
  void add(std::span<const std::byte> bytes);
  /// Of all that was added; nothing more may be.
  Digest finish();

 private:
  struct State;
  std::unique_ptr<State> state_;
};

/// XXH3-64, for what is checked when it is read again.
std::uint64_t checksum_bytes(std::span<const std::byte> bytes);

/// One parameter's part of a model digest.
struct ParameterDigest {
  std::string name, dtype;
  std::vector<std::int64_t> shape;
  Digest content;
};
/// Over (name, dtype, shape, content) sorted by name.
Digest digest_parameters(std::vector<ParameterDigest> parameters);

}  // namespace hopyard
