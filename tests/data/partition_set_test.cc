#include "data/partition_set.h"

#include <gmock/gmock.h>

#include <filesystem>
#include <fstream>
#include <numeric>

#include "base/files.h"
#include "data/data_folder.h"
#include "data/partition_writer.h"
#include "fakes/failure_of.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// 5 rows in partitions of 2, 1 and 2 (sizes within one row), parts of one row each.
class PartitionSetTest : public testing::Test {
 protected:
  PartitionSetTest() { written_ = write_partitions({source_.path(), 3, out_, kSeed, 8}); }

  std::vector<std::int64_t> ids(const Dataset& data, const std::vector<std::uint32_t>& rows) const {
    std::vector<std::int64_t> values(2 * rows.size());
    data.gather("ids", rows, values);
    return values;
  }
  void change(const std::string& file, const std::string& from, const std::string& to) const {
    std::string text = read_file(out_ + "/" + file, 1 << 20);
    const auto at = text.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    std::ofstream(out_ + "/" + file, std::ios::binary) << text.replace(at, from.size(), to);
  }
  std::string refusal() const {
    return fakes::failure_of(ExitCode::input, [&] { PartitionSet set(out_); });
  }
  std::string refusal(std::uint32_t partition) const {
    const PartitionSet set(out_);
    return fakes::failure_of(ExitCode::input, [&] { set.open(std::span(&partition, 1)); });
  }

  static constexpr std::uint64_t kSeed = 17;
  const fakes::DataFolder source_;
  const fakes::TemporaryFolder folder_;
  const std::string out_ = folder_ / "cut";
  PartitionManifest written_;
};

TEST_F(PartitionSetTest, KnowsTheWholeAndOpensAPart) {
  const PartitionSet set(out_);
  EXPECT_EQ(set.manifest(), written_);
  EXPECT_EQ(set.count(), 3u);
  EXPECT_EQ(set.rows(), 5u);
  EXPECT_EQ(set.rows(0) + set.rows(1) + set.rows(2), 5u);
  const std::uint32_t second = 1;
  const auto data = set.open(std::span(&second, 1));
  EXPECT_EQ(data->rows(), 5u);
  for (std::uint32_t row = 0; row < 5; ++row)
    EXPECT_EQ(data->has(row), row >= written_.partitions[1].begin && row < written_.partitions[2].begin) << row;
  EXPECT_THROW(ids(*data, {0}), std::logic_error);
  data->check_range("labels", 5, 0, 3);  // of the rows that are here
}

/// Whatever was cut trains on the same rows in the same order as what was not.
TEST_F(PartitionSetTest, RowsAreThoseOfTheUncutSetInTheSameOrder) {
  const PartitionSet set(out_);
  const Dataset whole(source_.path());
  const Partitions uncut(5, 3, kSeed), cut = set.partitions(kSeed);
  for (std::uint32_t p = 0; p < 3; ++p) {
    const auto data = set.open(std::span(&p, 1));
    EXPECT_EQ(data->columns(), whole.columns());
    EXPECT_EQ(data->label_names(), whole.label_names());
    EXPECT_EQ(data->vocabulary(), whole.vocabulary());
    for (std::uint32_t epoch = 0; epoch < 3; ++epoch) {
      EXPECT_EQ(ids(*data, cut.order(p, epoch)), ids(whole, uncut.order(p, epoch)));
      std::vector<float> here(uncut.rows(p)), there(uncut.rows(p));
      data->gather("score", cut.order(p, epoch), here);
      whole.gather("score", uncut.order(p, epoch), there);
      EXPECT_EQ(here, there);
    }
  }
}

TEST_F(PartitionSetTest, SeveralPartitionsAreOneTable) {
  const PartitionSet set(out_);
  const std::uint32_t some[] = {0, 2};
  const auto data = set.open(some);
  std::uint32_t here = 0;
  for (std::uint32_t row = 0; row < 5; ++row) here += data->has(row) ? 1 : 0;
  EXPECT_EQ(here, set.rows(0) + set.rows(2));
  EXPECT_FALSE(data->has(written_.partitions[1].begin));
}

TEST_F(PartitionSetTest, APartitionIsADataFolderByItself) {
  const Dataset alone(out_ + "/partition-002");
  EXPECT_EQ(alone.rows(), written_.partitions[2].rows);
  EXPECT_EQ(read_json(out_ + "/partition-002/dataset.json")["source"]["file"], "a.jsonl");
}

