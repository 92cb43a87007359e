// The loop over journal, executor and disk tier: what ends a trial, and what ends the run and lets it be resumed.
#include "experiment/experiment_fixture.h"

namespace hopyard {
namespace {

TEST_F(ExperimentTest, ARunIsTakenUpWhereItEnded) {
  EXPECT_EQ(run(GiB), ExperimentEnd::finished);
  const Digests first = digests();
  EXPECT_EQ(first.size(), 2u);
  EXPECT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(digests(), first);
}

TEST_F(ExperimentTest, AFullDiskEndsTheRunWhichGoesOnWithMore) {
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const Digests undisturbed = digests();
  int ended = 0, ended_with_commits = 0;
  for (Bytes capacity = state_bytes() / 4; capacity < 6 * state_bytes(); capacity += state_bytes() / 4) {
    forget();
    try {
      run(capacity);
    } catch (const DiskFull& full) {
      ++ended;
      EXPECT_NE(std::string(full.what()).find("resources.disk.capacity"), std::string::npos) << full.what();
      for (const auto& record : journal_->trials()) {
        EXPECT_NE(record.state, TrialState::failed) << record.reason;
        ended_with_commits += record.last.has_value();
      }
      EXPECT_EQ(run(GiB), ExperimentEnd::finished);
    }
    EXPECT_EQ(digests(), undisturbed) << capacity;
  }
  EXPECT_GT(ended, 3);
  EXPECT_GT(ended_with_commits, 0);
}

TEST_F(ExperimentTest, ADiskThatFailsEndsTheRunAndNoTrial) {
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const Digests undisturbed = digests();
  int ended = 0;
  for (int until = 0; until < 60; until += 6)
    for (const bool reads : {true, false}) {
      forget();
      const std::string sentence = run_with_faults(reads ? until : -1, reads ? -1 : until);
      for (const auto& record : journal_->trials()) EXPECT_NE(record.state, TrialState::failed) << record.reason;
      if (!sentence.empty()) {
        ++ended;
        EXPECT_NE(sentence.find("injected"), std::string::npos) << sentence;
        EXPECT_EQ(run(GiB), ExperimentEnd::finished);
      }
      EXPECT_EQ(digests(), undisturbed) << until << (reads ? " reads" : " writes");
    }
  EXPECT_GT(ended, 6);
}

TEST_F(ExperimentTest, ATrialThatDidNotFitIsTriedAgainUnderOtherResources) {
  device_memory_ = 64 * MiB;
  ASSERT_EQ(run(GiB), ExperimentEnd::finished);
  const Digests undisturbed = digests();
  forget();
  device_memory_ = 24 * KiB;
  for (int times = 0; times < 2; ++times) {
    EXPECT_EQ(run(GiB), ExperimentEnd::finished);
    for (const auto& record : journal_->trials()) {
      EXPECT_EQ(record.state, TrialState::failed);
      EXPECT_NE(record.reason.find("does not fit"), std::string::npos) << record.reason;
    }
    EXPECT_FALSE(has_work(*journal_, text::cat(device_memory_))) << "nothing has changed";
  }
  device_memory_ = 64 * MiB;
  EXPECT_TRUE(has_work(*journal_, text::cat(device_memory_)));
  EXPECT_EQ(run(GiB), ExperimentEnd::finished);
  EXPECT_EQ(digests(), undisturbed);
  EXPECT_FALSE(has_work(*journal_, "others"));
}

TEST_F(ExperimentTest, WhatIsATrialsOwnFaultEndsTheTrialAlone) {
  space_.front().values = {1e-3, 1e30};
  EXPECT_EQ(run(GiB), ExperimentEnd::finished);
  const auto records = journal_->trials();
  EXPECT_EQ(records[0].state, TrialState::finished) << records[0].reason;
  EXPECT_EQ(records[1].state, TrialState::failed);
  EXPECT_NE(records[1].reason.find("not a finite number"), std::string::npos) << records[1].reason;
  EXPECT_FALSE(has_work(*journal_, "others")) << "more memory would not help";
}

}  // namespace
}  // namespace hopyard
