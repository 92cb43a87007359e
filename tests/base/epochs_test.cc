#include "base/epochs.h"

#include <gtest/gtest.h>

#include <sstream>
#include <stdexcept>

namespace hopyard {
namespace {

TEST(Epochs, AreExactFractions) {
  EXPECT_EQ(Epochs::of_visits(2, 8), Epochs::of_visits(1, 4));
  EXPECT_EQ(Epochs::of_visits(8, 4), Epochs(2));
  Epochs sum;
  for (int i = 0; i < 3; ++i) sum = sum + Epochs::of_visits(1, 3);
  EXPECT_EQ(sum, 1u);
  EXPECT_EQ(Epochs::of_visits(1, 3) * 9, 3u);
  EXPECT_EQ(Epochs(2) - Epochs::of_visits(5, 3), Epochs::of_visits(1, 3));
}

TEST(Epochs, AreOrderedLikeNumbers) {
  EXPECT_LT(Epochs::of_visits(1, 3), Epochs::of_visits(1, 2));
  EXPECT_LT(Epochs::of_visits(3, 4), 1u);
  EXPECT_GT(Epochs::of_visits(5, 4), 1u);
}

TEST(Epochs, AreVisitsWhereAnEpochHasEnough) {
  const Epochs quarter = Epochs::of_visits(1, 4);
  EXPECT_EQ(quarter.visits(8), 2u);
  EXPECT_TRUE(quarter.is_whole_visits(12));
  EXPECT_FALSE(quarter.is_whole_visits(6));
  EXPECT_THROW(quarter.visits(6), std::logic_error);
  EXPECT_THROW(Epochs::of_visits(1, 0), std::logic_error);
}

TEST(Epochs, NextWholeIsAlwaysFurther) {
  EXPECT_EQ(Epochs().next_whole(), 1u);
  EXPECT_EQ(Epochs::of_visits(3, 4).next_whole(), 1u);
  EXPECT_EQ(Epochs(1).next_whole(), 2u);
}

TEST(Epochs, ANumberMeansTheFractionOfFewestParts) {
  for (std::uint32_t parts = 1; parts <= 300; ++parts)
    for (std::uint32_t count = 1; count <= parts; ++count) {
      const Epochs epochs = Epochs::of_visits(count, parts);
      EXPECT_EQ(Epochs::nearest(epochs.value()), epochs) << count << '/' << parts;
    }
  EXPECT_EQ(Epochs::nearest(0.333), Epochs::of_visits(1, 3));
  EXPECT_EQ(Epochs::nearest(0.999), Epochs::of_visits(999, 1000));
  EXPECT_EQ(Epochs::nearest(1.001), Epochs::of_visits(1001, 1000));
  EXPECT_EQ(Epochs::nearest(2.0 / 999), Epochs::of_visits(2, 999));
  EXPECT_EQ(Epochs::nearest(0.33), Epochs::of_visits(33, 100));
  EXPECT_EQ(Epochs::nearest(7), Epochs(7));
  EXPECT_EQ(Epochs::nearest(0), Epochs(0));
  EXPECT_FALSE(Epochs::nearest(-1));
  EXPECT_FALSE(Epochs::nearest(1e-5));
  EXPECT_FALSE(Epochs::nearest(1e12));
}

TEST(Epochs, PrintAsPeopleWriteThem) {
  EXPECT_EQ(to_string(Epochs(12)), "12");
  EXPECT_EQ(to_string(Epochs::of_visits(1, 4)), "0.25");
  EXPECT_EQ(to_string(Epochs::of_visits(9, 4)), "2.25");
  EXPECT_EQ(to_string(Epochs::of_visits(1, 3)), "0.3333");
  std::ostringstream out;
  out << Epochs::of_visits(1, 2);
  EXPECT_EQ(out.str(), "0.5");
}

}  // namespace
}  // namespace hopyard
