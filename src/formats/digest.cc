#include "formats/digest.h"

#include <xxhash.h>
#ifdef __x86_64__
#include <xxh_x86dispatch.h>  // the same bits by AVX2 or AVX-512, twice as fast as the SSE2 that Debian's library is built for
#endif

#include <algorithm>
#include <memory>
#include <new>
#include <tuple>

#include "base/bytes.h"
#include "base/hex.h"

namespace hopyard {

namespace {

/// XXH3-128 of what is added in pieces; numbers enter as 8 bytes, little end first.
class Hash {
 public:
  Hash() : state_(XXH3_createState(), XXH3_freeState) {
    if (!state_) throw std::bad_alloc();
    reset();
  }
  void reset() { XXH3_128bits_reset(state_.get()); }
  void add(const void* data, std::size_t bytes) { XXH3_128bits_update(state_.get(), data, bytes); }
  void add(std::uint64_t number) {
    std::array<unsigned char, 8> out;
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<unsigned char>(number >> (8 * i));
    add(out.data(), out.size());
  }
  void add(const std::string& text) {
    add(std::uint64_t{text.size()});
    add(text.data(), text.size());
  }
  void add(const Digest& digest) {
    add(digest.low);
    add(digest.high);
  }
  Digest finish() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.high64, hash.low64};
  }

 private:
  std::unique_ptr<XXH3_state_t, XXH_errorcode (*)(XXH3_state_t*)> state_;
};

}  // namespace

std::string to_hex(const Digest& digest) {
  std::string out;
  for (const std::uint64_t half : {digest.high, digest.low}) append_hex(out, half, 16);
  return out;
}

struct RunningDigest::State {
  Hash chunks, chunk;
  std::size_t in_chunk = 0;  // bytes of a chunk that is not whole yet

  void end_chunk() {
    chunks.add(chunk.finish());
    chunk.reset();
    in_chunk = 0;
  }
};

RunningDigest::RunningDigest() : state_(std::make_unique<State>()) {}
RunningDigest::~RunningDigest() = default;

void RunningDigest::add(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const std::size_t count = std::min<std::size_t>(MiB - state_->in_chunk, bytes.size());
    state_->chunk.add(bytes.data(), count);
    if ((state_->in_chunk += count) == MiB) state_->end_chunk();
    bytes = bytes.subspan(count);
  }
}

Digest RunningDigest::finish() {
  if (state_->in_chunk > 0) state_->end_chunk();
  return state_->chunks.finish();
}

Digest digest_bytes(std::span<const std::byte> bytes) {
  RunningDigest digest;
  digest.add(bytes);
  return digest.finish();
}

std::uint64_t checksum_bytes(std::span<const std::byte> bytes) { return XXH3_64bits(bytes.data(), bytes.size()); }

Digest digest_parameters(std::vector<ParameterDigest> parameters) {
  const auto order = [](const ParameterDigest& p) { return std::tie(p.name, p.dtype, p.shape, p.content); };
  std::sort(parameters.begin(), parameters.end(), [&](const auto& a, const auto& b) { return order(a) < order(b); });
  Hash all;
  for (const auto& parameter : parameters) {
    all.add(parameter.name);
    all.add(parameter.dtype);
    all.add(std::uint64_t{parameter.shape.size()});
    for (const std::int64_t size : parameter.shape) all.add(static_cast<std::uint64_t>(size));
    all.add(parameter.content);
  }
  return all.finish();
}

}  // namespace hopyard
