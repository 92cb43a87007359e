#include "formats/digest.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstddef>

#include "base/bytes.h"

namespace hopyard {
namespace {

std::vector<std::byte> pattern(std::size_t bytes) {
  std::vector<std::byte> out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = static_cast<std::byte>(i * 31 + i / 256);
  return out;
}

TEST(Digest, PrintsHighHalfFirst) {
  EXPECT_EQ(to_hex({0x0123456789abcdefULL, 0x1}), "0123456789abcdef0000000000000001");
}

// Run directories hold these: a change of the definition must be seen.
TEST(Digest, IsWhatItWas) {
  EXPECT_EQ(to_hex(digest_bytes({})), "99aa06d3014798d86001c324468d497f");  // XXH3-128 of nothing
  EXPECT_EQ(to_hex(digest_bytes(pattern(3))), "b90e39f0407399c33e3abdf0097c2e05");
  EXPECT_EQ(to_hex(digest_bytes(pattern(3 * MiB + 5))), "c2e0f462d4c70478587dcaa37795ebd0");
}

TEST(Digest, IsTheSameHoweverTheBytesCome) {
  const auto bytes = pattern(3 * MiB + 5);
  for (const std::size_t piece : {std::size_t{1000}, std::size_t{MiB}, std::size_t{MiB} + 1, bytes.size()}) {
    RunningDigest running;
    for (std::size_t at = 0; at < bytes.size(); at += piece)
      running.add(std::span(bytes).subspan(at, std::min(piece, bytes.size() - at)));
    EXPECT_EQ(running.finish(), digest_bytes(bytes)) << piece;
  }
  EXPECT_EQ(RunningDigest().finish(), digest_bytes({}));
}

TEST(Digest, SeesEveryBitAndTheLength) {
  auto bytes = pattern(MiB + 100);
  const Digest before = digest_bytes(bytes);
  for (const std::size_t at : {std::size_t{0}, std::size_t{MiB} - 1, std::size_t{MiB}, bytes.size() - 1}) {
    bytes[at] ^= std::byte{1};
    EXPECT_NE(digest_bytes(bytes), before) << at;
    bytes[at] ^= std::byte{1};
  }
  EXPECT_EQ(digest_bytes(bytes), before);
  bytes.push_back(std::byte{0});
  EXPECT_NE(digest_bytes(bytes), before);
}

TEST(Digest, ParametersInAnyOrder) {
  const ParameterDigest a{"a", "F32", {2, 3}, {1, 2}}, b{"b", "F32", {6}, {3, 4}};
  EXPECT_EQ(digest_parameters({a, b}), digest_parameters({b, a}));
}

TEST(Digest, ParametersDependOnEveryField) {
  const ParameterDigest base{"ab", "F32", {2, 3}, {1, 2}};
  const Digest expected = digest_parameters({base});
  for (int field = 0; field < 5; ++field) {
    ParameterDigest other = base;
    if (field == 0) other.name = "ac";
    if (field == 1) other.dtype = "F64";
    if (field == 2) other.shape = {3, 2};
    if (field == 3) other.shape = {2, 3, 1};
    if (field == 4) other.content.low = 7;
    EXPECT_NE(digest_parameters({other}), expected) << field;
  }
  EXPECT_NE(digest_parameters({{"a", "bF32", {2, 3}, {1, 2}}}), expected);
  EXPECT_NE(digest_parameters({base, base}), expected);
}

}  // namespace
}  // namespace hopyard
