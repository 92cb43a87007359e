#include "select/rigor_duplicates.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>

#include "base/rng.h"

namespace hopyard::rigor {
namespace {

using testing::ElementsAre;

/// Rows of different lengths, padded with 0 and masked.
TokenRows masked_rows(const std::vector<std::vector<std::int64_t>>& rows, std::uint32_t width) {
  TokenRows out{width};
  for (const auto& row : rows) {
    for (std::uint32_t i = 0; i < width; ++i) {
      out.tokens.push_back(i < row.size() ? row[i] : 0);
      out.mask.push_back(i < row.size() ? 1 : 0);
    }
  }
  return out;
}

TokenRows random_rows(std::uint32_t rows, std::uint32_t width, std::uint64_t vocabulary, std::uint64_t seed) {
  KeyedStream stream(seed);
  TokenRows out{width};
  for (std::uint64_t i = 0; i < std::uint64_t{rows} * width; ++i)
    out.tokens.push_back(static_cast<std::int64_t>(stream.below(vocabulary)));
  return out;
}

std::set<std::int64_t> set_of(const TokenRows& rows, std::uint32_t row) {
  const auto begin = rows.tokens.begin() + static_cast<std::ptrdiff_t>(std::size_t{row} * rows.width);
  return {begin, begin + rows.width};
}

double jaccard_of(const TokenRows& rows, std::uint32_t a, std::uint32_t b) {
  const auto first = set_of(rows, a), second = set_of(rows, b);
  return jaccard(std::vector(first.begin(), first.end()), std::vector(second.begin(), second.end()));
}

/// `copies` rows of each of `originals` random ones, each copy with a few tokens replaced.
TokenRows noisy_copies(std::uint32_t originals, std::uint32_t copies, std::uint32_t replaced_max, std::uint64_t seed) {
  const TokenRows base = random_rows(originals, 32, 30'000, seed);
  KeyedStream stream(derive(seed, "copies"));
  TokenRows out{32};
  for (std::uint32_t copy = 0; copy < copies; ++copy) {
    out.tokens.insert(out.tokens.end(), base.tokens.begin(), base.tokens.end());
    for (std::uint32_t row = 0; row < originals; ++row)
      for (std::uint64_t i = stream.below(replaced_max + 1); i > 0; --i)
        out.tokens[out.tokens.size() - std::size_t{originals - row} * 32 + stream.below(32)] =
            static_cast<std::int64_t>(stream.below(30'000));
  }
  return out;
}

TEST(Jaccard, OfSmallSets) {
  using Set = std::vector<std::int64_t>;
  EXPECT_DOUBLE_EQ(jaccard(Set{1, 2, 3}, Set{2, 3, 4}), 0.5);
  EXPECT_EQ(jaccard(Set{1}, Set{2}), 0);
  EXPECT_EQ(jaccard(Set{}, Set{1}), 0);
  EXPECT_EQ(jaccard(Set{}, Set{}), 1);
}

TEST(ExactDuplicates, OrderNumberAndMaskCount) {
  const auto clusters =
      exact_duplicates(masked_rows({{5, 6}, {6, 5}, {5, 6}, {5, 6, 6}, {5, 6, 0}, {}, {5, 6}, {}}, 4));
  EXPECT_THAT(clusters.of_row, ElementsAre(0, 1, 0, 2, 3, 4, 0, 4));
  EXPECT_EQ(clusters.count, 5u);
}

TEST(ExactDuplicates, AgreeWithComparingAllPairs) {
  const TokenRows rows = random_rows(600, 3, 6, 1);
  const auto clusters = exact_duplicates(rows);
  for (std::uint32_t a = 0; a < rows.rows(); ++a) {
    for (std::uint32_t b = 0; b < a; ++b) {
      const auto begin = rows.tokens.begin();
      const bool equal = std::equal(begin + 3 * a, begin + 3 * a + 3, begin + 3 * b);
      ASSERT_EQ(clusters.of_row[a] == clusters.of_row[b], equal);
    }
  }
}

TEST(NearDuplicates, TakeSetsAndLeaveOutWhatIsIgnored) {
  const TokenRows rows = masked_rows({{101, 7, 8, 9, 102}, {101, 9, 8, 7, 7, 102}, {101, 7, 8, 5, 102}}, 6);
  EXPECT_THAT(near_duplicates(rows, {}).of_row, ElementsAre(0, 0, 1));
  // Alike only by the tokens that every row has: 4 of 6 with them would be 0.67, 2 of 4 without are 0.5.
  EXPECT_THAT(near_duplicates(rows, {.jaccard = 0.7, .ignored = {102, 101}}).of_row, ElementsAre(0, 0, 1));
}

TEST(NearDuplicates, AllOfAClusterAreLikeItsFirstRow) {
  const TokenRows rows = noisy_copies(100, 6, 6, 2);
  const auto clusters = near_duplicates(rows, {});
  std::vector<std::uint32_t> first(clusters.count, rows.rows());
  for (std::uint32_t row = 0; row < rows.rows(); ++row) {
    auto& start = first[clusters.of_row[row]];
    start = std::min(start, row);
    EXPECT_GE(jaccard_of(rows, start, row), 0.8);
  }
  EXPECT_EQ(clusters.rows_cut_short, 0u);
}

TEST(NearDuplicates, FindNearlyAllThatComparingAllPairsFinds) {
  // Two copies of each original: a copy that is 0.8 alike to the first must be found with 1 − (1 − 0.8^6)^20 = 0.998.
  constexpr std::uint32_t kOriginals = 2'000;
  const TokenRows rows = noisy_copies(kOriginals, 2, 3, 3);
  const auto clusters = near_duplicates(rows, {});
  int alike = 0, found = 0;
  for (std::uint32_t row = 0; row < kOriginals; ++row) {
    if (jaccard_of(rows, row, row + kOriginals) < 0.8) continue;
    ++alike;
    found += clusters.of_row[row] == clusters.of_row[row + kOriginals];
  }
  EXPECT_GT(alike, 1'000);
  EXPECT_GE(found, 0.995 * alike);
}

TEST(NearDuplicates, RowsThatAreNotAlikeStayApart) {
  const TokenRows rows = random_rows(3'000, 32, 30'000, 4);
  EXPECT_EQ(near_duplicates(rows, {}).count, 3'000u);
}

TEST(NearDuplicates, HostileDataAreCutShortAndSaidSo) {
  // 26 tokens in common and 6 of their own: 0.68 alike, below the threshold, and in one another's buckets.
  TokenRows rows = random_rows(2'000, 32, 1'000'000'000, 5);
  for (std::size_t row = 0; row < 2'000; ++row)
    for (std::size_t i = 0; i < 26; ++i) rows.tokens[row * 32 + i] = static_cast<std::int64_t>(i);
  const auto clusters = near_duplicates(rows, {});
  EXPECT_EQ(clusters.count, 2'000u);
  EXPECT_GT(clusters.rows_cut_short, 1'000u);
}

TEST(NearDuplicates, FiftyThousandRowsAreFew) {
  const TokenRows rows = noisy_copies(25'000, 2, 0, 6);
  EXPECT_EQ(near_duplicates(rows, {}).count, 25'000u);
  EXPECT_EQ(exact_duplicates(rows).count, 25'000u);
}

TEST(Duplicates, NoRowsHaveNone) {
  EXPECT_EQ(exact_duplicates({}), Clusters{});
  EXPECT_EQ(near_duplicates({}, {}), Clusters{});
}

TEST(Duplicates, RefuseWhatDoesNotMatch) {
  EXPECT_THROW(exact_duplicates({2, {1, 2, 3}, {}}), std::logic_error);
  EXPECT_THROW(exact_duplicates({2, {1, 2}, {1}}), std::logic_error);
  EXPECT_THROW(near_duplicates({2, {1, 2}, {}}, {.jaccard = 0.5}), std::logic_error);
}

}  // namespace
}  // namespace hopyard::rigor
