// What a trial is held in when a test holds it without an executor.
#pragma once

#include <functional>
#include <memory>

#include "fakes/memory_disk_tier.h"
#include "fakes/small_world.h"
#include "pipeline/trial_run.h"

namespace hopyard::fakes {

struct TrialHome {
  TrialHome(const SmallWorld& world, const TrialToRun& trial, const EngineSetup& engine = {})
      : setup(trial_setup(world, trial, 0, engine)) {}
  /// Of this setup; must not outlive the home.
  std::unique_ptr<TrialRun> run(std::function<void()> wake = [] {}) {
    return std::make_unique<TrialRun>(setup, *grant_trial(setup, host, frozen), disk, pool, std::move(wake));
  }

  const TrialSetup setup;
  HostTier host{64 * MiB};
  FrozenStore frozen{host};
  IoPool pool{1};
  MemoryDiskTier disk;
};

}  // namespace hopyard::fakes
