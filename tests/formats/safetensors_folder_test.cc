#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"
#include "formats/safetensors.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using testing::ElementsAre;
using testing::HasSubstr;

void write_bytes(const std::string& path, const std::vector<std::string>& names, int value) {
  std::vector<TensorToWrite> tensors;
  for (const auto& name : names) tensors.push_back({name, Dtype::u8, {2}});
  write_safetensors(path, tensors, [&](std::size_t, std::span<std::byte> out) {
    std::fill(out.begin(), out.end(), static_cast<std::byte>(value));
  });
}

TEST(SafetensorsFolder, ReadsOneFile) {
  const fakes::TemporaryFolder folder;
  write_bytes(folder / "model.safetensors", {"b", "a"}, 1);
  const SafetensorsFolder checkpoint(folder.path());
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b"));
  EXPECT_EQ(checkpoint.bytes("a")[1], std::byte{1});
  EXPECT_EQ(checkpoint.find("c"), nullptr);
  EXPECT_THAT(failure_of(ExitCode::input, [&] { checkpoint.bytes("c"); }),
              HasSubstr("tensor 'c' is missing from the checkpoint"));
}

TEST(SafetensorsFolder, ReadsAShardedCheckpoint) {
  const fakes::TemporaryFolder folder;
  write_bytes(folder / "model-1.safetensors", {"a", "b"}, 1);
  write_bytes(folder / "model-2.safetensors", {"b", "c"}, 2);
  folder.write(
      "model.safetensors.index.json",
      R"({"metadata": {}, "weight_map": {"c": "model-2.safetensors", "a": "model-1.safetensors", "b": "model-2.safetensors"}})");
  const SafetensorsFolder checkpoint(folder.path());
  EXPECT_THAT(checkpoint.names(), ElementsAre("a", "b", "c"));
  EXPECT_EQ(checkpoint.bytes("a")[0], std::byte{1});
  EXPECT_EQ(checkpoint.bytes("b")[0], std::byte{2});
  EXPECT_EQ(checkpoint.find("c")->shape, (std::vector<std::int64_t>{2}));
}

struct Bad {
  std::string index, message;
};

TEST(SafetensorsFolder, RefusesHostileIndexes) {
  const fakes::TemporaryFolder folder;
  write_bytes(folder / "model-1.safetensors", {"a"}, 1);
  std::filesystem::create_directory(folder / "sub");
  write_bytes(folder / "sub/x.safetensors", {"a"}, 1);
  const std::vector<Bad> table{
      {"[]", "'weight_map' must be an object"},
      {R"({"weight_map": ["a"]})", "'weight_map' must be an object"},
      {R"({"weight_map": {"a": 3}})", "the file of tensor 'a' must be text"},
      {R"({"weight_map": {"a": "../model-1.safetensors"}})",
       "puts tensor 'a' into '../model-1.safetensors', which leaves the folder"},
      {R"({"weight_map": {"a": "/etc/passwd"}})", "'/etc/passwd', which leaves the folder"},
      {R"({"weight_map": {"a": "sub/x.safetensors"}})", "'sub/x.safetensors', which leaves the folder"},
      {R"({"weight_map": {"a": ".."}})", "'..', which leaves the folder"},
      {R"({"weight_map": {"a": ""}})", "'', which leaves the folder"},
      {R"({"weight_map": {"a": "model-1.safetensors\u0000x"}})", "which leaves the folder"},
      {R"({"weight_map": {"a": "model-9.safetensors"}})", "model-9.safetensors: cannot open it"},
      {R"({"weight_map": {"a": "model-1.safetensors", "b": "model-1.safetensors"}})",
       "model-1.safetensors: has no tensor 'b'"},
      {R"({"weight_map": {"a": "sub"}})", "is not a regular file"},
  };
  for (const auto& bad : table) {
    folder.write("model.safetensors.index.json", bad.index);
    EXPECT_THAT(failure_of(ExitCode::input, [&] { SafetensorsFolder{folder.path()}; }), HasSubstr(bad.message))
        << bad.index;
  }
}

TEST(SafetensorsFolder, SaysWhatIsMissing) {
  const fakes::TemporaryFolder folder;
  const auto message = [](const std::string& path) {
    return failure_of(ExitCode::input, [&] { SafetensorsFolder{path}; });
  };
  EXPECT_THAT(message(folder / "none"), HasSubstr("none: is not a folder"));
  EXPECT_THAT(message(folder.path()), HasSubstr("has neither model.safetensors nor"));
  folder.write("pytorch_model.bin", "\x80\x02");
  EXPECT_THAT(message(folder.path()), HasSubstr("save_pretrained(folder, safe_serialization=True)"));
}

TEST(SafetensorsFolder, FollowsLinksAsTheModelHubsCacheHasThem) {
  const fakes::TemporaryFolder folder, blobs;
  write_bytes(blobs / "0123abcd", {"a"}, 5);
  std::filesystem::create_symlink(blobs / "0123abcd", folder / "model.safetensors");
  EXPECT_EQ(SafetensorsFolder(folder.path()).bytes("a")[0], std::byte{5});
}

}  // namespace
}  // namespace hopyard
