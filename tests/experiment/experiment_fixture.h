// The loop with a small model over a disk and a journal that outlive a run.
#pragma once

#include "experiment/experiment.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <set>

#include "experiment/local_trainer.h"
#include "fakes/dying_journal.h"
#include "fakes/memory_journal.h"
#include "fakes/small_world.h"

namespace hopyard {

using Digests = std::map<std::string, std::string>;

/// Two trials whose windows hold half of their states, over a disk that outlives a run.
class ExperimentTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    install_counting_allocator();
    setup_.cuts = {1, 2, 3, 4, 5};
    setup_.window_share = 0.5;
    trial_.source = world_.source(ModelTask::sequence_classification);
    trial_.train.batch_size = trial_.train.micro_batch_size = 4;
    trial_.visits = 2;
    search_.maximize = true;
    space_ = {{"train.optimizer.lr", Dimension::Kind::grid, {1e-3, 3e-3}}};
  }

  Bytes state_bytes() const { return trial_state_bytes(fakes::trial_setup(world_, trial_, 0, setup_)); }

  ExperimentEnd run(Bytes capacity) { return run(capacity, journal_.get()); }

  ExperimentEnd run(Bytes capacity, Journal* journal) {
    MemoryDiskTier disk(capacity, medium_);
    forget_uncommitted(*journal, disk);
    disk.faults.reads_until_failure = reads_until_failure_;
    disk.faults.writes_until_failure = writes_until_failure_;
    SharedVersions shared(disk);
    HostTier host(64 * MiB);
    IoPool pool(2);
    FrozenStore frozen(host);
    const auto searcher = make_searcher(search_, space_, 5);
    std::vector<std::unique_ptr<Device>> devices;
    devices.push_back(make_device());
    Executor executor(setup_.execute, 5, std::move(devices), host, nullptr);
    LocalTrainer trainer(
        {executor, host, shared, pool, frozen, search_.metric, active_trials_, [](const std::string&) {}});
    Experiment experiment({*searcher, *journal, trainer, partitions_, search_.metric, orders_max_,
                           text::cat(device_memory_),
                           [this](const TrialSpec& spec, std::uint32_t number) { return resolve(spec, number); },
                           [](const std::string&) {}, [] {}, interrupted_, 5, requests_});
    return experiment.run();
  }

  /// Runs that die after 0, 1, 2, … of `step` more writes each, until one comes to its end. How many died.
  int run_with_deaths(int step) {
    for (int deaths = 0;; ++deaths) {
      DyingJournal dying(*journal_, step + deaths % 3, deaths % 2 == 0);
      try {
        EXPECT_EQ(run(GiB, &dying), ExperimentEnd::finished);
        return deaths;
      } catch (const DyingJournal::Death&) {
      }
    }
  }

  std::unique_ptr<Device> make_device() const {
    if (device_memory_ == 0) return make_cpu_device(DeviceSpec(), 0, 64 * MiB);
    DeviceSpec spec;
    spec.type = DeviceSpec::Type::emulated;
    spec.memory = device_memory_;
    spec.link_bytes_per_s = link_bytes_per_s_;
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
    if (unfit_.contains(spec.id)) fail(ExitCode::capacity, spec.id, " does not fit");
    fakes::TrialToRun one = trial_;
    one.seed = spec.seed;
    one.train.optimizer.lr = rate_.value_or(std::get<double>(spec.settings.front().value));
    TrialSetup setup = fakes::trial_setup(world_, one, number, setup_);
    setup.id = spec.id;
    setup.partitions = std::make_shared<Partitions>(28, partitions_, 5);
    setup.rotation = seed_rotation(spec.seed, partitions_);
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

  std::atomic<bool> interrupted_{false};
  std::function<void(Experiment&)> requests_;  ///< what people ask for
  int reads_until_failure_ = -1, writes_until_failure_ = -1;
  std::uint32_t partitions_ = 2;
  Bytes device_memory_ = 0;  // 0: a cpu device
  double link_bytes_per_s_ = 4e9;
  std::set<std::string> unfit_;  ///< trials that cannot be planned
  std::optional<double> rate_;   ///< instead of what the search chose
  std::optional<std::uint32_t> active_trials_;
  std::uint32_t orders_max_ = 4;
  fakes::SmallWorld world_{fakes::kTinyBert};
  fakes::EngineSetup setup_;
  fakes::TrialToRun trial_;
  SearchSpec search_;
  std::vector<Dimension> space_;
  std::shared_ptr<MemoryDisk> medium_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<MemoryJournal> journal_ = std::make_unique<MemoryJournal>();
};

}  // namespace hopyard
