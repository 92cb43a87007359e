#include "hopper/trained_parts.h"

#include <gtest/gtest.h>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

Trained trained(std::size_t points, std::size_t rows, std::uint32_t width) {
  Trained trained;
  trained.number = 7;
  trained.commit.trial = "t03";
  trained.blobs = {{0, 12, 0}};
  for (std::size_t i = 0; i < points; ++i) trained.curve.push_back({3 * i + (1ull << 62), 1.0 / (3 + i)});
  if (rows == 0) return trained;
  RowOutcomes& all = trained.rows.emplace();
  all.width = width;
  for (std::size_t i = 0; i < rows; ++i) {
    all.losses.push_back(static_cast<float>(i));
    all.labels.push_back(static_cast<std::int64_t>(i));
    for (std::uint32_t value = 0; value < width; ++value) all.values.push_back(static_cast<float>(i * width + value));
  }
  return trained;
}

/// What arrives, message by message.
Trained sent(Trained whole, std::size_t expected_parts) {
  std::vector<TrainedPart> arrived;
  for (const auto& part : split(whole)) {
    const std::string text = encode(part);
    EXPECT_LE(text.size(), kMaxMessageBytes);
    arrived.push_back(std::get<TrainedPart>(decode_to_coordinator(text, "rank 1")));
    EXPECT_EQ(arrived.back().number, whole.number);
    EXPECT_EQ(arrived.back().trial, "t03");
  }
  EXPECT_EQ(arrived.size(), expected_parts);
  const std::string last = encode(whole);
  EXPECT_LE(last.size(), kMaxMessageBytes);
  return join(arrived, std::get<Trained>(decode_to_coordinator(last, "rank 1")));
}

TEST(TrainedParts, WhatFitsIsOneMessage) {
  for (const auto& whole : {Trained(), trained(0, 0, 0), trained(100'000, 0, 0), trained(5, 1000, 3)})
    EXPECT_EQ(sent(whole, 0), whole);
}

TEST(TrainedParts, WhatDoesNotFitComesTogetherAgain) {
  const Trained curve = trained(450'000, 0, 0), rows = trained(3, 40'000, 100), both = trained(100'001, 300'000, 12);
  EXPECT_EQ(sent(curve, 4), curve);
  EXPECT_EQ(sent(rows, 3), rows);
  EXPECT_EQ(sent(both, 4), both);
}

TEST(TrainedParts, PartsThatDoNotFollowEachOtherAreASentence) {
  Trained last = trained(0, 0, 0);
  last.curve = {{4, 0.5}};
  EXPECT_EQ(fakes::failure_of(ExitCode::input,
                              [&] {
                                join({{7, "t03", {{3, 0.5}, {4, 0.5}}, {}}}, last);
                              }),
            "step 4 of the curve comes after step 4");
}

}  // namespace
}  // namespace hopyard
