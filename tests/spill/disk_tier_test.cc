#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <vector>

#include "conformance/disk_tier_conformance.h"
#include "fakes/memory_disk_tier.h"
#include "spill/scratch_folder.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;

class RocksHarness : public DiskTierHarness {
 public:
  explicit RocksHarness(bool direct_io) : direct_io_(direct_io) {}
  std::unique_ptr<DiskTier> open(Bytes capacity) override {
    return open_rocks_disk_tier({folder_.path() + "/spill", capacity, direct_io_});
  }

 private:
  const bool direct_io_;
  const ScratchFolder folder_;
};

class MemoryHarness : public DiskTierHarness {
 public:
  std::unique_ptr<DiskTier> open(Bytes capacity) override { return std::make_unique<MemoryDiskTier>(capacity, disk_); }

 private:
  const std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
};

INSTANTIATE_TEST_SUITE_P(
    Tiers, DiskTierConformance,
    testing::Values(DiskTierCase{"RocksDirect", [] { return std::make_unique<RocksHarness>(true); }},
                    DiskTierCase{"RocksBuffered", [] { return std::make_unique<RocksHarness>(false); }},
                    DiskTierCase{"Memory", [] { return std::make_unique<MemoryHarness>(); }}),
    disk_tier_case_name);

class RocksDiskTierTest : public testing::Test {
 protected:
  std::unique_ptr<DiskTier> open() { return open_rocks_disk_tier({folder.path(), 64 * MiB}); }
  static Version write(DiskTier& disk, const std::vector<std::byte>& content, Durability durability) {
    const BlobToWrite blob{0, content};
    return disk.write({&blob, 1}, durability);
  }
  std::vector<fs::path> files() const {
    std::vector<fs::path> files;
    for (const auto& file : fs::directory_iterator(folder.path() + "/versions")) files.push_back(file.path());
    return files;
  }
  static void flip_byte(const fs::path& path, Bytes offset) {
    std::fstream file(path, std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(static_cast<std::streamoff>(offset));
    const char byte = static_cast<char>(file.get() ^ 0x10);
    file.seekp(static_cast<std::streamoff>(offset));
    file.put(byte);
  }

  const ScratchFolder folder;
};

TEST_F(RocksDiskTierTest, OneFileForAVersionAndItGoesWithIt) {
  const auto disk = open();
  const Version first = write(*disk, pattern(9 * MiB, 1), Durability::durable);
  const Version second = write(*disk, pattern(1 * MiB, 1), Durability::durable);
  const Version third = write(*disk, pattern(1 * MiB + 1, 1), Durability::spilled);
  EXPECT_EQ(files().size(), 3u);
  Bytes bytes = 0;
  for (const auto& file : files()) bytes += fs::file_size(file);
  EXPECT_EQ(disk->used(), bytes);
  disk->drop(first);
  EXPECT_EQ(files().size(), 2u);
  disk->make_durable(third);
  EXPECT_EQ(files().size(), 2u);
  disk->drop(second);
  disk->drop(third);
  EXPECT_EQ(files().size(), 0u);
}

// What the index names and a crash of the machine has taken is missing, and what it does not name goes.
TEST_F(RocksDiskTierTest, AFileThatIsGoneIsNoVersion) {
  Version kept = 0, lost = 0;
  {
    const auto disk = open();
    lost = write(*disk, pattern(10'000, 1), Durability::durable);
    const fs::path file = files().at(0);
    kept = write(*disk, pattern(10'000, 2), Durability::durable);
    fs::remove(file);
  }
  const auto disk = open();
  EXPECT_EQ(disk->versions(), std::vector<Version>{kept});
  EXPECT_THROW(disk->keep_only({kept, lost}), Failure);
}

TEST_F(RocksDiskTierTest, AFlippedByteIsReportedWithItsVersion) {
  auto disk = open();
  const Version version = write(*disk, pattern(9 * MiB, 1), Durability::durable);
  const auto file = files().at(0);
  for (const Bytes offset : {Bytes{100'000}, 5 * MiB, 9 * MiB - 5}) {
    flip_byte(file, offset);
    std::vector<std::byte> out(9 * MiB);
    try {
      disk->read(version, 0, 0, out);
      FAIL() << "byte " << offset << " was flipped, and nobody saw it";
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::input);
      EXPECT_NE(std::string(failure.what()).find(std::to_string(version)), std::string::npos) << failure.what();
    }
    flip_byte(file, offset);
    disk->read(version, 0, 0, out);
  }
}

TEST_F(RocksDiskTierTest, DamagedOrTruncatedFilesAreAFailure) {
  Version version = 0;
  {
    const auto disk = open();
    version = write(*disk, pattern(9 * MiB, 1), Durability::durable);
  }
  const auto file = files().at(0);
  const auto read_all = [&] {
    std::vector<std::byte> out(9 * MiB);
    open()->read(version, 0, 0, out);
  };
  const Bytes size = fs::file_size(file);
  flip_byte(file, size - 1);
  EXPECT_THROW(read_all(), Failure);
  flip_byte(file, size - 1);
  EXPECT_NO_THROW(read_all());
  fs::resize_file(file, size - 4096);
  EXPECT_THROW(read_all(), Failure);
  fs::remove(file);
  EXPECT_THROW(read_all(), Failure);
}

TEST_F(RocksDiskTierTest, LeftoversOfACrashAreRemoved) {
  Version version = 0;
  {
    const auto disk = open();
    write(*disk, pattern(1 * MiB, 1), Durability::spilled);
    version = write(*disk, pattern(1 * MiB, 2), Durability::durable);
  }
  std::ofstream(folder.path() + "/versions/4294967299.blobs") << "half a file";
  const auto disk = open();
  EXPECT_EQ(files().size(), 1u);
  EXPECT_EQ(disk->versions(), std::vector<Version>{version});
}

TEST_F(RocksDiskTierTest, BelongsToOneAtATime) {
  const auto disk = open();
  EXPECT_THROW(open(), Failure);
  const Version version = write(*disk, pattern(1000, 2), Durability::spilled);
  std::vector<std::byte> out(1000);
  disk->read(version, 0, 0, out);
}

TEST_F(RocksDiskTierTest, AFolderThatCannotBeMadeIsAFailure) {
  std::ofstream(folder.path() + "/file") << "in the way";
  EXPECT_THROW(open_rocks_disk_tier({folder.path() + "/file/spill", MiB}), Failure);
}

TEST_F(RocksDiskTierTest, ManyVersionsLeaveNothingBehind) {
  const auto disk = open();
  for (std::uint64_t i = 0; i < 200; ++i)
    disk->drop(write(*disk, pattern(5000, i), i % 10 == 0 ? Durability::durable : Durability::spilled));
  EXPECT_EQ(disk->used(), 0u);
  EXPECT_EQ(files().size(), 0u);
}

}  // namespace
}  // namespace hopyard
