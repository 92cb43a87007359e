// The loop over journal, executor and disk tier: what ends a trial, and what ends the run and lets it be resumed.
#include "experiment/experiment.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "fakes/memory_journal.h"
#include "fakes/small_world.h"

namespace hopyard {
namespace {

using Digests = std::map<std::string, std::string>;

/// Two trials whose windows hold half of their states, over a disk that outlives a run.
class ExperimentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    install_counting_allocator();
    setup_.cuts = {1, 2, 3, 4, 5};
    setup_.window_share = 0.5;
    trial_.source = world_.source(Task::sequence_classification);
    trial_.train.batch_size = trial_.train.micro_batch_size = 4;
    trial_.visits = 2;
    search_.maximize = true;
    space_ = {{"train.optimizer.lr", Dimension::Kind::grid, {1e-3, 3e-3}}};
  }

  Bytes state_bytes() const { return trial_state_bytes(fakes::trial_setup(world_, trial_, 0, setup_)); }

  ExperimentEnd run(Bytes capacity) {
    MemoryDiskTier disk(capacity, medium_);
    forget_uncommitted(*journal_, disk);
    disk.faults.reads_until_failure = reads_until_failure_;
    disk.faults.writes_until_failure = writes_until_failure_;
    HostTier host(64 * MiB);
    IoPool pool(2);
    FrozenStore frozen(host);
    const Partitions partitions(28, 2, 5);
    const auto searcher = make_searcher(search_, space_, 5);
    std::vector<std::unique_ptr<Device>> devices;
    devices.push_back(make_device());
    Executor executor(setup_.execute, 5, std::move(devices), host, nullptr);
    const std::atomic<bool> interrupted{false};
    Experiment experiment({*searcher, *journal_, executor, host, disk, pool, frozen, partitions, search_.metric,
                           std::nullopt, text::cat(device_memory_),
                           [this](const TrialSpec& spec, std::uint32_t number) { return resolve(spec, number); },
                           [](const std::string&) {}, [] {}, interrupted});
    return experiment.run();
  }

  std::unique_ptr<Device> make_device() const {
    if (device_memory_ == 0) return make_cpu_device(DeviceSpec(), 0, 64 * MiB);
    DeviceSpec spec;
    spec.type = DeviceSpec::Type::emulated;
    spec.memory = device_memory_;
    spec.link_bytes_per_s = 4e9;
    return make_emulated_device(spec, 0, nullptr);
  }

  /// What a run says when it ends for what no trial did; nothing when it came to its end.
  std::string run_with_faults(int reads_until_failure, int writes_until_failure) {
    reads_until_failure_ = reads_until_failure;
    writes_until_failure_ = writes_until_failure;
    std::string sentence;
    try {
      run(GiB);
    } catch (const Failure& failure) {
      sentence = failure.what();
    }
    reads_until_failure_ = writes_until_failure_ = -1;
    return sentence;
  }

  TrialSetup resolve(const TrialSpec& spec, std::uint32_t number) const {
    fakes::TrialToRun one = trial_;
    one.seed = spec.seed;
    one.train.optimizer.lr = std::get<double>(spec.settings.front().value);
    TrialSetup setup = fakes::trial_setup(world_, one, number, setup_);
    setup.id = spec.id;
    return setup;
  }

  Digests digests() const {
    Digests all;
    for (const auto& record : journal_->trials()) {
      EXPECT_EQ(record.state, TrialState::finished) << record.reason;
      all[record.spec.id] = record.last->digest;
    }
    return all;
  }

  void forget() {
    journal_ = std::make_unique<MemoryJournal>();
    medium_ = std::make_shared<MemoryDisk>();
  }

  int reads_until_failure_ = -1, writes_until_failure_ = -1;
  Bytes device_memory_ = 0;  // 0: a cpu device
  fakes::SmallWorld world_{fakes::kTinyBert};
  fakes::EngineSetup setup_;
  fakes::TrialToRun trial_;
  SearchSpec search_;
  std::vector<Dimension> space_;
  std::shared_ptr<MemoryDisk> medium_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<MemoryJournal> journal_ = std::make_unique<MemoryJournal>();
};

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
