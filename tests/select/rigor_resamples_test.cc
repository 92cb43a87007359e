#include "select/rigor_resamples.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <stdexcept>

#include "base/failure.h"

namespace hopyard::rigor {
namespace {

using Kind = ResampleKind;

std::vector<std::uint32_t> all_rows(std::uint32_t rows) {
  std::vector<std::uint32_t> all(rows);
  std::iota(all.begin(), all.end(), 0u);
  return all;
}

TEST(KFold, FoldsCutTheRowsAndEachRunTrainsOnTheOthers) {
  for (const auto& [rows, folds] : {std::pair{10u, 5u}, {11u, 4u}, {7u, 7u}, {1000u, 3u}}) {
    std::vector<std::uint32_t> held_out;
    for (std::uint32_t fold = 0; fold < folds; ++fold) {
      const auto resample = make_resample(rows, Kind::kfold, folds, fold, 17);
      EXPECT_GE(resample.held_out.size(), rows / folds);
      EXPECT_LE(resample.held_out.size(), (rows + folds - 1) / folds);
      EXPECT_TRUE(std::is_sorted(resample.train.begin(), resample.train.end()));
      std::vector<std::uint32_t> both;
      std::merge(resample.train.begin(), resample.train.end(), resample.held_out.begin(), resample.held_out.end(),
                 std::back_inserter(both));
      EXPECT_EQ(both, all_rows(rows));
      held_out.insert(held_out.end(), resample.held_out.begin(), resample.held_out.end());
    }
    std::sort(held_out.begin(), held_out.end());
    EXPECT_EQ(held_out, all_rows(rows));
  }
}

TEST(KFold, RowsAreShuffledBeforeTheCut) {
  const auto fold = make_resample(1000, Kind::kfold, 2, 0, 17).held_out;
  EXPECT_GT(fold.back(), 900u);
  EXPECT_LT(fold.front(), 100u);
}

TEST(Bootstrap, DrawsAsManyAsThereAreWithReplacement) {
  constexpr std::uint32_t kRows = 20'000;
  const auto resample = make_resample(kRows, Kind::bootstrap, 3, 1, 17);
  EXPECT_EQ(resample.train.size(), kRows);
  EXPECT_TRUE(std::is_sorted(resample.train.begin(), resample.train.end()));
  EXPECT_LT(resample.train.back(), kRows);
  // 1/e of the rows are not drawn; the standard deviation of their share is 0.0022.
  EXPECT_NEAR(static_cast<double>(resample.held_out.size()) / kRows, 0.3679, 0.009);
  for (const std::uint32_t row : resample.held_out)
    ASSERT_FALSE(std::binary_search(resample.train.begin(), resample.train.end(), row));
  auto seen = resample.train;
  seen.erase(std::unique(seen.begin(), seen.end()), seen.end());
  EXPECT_EQ(seen.size() + resample.held_out.size(), kRows);
}

TEST(Bootstrap, MoreResamplesLeaveTheFirstOnesAsTheyWere) {
  EXPECT_EQ(make_resample(50, Kind::bootstrap, 3, 2, 17), make_resample(50, Kind::bootstrap, 30, 2, 17));
}

TEST(Resample, FollowsFromSeedAndIndex) {
  for (const Kind kind : {Kind::bootstrap, Kind::kfold}) {
    EXPECT_EQ(make_resample(50, kind, 5, 2, 17), make_resample(50, kind, 5, 2, 17));
    EXPECT_NE(make_resample(50, kind, 5, 2, 17), make_resample(50, kind, 5, 3, 17));
    EXPECT_NE(make_resample(50, kind, 5, 2, 17), make_resample(50, kind, 5, 2, 18));
  }
}

TEST(Resample, RefusesWhatCannotBe) {
  EXPECT_THROW(make_resample(0, Kind::bootstrap, 1, 0, 1), Failure);
  EXPECT_THROW(make_resample(5, Kind::bootstrap, 0, 0, 1), Failure);
  EXPECT_THROW(make_resample(5, Kind::kfold, 1, 0, 1), Failure);
  EXPECT_THROW(make_resample(5, Kind::kfold, 6, 0, 1), Failure);
  EXPECT_THROW(make_resample(5, Kind::kfold, 5, 5, 1), std::logic_error);
}

}  // namespace
}  // namespace hopyard::rigor
