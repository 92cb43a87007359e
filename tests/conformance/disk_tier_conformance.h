// What every DiskTier does. Instantiate DiskTierConformance with a harness for each implementation.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/failure.h"
#include "base/rng.h"
#include "spill/disk_tier.h"

namespace hopyard {

/// One medium; open() after the former tier is gone is what happens after a crash.
class DiskTierHarness {
 public:
  virtual ~DiskTierHarness() = default;
  virtual std::unique_ptr<DiskTier> open(Bytes capacity) = 0;
};

struct DiskTierCase {
  std::string name;
  std::function<std::unique_ptr<DiskTierHarness>()> make;
};

inline std::vector<std::byte> pattern(Bytes bytes, std::uint64_t key) {
  std::vector<std::byte> content(bytes);
  KeyedStream stream(key);
  for (Bytes i = 0; i < bytes; i += 8) {
    const std::uint64_t word = stream.next();
    std::memcpy(content.data() + i, &word, std::min<Bytes>(8, bytes - i));
  }
  return content;
}

class DiskTierConformance : public testing::TestWithParam<DiskTierCase> {
 protected:
  static constexpr Bytes kCapacity = 64 * MiB;

  void open(Bytes capacity = kCapacity) {
    disk.reset();
    disk = harness->open(capacity);
  }
  Version write(std::uint32_t blob, const std::vector<std::byte>& content, Durability durability) {
    const BlobToWrite bytes{blob, content};
    return disk->write({&bytes, 1}, durability);
  }
  std::vector<std::byte> read(Version version, std::uint32_t blob, Bytes offset, Bytes bytes) {
    std::vector<std::byte> out(bytes);
    disk->read(version, blob, offset, out);
    return out;
  }

