#include "hopper/cut_links.h"

#include <gtest/gtest.h>

namespace hopyard {
namespace {

TEST(CutLinks, CountAsCutAfterFailuresInARowUntilTheyHaveRested) {
  CutLinks links;
  EXPECT_FALSE(links.failed(2, 1, 100));
  EXPECT_FALSE(links.cut(1, 2, 100));
  EXPECT_TRUE(links.doubted(1, 2));
  EXPECT_TRUE(links.failed(1, 2, 105)) << "whichever end is named first";
  EXPECT_TRUE(links.cut(1, 2, 105));
  EXPECT_TRUE(links.cut(2, 1, 105 + CutLinks::kRestSeconds / 2));
  EXPECT_FALSE(links.cut(1, 3, 105)) << "others are not";
  EXPECT_FALSE(links.failed(1, 2, 110)) << "it is known";

  const double rested_s = 110 + CutLinks::kRestSeconds;
  EXPECT_FALSE(links.cut(1, 2, rested_s));
  EXPECT_TRUE(links.doubted(1, 2)) << "others are better";
  EXPECT_TRUE(links.failed(1, 2, rested_s)) << "one more failure, and it is cut again";
  EXPECT_TRUE(links.cut(1, 2, rested_s));
}

TEST(CutLinks, AreForgottenWhenAStateArrivesOrAWorkerIsGone) {
  CutLinks links;
  for (int i = 0; i < 2; ++i) {
    links.failed(1, 2, i);
    links.failed(0, 2, i);
    links.failed(0, 1, i);
  }
  links.worked(2, 1);
  EXPECT_FALSE(links.cut(1, 2, 1));
  EXPECT_FALSE(links.doubted(1, 2));
  EXPECT_FALSE(links.failed(1, 2, 2)) << "counted anew";
  links.forget(2);
  EXPECT_FALSE(links.doubted(0, 2));
  EXPECT_TRUE(links.cut(0, 1, 2));
}

}  // namespace
}  // namespace hopyard
