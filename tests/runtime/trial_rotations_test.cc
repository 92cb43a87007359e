#include "runtime/trial_rotations.h"

#include <gtest/gtest.h>

#include "fakes/memory_journal.h"

namespace hopyard {
namespace {

using Trials = std::vector<TrialRotations::Trial>;
const Trials kFirst{{"t00", 1}, {"t01", 4}, {"t02", 2}, {"t03", 3}};

TEST(TrialRotations, TrialsThatAreAskedForTogetherStandApart) {
  TrialRotations rotations(5, 4, {});
  EXPECT_TRUE(rotations.give(kFirst));
  std::set<std::uint32_t> own;
  for (const auto& trial : kFirst) own.insert(rotations.of(trial.id));
  EXPECT_EQ(own.size(), 4u);
  EXPECT_EQ(rotations.record().size(), 4u);
}

TEST(TrialRotations, AreGivenOnce) {
  TrialRotations rotations(5, 4, {});
  rotations.give(kFirst);
  const auto before = rotations.record();
  EXPECT_FALSE(rotations.give(kFirst));
  EXPECT_EQ(rotations.record(), before);
}

TEST(TrialRotations, AProcessThatGoesOnGivesWhatTheOneBeforeWouldHave) {
  TrialRotations undisturbed(5, 4, {});
  undisturbed.give(kFirst);
  const auto record = undisturbed.record();
  for (const auto& late : Trials{{"t04", 2}, {"t05", 1}, {"t06", 9}}) undisturbed.give({late});

  TrialRotations resumed(5, 4, record);
  EXPECT_FALSE(resumed.give(kFirst));
  for (const auto& late : Trials{{"t04", 2}, {"t05", 1}, {"t06", 9}}) EXPECT_TRUE(resumed.give({late}));
  EXPECT_EQ(resumed.record(), undisturbed.record());
}

TEST(TrialRotations, StandInTheJournal) {
  MemoryJournal journal;
  EXPECT_TRUE(recorded_rotations(journal, "journal").empty());
  keep_rotations(journal, {{"t00", 3}, {"t01", 0}});
  EXPECT_EQ(recorded_rotations(journal, "journal"), (RotationRecord{{"t00", 3}, {"t01", 0}}));
}

}  // namespace
}  // namespace hopyard
