#include "formats/safetensors.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <filesystem>
#include <numeric>

#include "base/rng.h"
#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using testing::HasSubstr;
using testing::StartsWith;

std::string with_length(std::uint64_t length, const std::string& rest) {
  return std::string(reinterpret_cast<const char*>(&length), 8) + rest;
}
std::string file_of(const std::string& header, std::size_t data_bytes) {
  return with_length(header.size(), header + std::string(data_bytes, '\1'));
}
std::string one(const std::string& fields) { return "{\"w\":{" + fields + "}}"; }

TEST(Safetensors, ReadsShapesAndBytes) {
  const fakes::TemporaryFolder folder;
  const std::string header = R"({"__metadata__":{"format":"pt"},)"
                             R"("b":{"dtype":"U8","shape":[2,3],"data_offsets":[4,10]},)"
                             R"("a":{"dtype":"F32","shape":[],"data_offsets":[0,4]},)"
                             R"("empty":{"dtype":"I64","shape":[0,7],"data_offsets":[4,4]}}   )";
  const SafetensorsFile file(folder.write("x.safetensors", file_of(header, 10)));
  ASSERT_EQ(file.tensors().size(), 3u);
  EXPECT_EQ(file.tensors()[0].name, "a");
  const TensorInfo* b = file.find("b");
  ASSERT_NE(b, nullptr);
  EXPECT_EQ(b->dtype, Dtype::u8);
  EXPECT_EQ(b->shape, (std::vector<std::int64_t>{2, 3}));
  EXPECT_EQ(file.bytes(*b).size(), 6u);
  EXPECT_EQ(file.find("empty")->bytes, 0u);
  EXPECT_EQ(file.find("c"), nullptr);
}

struct Bad {
  std::string content, message;
};

