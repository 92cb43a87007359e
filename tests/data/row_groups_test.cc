// Groups of rows by a column, and partitions that keep them whole.
#include "data/row_groups.h"

#include <gmock/gmock.h>

#include <fstream>
#include <map>
#include <numeric>
#include <set>

#include "base/files.h"
#include "base/rng.h"
#include "data/data_folder.h"
#include "data/dataset.h"
#include "data/partition_set.h"
#include "data/partition_writer.h"
#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

TEST(RowGroups, AreTheRowsOfEachValue) {
  const fakes::DataFolder folder;  // labels are row % 3
  const Dataset data(folder.path());
  const RowGroups groups(data, "labels", 5);
  ASSERT_EQ(groups.groups().size(), 3u);
  EXPECT_EQ(groups.find(0)->rows, (std::vector<std::uint32_t>{0, 3}));
  EXPECT_EQ(groups.find(1)->rows, (std::vector<std::uint32_t>{1, 4}));
  EXPECT_EQ(groups.find(2)->rows, (std::vector<std::uint32_t>{2}));
  EXPECT_EQ(groups.find(3), nullptr);
  EXPECT_EQ(RowGroups(data, "labels", 2).groups().size(), 2u) << "of the first rows alone";
}

TEST(RowGroups, OtherColumnsAreASentence) {
  const fakes::DataFolder folder;
  const Dataset data(folder.path());
  const auto said = [&](const char* column) {
    return fakes::failure_of(ExitCode::input, [&] { RowGroups(data, column, 5); });
  };
  EXPECT_THAT(said("section"), HasSubstr("has no column 'section'; there are 'ids', 'mask', 'score', 'labels'"));
  EXPECT_THAT(said("ids"), HasSubstr("several I32 a row"));
  EXPECT_THAT(said("score"), HasSubstr("one F16 a row, and groups need one whole number"));
}

TEST(RowGroups, TooManyAreASentence) {
  const fakes::TemporaryFolder folder;
  constexpr int kRows = static_cast<int>(kRowGroupsMax) + 1;
  folder.write("dataset.json", R"({"format": "hopyard-dataset", "version": 1, "rows": 1001,
    "columns": {"row": {"dtype": "I32", "shape": []}}, "parts": [{"file": "a.safetensors", "rows": 1001}]})");
  const std::vector<TensorToWrite> tensors{{"row", Dtype::i32, {kRows}}};
  write_safetensors(folder / "a.safetensors", tensors, [](std::size_t, std::span<std::byte> out) {
    std::vector<std::int32_t> values(out.size() / 4);
    std::iota(values.begin(), values.end(), -7);
    std::memcpy(out.data(), values.data(), out.size());
  });
  const Dataset data(folder.path());
  EXPECT_EQ(RowGroups(data, "row", kRowGroupsMax).groups().front().value, -7);
  EXPECT_THAT(fakes::failure_of(ExitCode::input, [&] { RowGroups(data, "row", kRows); }),
              HasSubstr("more than 1000 values"));
}

TEST(PackGroups, TheLargestFirstOntoTheLeastFull) {
  EXPECT_THAT(pack_groups({6, 3, 3, 3, 6}, 3), ElementsAre(0, 2, 2, 0, 1));
  EXPECT_THAT(pack_groups({1, 1, 1}, 3), ElementsAre(0, 1, 2));
}

/// The last group that a partition got, its smallest, went there when no other had less.
TEST(PackGroups, NoPartitionCouldDoWithoutItsSmallestGroup) {
  KeyedStream draw(3);
  for (int round = 0; round < 200; ++round) {
    const auto partitions = 1 + static_cast<std::uint32_t>(draw.below(8));
    std::vector<std::uint32_t> rows(partitions + draw.below(30));
    for (auto& one : rows) one = 1 + static_cast<std::uint32_t>(draw.below(100));
    std::vector<std::uint32_t> filled(partitions), smallest(partitions, 100);
    const auto places = pack_groups(rows, partitions);
    for (std::size_t g = 0; g < rows.size(); ++g) {
      filled[places[g]] += rows[g];
      smallest[places[g]] = std::min(smallest[places[g]], rows[g]);
    }
    const std::uint32_t least = *std::min_element(filled.begin(), filled.end());
    EXPECT_GT(least, 0u);
    for (std::uint32_t p = 0; p < partitions; ++p) EXPECT_LE(filled[p] - smallest[p], least);
  }
}