TEST_F(PartitionSetTest, TheSeedDecides) {
  write_partitions({source_.path(), 3, folder_ / "same", kSeed, 64 * MiB});
  write_partitions({source_.path(), 3, folder_ / "other", kSeed + 1, 8});
  const std::uint32_t first = 0;
  const auto rows = [&](const std::string& name) {
    const PartitionSet set(folder_ / name);
    std::vector<std::uint32_t> all(set.rows(0));
    std::iota(all.begin(), all.end(), 0u);
    return ids(*set.open(std::span(&first, 1)), all);
  };
  EXPECT_EQ(rows("cut"), rows("same"));
  EXPECT_NE(PartitionSet(out_).digest(), PartitionSet(folder_ / "other").digest());
}

TEST_F(PartitionSetTest, WhatIsMissingOrAlteredIsNamed) {
  fs::rename(out_ + "/partition-001", out_ + "/elsewhere");
  EXPECT_THAT(refusal(1), HasSubstr("partition 1 is missing: there is no folder partition-001"));
  fs::rename(out_ + "/elsewhere", out_ + "/partition-001");
  fs::remove(out_ + "/partition-002/part-00001.safetensors");
  EXPECT_THAT(refusal(2), HasSubstr("partition 2 is missing its file part-00001.safetensors"));
  const std::uint32_t first = 0;
  PartitionSet(out_).open(std::span(&first, 1));  // what others lack is nothing to it

  const std::string part = out_ + "/partition-000/part-00000.safetensors";
  std::fstream file(part, std::ios::in | std::ios::out | std::ios::binary);
  file.seekp(-1, std::ios::end);
  file.put('\x55');
  file.close();
  EXPECT_THAT(refusal(0), HasSubstr("partition 0 was altered since it was written: part-00000.safetensors"));
}

TEST_F(PartitionSetTest, AManifestThatDoesNotCoverTheRowsOnceIsRefused) {
  const std::string begin = text::cat("\"begin\": ", written_.partitions[1].begin);
  change(kPartitionManifest, begin, "\"begin\": 0");
  EXPECT_THAT(refusal(), HasSubstr("partition 1 overlaps the one before"));
  change(kPartitionManifest, "\"begin\": 0,\n   \"rows\": 2", "\"begin\": 3,\n   \"rows\": 2");
  EXPECT_THAT(refusal(), HasSubstr("a partition is missing before partition"));
}

TEST_F(PartitionSetTest, PartitionsThatAreOneFolderOverlap) {
  change(kPartitionManifest, "\"partition-002\"", "\"partition-000\"");
  EXPECT_THAT(refusal(), HasSubstr("partitions 0 and 2 overlap: both are partition-000"));
}

TEST_F(PartitionSetTest, AForeignManifestIsRefused) {
  change(kPartitionManifest, "hopyard-partitions", "hopyard-dataset");
  EXPECT_THAT(refusal(), HasSubstr("its format is 'hopyard-dataset'"));
  change(kPartitionManifest, "hopyard-dataset", "hopyard-partitions");
  change(kPartitionManifest, "\"partition-000\"", "\"../cut\"");
  EXPECT_THAT(refusal(), HasSubstr("partition 0: '../cut' leaves the folder"));
  change(kPartitionManifest, "\"../cut\"", "\"partition-000\"");
  change(kPartitionManifest, "\"bytes\": ", "\"bytes\": 1");
  EXPECT_THAT(refusal(), HasSubstr("partition 0 was altered"));
}

TEST_F(PartitionSetTest, FewerPartitionsThanWorkersIsASentence) {
  const PartitionSet set(out_);
  set.check_workers(3);
  EXPECT_THAT(fakes::failure_of(ExitCode::input, [&] { set.check_workers(4); }),
              HasSubstr("has 3 partitions, 0 to 2, for 4 workers"));
}

TEST_F(PartitionSetTest, WhatCannotBeCutLeavesNothingBehind) {
  const auto failure = [&](ExitCode code, const PartitionRequest& request) {
    return fakes::failure_of(code, [&] { write_partitions(request); });
  };
  EXPECT_THAT(failure(ExitCode::usage, {source_.path(), 3, out_}), HasSubstr("is there already"));
  EXPECT_THAT(failure(ExitCode::usage, {source_.path(), 6, folder_ / "new"}), HasSubstr("give 1 to 5"));
  EXPECT_THAT(failure(ExitCode::input, {folder_ / "none", 2, folder_ / "new"}), HasSubstr("none/dataset.json"));
  std::size_t entries = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(folder_.path())) ++entries;
  EXPECT_EQ(entries, 1u);
}

}  // namespace
}  // namespace hopyard
