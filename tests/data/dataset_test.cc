#include "data/dataset.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "data/data_folder.h"
#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using testing::ElementsAre;
using testing::HasSubstr;

TEST(Dataset, KnowsItsColumns) {
  const fakes::DataFolder folder;
  const Dataset data(folder.path());
  EXPECT_EQ(data.rows(), 5u);
  EXPECT_THAT(data.label_names(), ElementsAre("x", "y", "z"));
  EXPECT_EQ(data.vocabulary(), 50);
  ASSERT_NE(data.find("ids"), nullptr);
  EXPECT_EQ(data.find("ids")->dtype, Dtype::i32);
  EXPECT_THAT(data.find("ids")->shape, ElementsAre(2));
  EXPECT_EQ(data.find("none"), nullptr);
}

TEST(Dataset, GathersAcrossParts) {
  const fakes::DataFolder folder;
  const Dataset data(folder.path());
  const std::vector<std::uint32_t> rows{4, 0, 3, 2, 0};
  std::vector<std::int64_t> ids(10), mask(10), labels(5);
  data.gather("ids", rows, ids);
  EXPECT_THAT(ids, ElementsAre(40, 41, 0, 1, 30, 31, 20, 21, 0, 1));
  data.gather("mask", rows, mask);
  EXPECT_THAT(mask, ElementsAre(1, 0, 1, 0, 1, 0, 1, 0, 1, 0));
  data.gather("labels", rows, labels);
  EXPECT_THAT(labels, ElementsAre(1, 0, 0, 2, 0));
}

TEST(Dataset, GathersFloats) {
  const fakes::DataFolder folder;
  const Dataset data(folder.path());
  const std::vector<std::uint32_t> rows{0, 1, 2, 3, 4};
  std::vector<float> values(5);
  data.gather("score", rows, values);
  EXPECT_THAT(values, ElementsAre(0, 0.5, 1, 1.5, 2));
  data.gather("labels", rows, values);
  EXPECT_THAT(values, ElementsAre(0, 1, 2, 0, 1));
}

TEST(Dataset, RefusesWhatItDoesNotHold) {
  const fakes::DataFolder folder;
  const Dataset data(folder.path());
  const std::vector<std::uint32_t> first{0}, beyond{5};
  std::vector<std::int64_t> one(1);
  EXPECT_THAT(failure_of(ExitCode::input, [&] { data.gather("text", first, one); }),
              HasSubstr("has no column 'text'; there are 'ids', 'mask', 'score', 'labels'"));
  EXPECT_THAT(failure_of(ExitCode::input, [&] { data.gather("score", first, one); }),
              HasSubstr("column 'score' holds F16 where whole numbers are needed"));
  EXPECT_THROW(data.gather("labels", beyond, one), std::logic_error);
  EXPECT_THROW(data.gather("ids", first, one), std::logic_error);
}

TEST(Dataset, ChecksRanges) {
  const fakes::DataFolder folder;
  const Dataset data(folder.path());
  EXPECT_NO_THROW(data.check_range("labels", 5, 0, 3));
  EXPECT_NO_THROW(data.check_range("ids", 4, 0, 40));
  EXPECT_EQ(failure_of(ExitCode::input, [&] { data.check_range("ids", 5, 0, 41); }),
            folder / "part-00001.safetensors" + ": row 1 of column 'ids' holds 41, which is not from 0 to 40");
  EXPECT_THAT(failure_of(ExitCode::input, [&] { data.check_range("labels", 5, 1, 3); }),
              HasSubstr("part-00000.safetensors: row 0 of column 'labels' holds 0, which is not from 1 to 2"));
}

}  // namespace
}  // namespace hopyard