TEST(Safetensors, RefusesHostileFiles) {
  const std::string f32_4 = R"("dtype":"F32","shape":[4],"data_offsets":[0,16])";
  const std::vector<Bad> table{
      {"", "has only 0 bytes, too few"},
      {"1234567", "has only 7 bytes, too few"},
      {with_length(1000, "{}"), "its header claims 1000 bytes, but only 2 follow"},
      {with_length(~0ULL, "{}"), "its header claims 18446744073709551615 bytes"},
      {with_length(0, ""), "its header does not begin with '{'"},
      {file_of(" {}", 0), "its header does not begin with '{'"},
      {file_of("{]", 0), "(header):1:2: is not JSON"},
      {file_of(one(f32_4), 15), "tensor 'w': ends at offset 16, but the file holds only 15 bytes of data (truncated?)"},
      {file_of(one(f32_4), 17), "1 bytes at the end belong to no tensor"},
      {file_of("{}", 3), "3 bytes at the end belong to no tensor"},
      {file_of(one(R"("dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4])"), 4),
       "tensor 'w': unknown dtype 'F8_E4M3'; known are BOOL, U8"},
      {file_of(one(R"("shape":[4],"data_offsets":[0,4])"), 4), "tensor 'w': 'dtype' is missing"},
      {file_of(one(R"("dtype":3,"shape":[4],"data_offsets":[0,4])"), 4), "tensor 'w': 'dtype' must be text"},
      {file_of(one(R"("dtype":"U8","shape":4,"data_offsets":[0,4])"), 4), "'shape' must be a list of whole numbers"},
      {file_of(one(R"("dtype":"U8","data_offsets":[0,4])"), 4), "'shape' must be a list of whole numbers"},
      {file_of(one(R"("dtype":"U8","shape":[-4],"data_offsets":[0,4])"), 4), "'shape' holds -4, which is no size"},
      {file_of(one(R"("dtype":"U8","shape":[4.0],"data_offsets":[0,4])"), 4), "'shape' holds 4.0, which is no size"},
      {file_of(one(R"("dtype":"U8","shape":[9223372036854775808],"data_offsets":[0,4])"), 4), "which is no size"},
      {file_of(one(R"("dtype":"U8","shape":[18446744073709551617],"data_offsets":[0,4])"), 4), "does not fit 64 bits"},
      {file_of(one(R"("dtype":"F32","shape":[4294967296,4294967297],"data_offsets":[0,4])"), 4),
       "the product of its shape overflows"},
      {file_of(one(R"("dtype":"F64","shape":[2305843009213693952],"data_offsets":[0,0])"), 0),
       "the product of its shape overflows"},
      {file_of(one(R"("dtype":"U8","shape":[0,4294967296,4294967296],"data_offsets":[0,0])"), 0),
       "the product of its shape overflows"},
      {file_of(one(R"("dtype":"F32","shape":[2],"data_offsets":[0,4])"), 4),
       "its shape needs 8 bytes, its offsets give 4"},
      {file_of(one(R"("dtype":"U8","shape":[4],"data_offsets":[4,0])"), 4), "ends at offset 0, before it begins at 4"},
      {file_of(one(R"("dtype":"U8","shape":[4],"data_offsets":[18446744073709551612,18446744073709551615])"), 4),
       "ends at offset"},
      {file_of(one(R"("dtype":"U8","shape":[4],"data_offsets":[-4,0])"), 4),
       "'data_offsets' must be two whole numbers"},
      {file_of(one(R"("dtype":"U8","shape":[4],"data_offsets":[0])"), 4), "'data_offsets' must be two whole numbers"},
      {file_of(one(R"("dtype":"U8","shape":[4],"data_offsets":[0,4,8])"), 4),
       "'data_offsets' must be two whole numbers"},
      {file_of(R"({"w":[]})", 0), "tensor 'w': must be an object that has 'dtype'"},
      {file_of(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[2,6]}})",
           6),
       "tensors 'a' and 'b' overlap"},
      {file_of(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[0,4]}})",
           4),
       "tensors 'a' and 'b' overlap"},
      {file_of(
           R"({"a":{"dtype":"U8","shape":[4],"data_offsets":[0,4]},"b":{"dtype":"U8","shape":[4],"data_offsets":[6,10]}})",
           10),
       "2 bytes before tensor 'b' belong to no tensor"},
      {file_of("{\"a\":{" + f32_4 + "},\"a\":{" + f32_4 + "}}", 16), "key 'a' stands twice"},
      {file_of(std::string(100'000, '[').insert(0, "{\"a\":"), 0), "nested deeper than the 8 levels"},
      {file_of(one(R"("dtype":"U8","shape":[[[[[[[[1]]]]]]]],"data_offsets":[0,1])"), 1),
       "nested deeper than the 8 levels"},
  };
  const fakes::TemporaryFolder folder;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const std::string path = folder.write("bad.safetensors", table[i].content);
    const std::string message = failure_of(ExitCode::input, [&] { SafetensorsFile{path}; });
    EXPECT_THAT(message, StartsWith(path)) << "row " << i;
    EXPECT_THAT(message, HasSubstr(table[i].message)) << "row " << i;
  }
}

TEST(Safetensors, NamesOfForeignTensorsArePrintable) {
  const fakes::TemporaryFolder folder;
  const std::string path =
      folder.write("x.safetensors", file_of("{\"\\u001b[2J" + std::string(500, 'n') + "\":{\"dtype\":\"?\"}}", 0));
  const std::string message = failure_of(ExitCode::input, [&] { SafetensorsFile{path}; });
  EXPECT_EQ(message.find('\x1b'), std::string::npos);
  EXPECT_LT(message.size(), path.size() + 250);
}

std::vector<TensorToWrite> small_tensors() {
  return {{"z.weight", Dtype::f32, {3, 5}},
          {"a", Dtype::i64, {2}},
          {"none", Dtype::f16, {0}},
          {"flag", Dtype::boolean, {}}};
}
void write_small(const std::string& path) {
  write_safetensors(path, small_tensors(), [](std::size_t index, std::span<std::byte> out) {
    for (std::size_t i = 0; i < out.size(); ++i) out[i] = static_cast<std::byte>(index * 100 + i);
    if (index == 3) out[0] = std::byte{1};
  });
}

TEST(Safetensors, WritesWhatItReads) {
  const fakes::TemporaryFolder folder;
  const std::string path = folder / "x.safetensors";
  write_small(path);
  const SafetensorsFile file(path);
  ASSERT_EQ(file.tensors().size(), 4u);
  EXPECT_EQ(file.find("z.weight")->offset % kTensorAlignment, 0u);
  for (std::size_t index = 0; index < 4; ++index) {
    const auto wanted = small_tensors()[index];
    const TensorInfo* tensor = file.find(wanted.name);
    ASSERT_NE(tensor, nullptr);
    EXPECT_EQ(tensor->dtype, wanted.dtype);
    EXPECT_EQ(tensor->shape, wanted.shape);
  }
  EXPECT_EQ(file.bytes(*file.find("a"))[15], std::byte{115});
}

TEST(Safetensors, AFailedWriteLeavesNothing) {
  const fakes::TemporaryFolder folder;
  const auto throwing = [](std::size_t, std::span<std::byte>) { throw std::runtime_error("no bytes"); };
  EXPECT_THROW(write_safetensors(folder / "x.safetensors", small_tensors(), throwing), std::runtime_error);
  EXPECT_TRUE(std::filesystem::is_empty(folder.path()));
}

TEST(Safetensors, PythonReadsWhatWeWrite) {
  const std::string python = std::string(HOPYARD_SOURCE) + "/.venv/bin/python";
  if (!std::filesystem::exists(python)) GTEST_SKIP() << "no " << python << ": run `make setup`";
  const fakes::TemporaryFolder folder;
  write_small(folder / "x.safetensors");
  const std::string script = folder.write("check.py", R"(
import sys
from safetensors.numpy import load_file
tensors = load_file(sys.argv[1])
assert set(tensors) == {"z.weight", "a", "none", "flag"}, tensors
assert tensors["z.weight"].shape == (3, 5) and tensors["z.weight"].dtype == "float32"
assert tensors["z.weight"].tobytes() == bytes(range(60))
assert tensors["a"].tobytes() == bytes(range(100, 116))
assert tensors["none"].shape == (0,) and bool(tensors["flag"])
)");
  EXPECT_EQ(std::system((python + " " + script + " " + (folder / "x.safetensors")).c_str()), 0);
}

/// Valid or not, a file must be read or refused; what is read must lie inside the file.
void read_or_refuse(const std::string& path, int& refused) {
  try {
    const SafetensorsFile file(path);
    for (const auto& tensor : file.tensors()) {
      const auto bytes = file.bytes(tensor);
      std::accumulate(bytes.begin(), bytes.end(), 0, [](int sum, std::byte b) { return sum + static_cast<int>(b); });
    }
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::input);
    ++refused;
  }
}

TEST(Safetensors, FlippedHeaderBytesReadOrFail) {
  const fakes::TemporaryFolder folder;
  write_small(folder / "good.safetensors");
  const std::string good = read_file(folder / "good.safetensors", MiB);
  KeyedStream random(7);
  int refused = 0;
  constexpr int kRounds = 4000;
  for (int round = 0; round < kRounds; ++round) {
    std::string content = good;
    for (std::uint64_t flips = random.below(4) + 1; flips > 0; --flips) {
      const std::size_t at = random.below(round % 4 == 0 ? 8 : content.size());
      const std::string alphabet = "0123456789,:\"[]{}-.eE";
      content[at] = round % 2 ? static_cast<char>(random.below(256)) : alphabet[random.below(alphabet.size())];
    }
    if (round % 5 == 0) content.resize(random.below(content.size() + 1));
    read_or_refuse(folder.write("fuzzed.safetensors", content), refused);
  }
  EXPECT_GT(refused, kRounds / 2);
  EXPECT_LT(refused, kRounds);
}

}  // namespace
}  // namespace hopyard