/// 5 rows in groups of 2, 2 and 1, cut in two.
class CutByGroupsTest : public testing::Test {
 protected:
  CutByGroupsTest() { written_ = write_partitions({source_.path(), 2, out_, 17, 8, "labels"}); }
  /// What is said of a manifest with this instead.
  template <class Change>
  std::string refusal(const Change& change) const {
    Json json = to_json(written_);
    change(json);
    std::ofstream(out_ + "/partitions.json", std::ios::binary) << json.dump();
    return fakes::failure_of(ExitCode::input, [&] { PartitionSet set(out_); });
  }

  const fakes::DataFolder source_;
  const fakes::TemporaryFolder folder_;
  const std::string out_ = folder_ / "cut";
  PartitionManifest written_;
};

TEST_F(CutByGroupsTest, GroupsStayWhole) {
  const PartitionSet set(out_);
  EXPECT_EQ(set.manifest(), written_);
  EXPECT_EQ(set.manifest().group_by, "labels");
  EXPECT_EQ(set.rows(0), 3u);
  EXPECT_EQ(set.rows(1), 2u);
  const std::vector<std::uint32_t> both{0, 1};
  const auto data = set.open(both);
  const RowGroups known(set, "labels"), found(*data, "labels", data->rows());
  ASSERT_EQ(known.groups().size(), 3u);
  std::set<std::int64_t> ids;
  for (const auto& group : known.groups()) {
    EXPECT_EQ(group.rows, found.find(group.value)->rows) << "what partitions.json says is what is in the columns";
    for (const auto row : group.rows) {
      EXPECT_GE(row, set.manifest().partitions[group.partition].begin);
      std::vector<std::int64_t> values(2);
      data->gather("ids", std::span(&row, 1), values);
      ids.insert(values[0]);
    }
  }
  EXPECT_THAT(ids, ElementsAre(0, 10, 20, 30, 40)) << "each row of the source once";
}

TEST_F(CutByGroupsTest, AreKnownWithoutTheirFiles) {
  std::filesystem::remove_all(out_ + "/partition-000");
  const RowGroups known(PartitionSet(out_), "labels");
  EXPECT_EQ(known.groups().size(), 3u);
}

TEST_F(CutByGroupsTest, BadInputIsASentence) {
  const auto cut = [&](std::uint32_t into, const std::string& column) {
    write_partitions({source_.path(), into, folder_ / "other", 17, 8, column});
  };
  EXPECT_THAT(fakes::failure_of(ExitCode::usage, [&] { cut(4, "labels"); }),
              HasSubstr("4 partitions cannot share the 3 groups"));
  EXPECT_THAT(fakes::failure_of(ExitCode::input, [&] { cut(2, "section"); }), HasSubstr("has no column 'section'"));
  const auto grouped = [&](const std::string& folder, const char* column) {
    return fakes::failure_of(ExitCode::input, [&] { RowGroups(PartitionSet(folder), column); });
  };
  EXPECT_THAT(grouped(out_, "source"), HasSubstr("was cut by 'labels'"));
  write_partitions({source_.path(), 2, folder_ / "plain", 17, 8});
  EXPECT_THAT(grouped(folder_ / "plain", "labels"), HasSubstr("cut it with `hopyard partition --group-by=labels`"));
}

TEST_F(CutByGroupsTest, ContradictionsInTheManifestAreASentence) {
  EXPECT_THAT(refusal([](Json& json) { json["partitions"][1]["groups"][0]["value"] = 0; }),
              HasSubstr("partition 1 has 2 rows of group 0, which partition 0 has already"));
  EXPECT_THAT(refusal([](Json& json) { json["partitions"][1]["groups"][0]["rows"] = 1; }),
              HasSubstr("the groups of partition 1 have 1 rows, the partition has 2"));
  EXPECT_THAT(refusal([](Json& json) { json["partitions"][1]["groups"][0]["rows"] = 0; }),
              HasSubstr("0 rows of group"));
  EXPECT_THAT(refusal([](Json& json) { json.erase("group_by"); }),
              HasSubstr("there are groups and no column 'group_by'"));
  EXPECT_THAT(refusal([](Json& json) { json["partitions"][0]["groups"] = 3; }), HasSubstr("'groups' must be a list"));
}

TEST(PartitionsOfParts, HaveTheirRowsWhereTheyAre) {
  const Partitions parts = Partitions::of_parts({{}, {4, 7, 9}, {}}, 5);
  EXPECT_EQ(parts.count(), 3u);
  EXPECT_EQ(parts.rows(), 3u);
  EXPECT_THAT(parts.to_visit(), ElementsAre(1));
  EXPECT_THAT(parts.order(1, 0), testing::UnorderedElementsAre(4, 7, 9));
  EXPECT_TRUE(parts.order(0, 0).empty());
  EXPECT_THAT(Partitions(10, 3, 5).to_visit(), ElementsAre(0, 1, 2));
}

}  // namespace
}  // namespace hopyard
