#include "base/text.h"

#include <gtest/gtest.h>

#include "base/trial.h"

namespace hopyard {
namespace {

TEST(TextTest, SizesNeedAUnit) {
  EXPECT_EQ(text::parse_bytes("256MiB"), 256 * MiB);
  EXPECT_EQ(text::parse_bytes("1.5 KiB"), 1536u);
  EXPECT_EQ(text::parse_bytes("2GB"), 2'000'000'000u);
  for (const char* bad : {"", "256", "MiB", "-1MiB", "1mib", "1MiB/s", "nanMiB", "1e300GiB", "9000000TiB"})
    EXPECT_FALSE(text::parse_bytes(bad)) << bad;
}

TEST(TextTest, RatesAndDurations) {
  EXPECT_EQ(text::parse_rate("4GiB/s"), 4.0 * GiB);
  EXPECT_FALSE(text::parse_rate("4GiB"));
  EXPECT_EQ(text::parse_duration("30s"), 30);
  EXPECT_EQ(text::parse_duration("10min"), 600);
  EXPECT_FALSE(text::parse_duration("10"));
}

TEST(TextTest, PrintsForPeople) {
  EXPECT_EQ(text::format_bytes(256 * MiB), "256 MiB");
  EXPECT_EQ(text::format_bytes(1536), "1.50 KiB");
  EXPECT_EQ(text::format_bytes(0), "0 B");
  EXPECT_EQ(text::format_seconds(0.0123), "12.3 ms");
  EXPECT_EQ(text::format_seconds(75), "75.0 s");
  EXPECT_EQ(text::format_seconds(3900), "1 h 05 min");
}

TEST(TextTest, NearestFindsTyposAndNothingFarAway) {
  const std::vector<std::string> words{"epochs", "batch_size", "optimizer"};
  EXPECT_EQ(text::nearest("epoch", words), "epochs");
  EXPECT_EQ(text::nearest("batchsize", words), "batch_size");
  EXPECT_EQ(text::nearest("zzzzzzzz", words), "");
}

TEST(TrialTest, SeedFollowsFromTheSettingsAndNotFromTheirOrder) {
  const Setting lr{"train.optimizer.lr", 1e-4}, freeze{"model.freeze", std::int64_t{4}};
  EXPECT_EQ(trial_seed(17, {lr, freeze}), trial_seed(17, {freeze, lr}));
  EXPECT_NE(trial_seed(17, {lr, freeze}), trial_seed(18, {lr, freeze}));
  EXPECT_NE(trial_seed(17, {lr}), trial_seed(17, {freeze}));
}

TEST(TrialTest, SettingsPrintShortestThatReadsBack) {
  EXPECT_EQ(to_string(SettingValue(3e-5)), "3e-05");
  EXPECT_EQ(std::stod(to_string(SettingValue(0.1 + 0.2))), 0.1 + 0.2);
  EXPECT_EQ(to_string(SettingValue(true)), "true");
}

}  // namespace
}  // namespace hopyard