  std::unique_ptr<DiskTierHarness> harness = GetParam().make();
  std::unique_ptr<DiskTier> disk = harness->open(kCapacity);
};

inline std::string disk_tier_case_name(const testing::TestParamInfo<DiskTierCase>& info) { return info.param.name; }

TEST_P(DiskTierConformance, ReadsWhatWasWritten) {
  // Around the sizes at which something changes: sectors, 1 MiB, pieces of 4 MiB and multiples of them.
  const Bytes chunk = 4 * MiB;
  for (const Bytes bytes : {Bytes{1}, Bytes{511}, Bytes{4096}, 1 * MiB - 1, 1 * MiB + 1, chunk - 1, chunk, chunk + 1,
                            2 * chunk, 9 * MiB + 13}) {
    for (const auto durability : {Durability::spilled, Durability::durable}) {
      const auto content = pattern(bytes, bytes);
      const Version version = write(5, content, durability);
      EXPECT_EQ(read(version, 5, 0, bytes), content) << bytes;
      disk->drop(version);
    }
  }
}

TEST_P(DiskTierConformance, ReadsParts) {
  const auto content = pattern(10 * MiB + 77, 1);
  const Version version = write(0, content, Durability::spilled);
  KeyedStream stream(3);
  for (int i = 0; i < 40; ++i) {
    const Bytes offset = stream.below(content.size());
    const Bytes bytes = 1 + stream.below(content.size() - offset);
    const auto out = read(version, 0, offset, bytes);
    EXPECT_TRUE(std::equal(out.begin(), out.end(), content.begin() + static_cast<std::ptrdiff_t>(offset)));
  }
}

TEST_P(DiskTierConformance, KeepsSeveralBlobsOfAVersionApart) {
  std::vector<std::vector<std::byte>> contents;
  std::vector<BlobToWrite> blobs;
  for (std::uint32_t i = 0; i < 6; ++i) contents.push_back(pattern(i * 900'001, i));  // the first one is empty
  for (std::uint32_t i = 0; i < 6; ++i) blobs.push_back({i * 7, contents[i]});
  const Version version = disk->write(blobs, Durability::durable);
  for (std::uint32_t i = 6; i-- > 0;) EXPECT_EQ(read(version, i * 7, 0, contents[i].size()), contents[i]);
  EXPECT_THROW(read(version, 8, 0, 1), Failure);
}

TEST_P(DiskTierConformance, RefusesToReadPastTheEnd) {
  const Version version = write(0, pattern(5 * MiB, 1), Durability::spilled);
  EXPECT_THROW(read(version, 0, 5 * MiB - 1, 2), Failure);
  EXPECT_THROW(read(version, 0, 5 * MiB, 1), Failure);
  EXPECT_THROW(read(version, 0, 500 * MiB, 1), Failure);
  EXPECT_EQ(read(version, 0, 5 * MiB - 1, 1).size(), 1u);
}

TEST_P(DiskTierConformance, NamesAMissingVersion) {
  try {
    read(123456789, 0, 0, 1);
    FAIL() << "it read a version that was never written";
  } catch (const Failure& failure) {
    EXPECT_NE(std::string(failure.what()).find("123456789"), std::string::npos);
    EXPECT_EQ(failure.code(), ExitCode::input);
  }
}

TEST_P(DiskTierConformance, RefusesBlobsOutOfOrder) {
  const auto content = pattern(10, 1);
  const std::vector<BlobToWrite> twice{{3, content}, {3, content}};
  EXPECT_THROW(disk->write(twice, Durability::spilled), std::logic_error);
  EXPECT_THROW(disk->write({}, Durability::spilled), std::logic_error);
}

TEST_P(DiskTierConformance, RefusesWhatExceedsItsCapacityAndStaysUsable) {
  open(8 * MiB);
  const Version version = write(0, pattern(5 * MiB, 1), Durability::spilled);
  const Bytes used = disk->used();
  try {
    write(0, pattern(5 * MiB, 2), Durability::spilled);
    FAIL() << "10 MiB were written to 8 MiB";
  } catch (const DiskFull& failure) {
    EXPECT_EQ(failure.code(), ExitCode::capacity);
    EXPECT_NE(std::string(failure.what()).find(std::to_string(8 * MiB)), std::string::npos) << failure.what();
  }
  EXPECT_EQ(disk->used(), used);
  EXPECT_LE(disk->peak(), disk->capacity());
  disk->drop(version);
  EXPECT_EQ(disk->used(), 0u);
  write(0, pattern(5 * MiB, 2), Durability::spilled);
}

TEST_P(DiskTierConformance, DropForgets) {
  const Version version = write(0, pattern(3 * MiB, 1), Durability::durable);
  const Version other = write(0, pattern(3 * MiB, 2), Durability::durable);
  disk->drop(version);
  disk->drop(version);
  disk->drop(987654);
  EXPECT_EQ(disk->versions(), std::vector<Version>{other});
  EXPECT_THROW(read(version, 0, 0, 1), Failure);
  EXPECT_EQ(read(other, 0, 0, 3 * MiB), pattern(3 * MiB, 2));
}

TEST_P(DiskTierConformance, DurableVersionsSurviveACrash) {
  const Version durable = write(1, pattern(5 * MiB, 1), Durability::durable);
  const Version promoted = write(2, pattern(6 * MiB, 2), Durability::spilled);
  disk->make_durable(promoted);
  disk->make_durable(promoted);
  EXPECT_EQ(read(promoted, 2, 0, 6 * MiB), pattern(6 * MiB, 2));
  open();
  EXPECT_EQ(read(durable, 1, 0, 5 * MiB), pattern(5 * MiB, 1));
  EXPECT_EQ(read(promoted, 2, 0, 6 * MiB), pattern(6 * MiB, 2));
  EXPECT_GE(disk->used(), 11 * MiB);
}

TEST_P(DiskTierConformance, KeepsOnlyWhatIsNamed) {
  std::vector<Version> versions;
  for (std::uint32_t i = 0; i < 4; ++i)
    versions.push_back(write(i, pattern(100'000, i), i == 3 ? Durability::spilled : Durability::durable));
  disk->keep_only({versions[0], versions[2]});
  EXPECT_EQ(disk->versions(), (std::vector<Version>{versions[0], versions[2]}));
  EXPECT_EQ(read(versions[2], 2, 0, 100'000), pattern(100'000, 2));
  try {
    disk->keep_only({versions[0], versions[1]});
    FAIL() << "a dropped version was kept";
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::input);
    EXPECT_NE(std::string(failure.what()).find(std::to_string(versions[1])), std::string::npos) << failure.what();
  }
  EXPECT_EQ(disk->versions().size(), 2u) << "a failed keep_only must drop nothing";
}

TEST_P(DiskTierConformance, NeverUsesAVersionNumberTwice) {
  std::set<Version> seen;
  for (int opened = 0; opened < 4; ++opened) {
    for (int i = 0; i < 3; ++i) {
      const Version version = write(0, pattern(1000, 1), Durability::durable);
      EXPECT_TRUE(seen.insert(version).second) << version;
      disk->drop(version);
    }
    open();
  }
}

TEST_P(DiskTierConformance, CountsPayload) {
  const Version version = write(0, pattern(3'000'000, 1), Durability::spilled);
  read(version, 0, 1000, 500'000);
  EXPECT_EQ(disk->counters().written, 3'000'000u);
  EXPECT_EQ(disk->counters().read, 500'000u);
}

TEST_P(DiskTierConformance, ServesManyThreads) {
  std::vector<std::jthread> threads;
  for (std::uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (std::uint64_t i = 0; i < 12; ++i) {
        const auto content = pattern(1 + (t * 12 + i) * 100'003 % (5 * MiB), t * 100 + i);
        const auto durability = i % 3 == 0 ? Durability::durable : Durability::spilled;
        const Version version = write(0, content, durability);
        EXPECT_EQ(read(version, 0, 0, content.size()), content);
        if (i % 4 == 1) disk->make_durable(version);
        EXPECT_EQ(read(version, 0, 0, content.size()), content);
        if (i % 2 == 0) disk->drop(version);
      }
    });
  }
  threads.clear();
  EXPECT_EQ(disk->versions().size(), 24u);
  EXPECT_LE(disk->peak(), disk->capacity());
}

}  // namespace hopyard
