#include "spill/version_file.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "base/failure.h"
#include "base/huge_pages.h"
#include "base/rng.h"
#include "spill/scratch_folder.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;

/// Memory that begins so many bytes after a sector's border.
class Memory {
 public:
  Memory(Bytes bytes, Bytes shift)
      : mapped_(bytes + shift), shift_(shift), data_(map_memory(std::max(mapped_, Bytes{1}))) {}
  ~Memory() { unmap_memory(data_, std::max(mapped_, Bytes{1})); }
  Memory(const Memory&) = delete;
  std::span<std::byte> span() { return {data_ + shift_, mapped_ - shift_}; }

 private:
  const Bytes mapped_, shift_;
  std::byte* const data_;
};

void fill(std::span<std::byte> bytes, std::uint64_t key) {
  KeyedStream stream(key);
  for (std::byte& byte : bytes) byte = static_cast<std::byte>(stream.next());
}

class VersionFileTest : public testing::TestWithParam<bool> {
 protected:
  StoredVersion write(const std::vector<BlobToWrite>& blobs) {
    fs::remove(path);
    const StoredVersion stored = write_version_file(path, blobs, GetParam());
    EXPECT_EQ(stored.file_bytes(), version_file_bytes(blobs));
    EXPECT_EQ(stored.file_bytes(), fs::file_size(path));
    EXPECT_EQ(StoredVersion::from_json(stored.to_json(), "itself"), stored);
    return stored;
  }
  std::string refused(const StoredBlob& stored, Bytes offset, std::span<std::byte> out) {
    try {
      read_version_file(path, stored, offset, out, GetParam());
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::input);
      return failure.what();
    }
    return "nothing";
  }

  const ScratchFolder folder;
  const std::string path = folder.path() + "/file";
};

INSTANTIATE_TEST_SUITE_P(Io, VersionFileTest, testing::Bool(),
                         [](const auto& info) { return info.param ? "Direct" : "Buffered"; });

// From and to memory at a sector's border and not, sizes around those at which something changes.
TEST_P(VersionFileTest, WhatWasWrittenIsRead) {
  for (const Bytes bytes : {Bytes{1}, kSector - 1, kSector, kSector + 1, kPiece - 1, kPiece, kPiece + 1, 4 * kPiece,
                            4 * kPiece + 5000, 5 * kPiece + kSector})
    for (const Bytes written_shift : {Bytes{0}, Bytes{64}})
      for (const Bytes read_shift : {Bytes{0}, Bytes{64}}) {
        Memory source(bytes, written_shift), target(bytes, read_shift);
        fill(source.span(), bytes);
        const StoredVersion stored = write({{3, source.span()}});
        read_version_file(path, *stored.find(3), 0, target.span(), GetParam());
        ASSERT_TRUE(std::ranges::equal(source.span(), target.span())) << bytes << " bytes";
      }
}

TEST_P(VersionFileTest, AnyRangeOfAnyBlob) {
  std::map<std::uint32_t, std::unique_ptr<Memory>> contents;
  std::vector<BlobToWrite> blobs;
  for (const auto& [blob, bytes] : std::map<std::uint32_t, Bytes>{{1, 9 * MiB + 77}, {2, 0}, {7, 12 * MiB}, {9, 5}}) {
    contents[blob] = std::make_unique<Memory>(bytes, blob == 1 ? 0 : 64);
    fill(contents[blob]->span(), blob);
    blobs.push_back({blob, contents[blob]->span()});
  }
  const StoredVersion stored = write(blobs);
  KeyedStream random(5);
  for (int i = 0; i < 300; ++i) {
    const std::uint32_t blob = std::vector<std::uint32_t>{1, 7, 9}[random.below(3)];
    const auto whole = contents[blob]->span();
    Bytes offset = random.below(whole.size() + 1);
    if (i % 3 == 0) offset = offset / kPiece * kPiece;
    Bytes bytes = random.below(whole.size() - offset + 1);
    if (i % 2 == 0) bytes = whole.size() - offset;
    Memory target(bytes, i % 5 == 0 ? 8 : 0);
    read_version_file(path, *stored.find(blob), offset, target.span(), GetParam());
    ASSERT_TRUE(std::ranges::equal(whole.subspan(offset, bytes), target.span())) << bytes << " bytes from " << offset;
  }
  EXPECT_EQ(stored.find(3), nullptr);
  EXPECT_EQ(stored.find(2)->bytes, 0u);
}

TEST_P(VersionFileTest, NothingBeyondTheEndAndNothingThatChanged) {
  const Bytes bytes = 9 * MiB + 100;
  Memory source(bytes, 0), target(bytes, 0);
  fill(source.span(), 1);
  const StoredVersion stored = write({{0, source.span()}});
  const StoredBlob& blob = *stored.find(0);
  EXPECT_NE(refused(blob, bytes, target.span().first(1)).find("has no byte"), std::string::npos);
  EXPECT_NE(refused(blob, 1, target.span()).find("has no byte"), std::string::npos);
  for (const Bytes at : {Bytes{0}, kPiece + 5, bytes - 1}) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(at));
    const char byte = static_cast<char>(file.get());
    file.seekp(static_cast<std::streamoff>(at));
    file.put(static_cast<char>(byte ^ 1)).flush();
    EXPECT_NE(refused(blob, 0, target.span()).find("other bytes"), std::string::npos);
    EXPECT_NE(refused(blob, at, target.span().first(1)).find("other bytes"), std::string::npos);
    file.seekp(static_cast<std::streamoff>(at));
    file.put(byte).flush();
    EXPECT_EQ(refused(blob, 0, target.span()), "nothing");
  }
  fs::resize_file(path, fs::file_size(path) - kSector);
  EXPECT_NE(refused(blob, 0, target.span()).find("ends at byte"), std::string::npos);
  fs::remove(path);
  EXPECT_NE(refused(blob, 0, target.span()).find(path), std::string::npos);
}

TEST_P(VersionFileTest, ANameIsUsedOnce) {
  Memory source(100, 0);
  write({{0, source.span()}});
  EXPECT_THROW(write_version_file(path, std::vector<BlobToWrite>{{0, source.span()}}, GetParam()), Failure);
}

TEST(StoredVersionTest, SaysWhatIsNotSo) {
  for (const std::string text :
       {"", "[]", "{}", R"({"blobs":[{"blob":0,"begin":0,"bytes":5}]})",
        R"({"blobs":[{"blob":0,"begin":0,"bytes":5,"checksums":[]}]})",
        R"({"blobs":[{"blob":0,"begin":4096,"bytes":5,"checksums":[1]}]})",
        R"({"blobs":[{"blob":0,"begin":0,"bytes":5,"checksums":["1"]}]})",
        R"({"blobs":[{"blob":0,"begin":0,"bytes":5,"checksums":[1]},{"blob":1,"begin":5,"bytes":5,"checksums":[1]}]})"})
    EXPECT_THROW(StoredVersion::from_json(text, "index"), Failure) << text;
}

}  // namespace
}  // namespace hopyard
