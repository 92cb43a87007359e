// Several engines of one process that train a trial together, for tests of steps that several processes compute.
#pragma once

#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "fakes/small_world.h"

namespace hopyard::fakes {

/// A member's end for a visit; called by each member's own thread.
using TieOf = std::function<std::shared_ptr<VisitTie>(std::uint32_t visit, std::uint32_t member)>;

/// Micro-batches of one row, six to a batch, and dropout on.
inline TrialToRun shared_trial(const SmallWorld& world, ModelTask task, std::uint32_t degree, std::int64_t freeze = 0) {
  TrialToRun trial;
  trial.source = world.source(task, freeze);
  trial.train.batch_size = 6;
  trial.train.micro_batch_size = 1;
  trial.train.schedule = {ScheduleSpec::Kind::linear, 0.2};
  trial.train.data_parallel.degree = degree;
  return trial;
}

struct TogetherResult {
  std::vector<EngineResult> members;
  std::vector<std::string> failures;  ///< of each member: what ended its engine; empty for all, as a rule
};

/// Trains the first of `trials` together and the others by each member alone, with an engine for each setup, each on
/// threads of its own.
inline TogetherResult train_together(const SmallWorld& world, const std::vector<TrialToRun>& trials,
                                     std::vector<EngineSetup> setups, const TieOf& tie) {
  TogetherResult result{std::vector<EngineResult>(setups.size()), std::vector<std::string>(setups.size())};
  std::vector<std::jthread> threads;
  for (std::uint32_t m = 0; m < setups.size(); ++m) {
    setups[m].share = {m, static_cast<std::uint32_t>(setups.size())};
    setups[m].tie = [&tie, m](std::uint32_t visit) { return tie(visit, m); };
    threads.emplace_back([&, m] {
      try {
        MemoryDiskTier disk;
        result.members[m] = train(world, trials, setups[m], disk);
      } catch (const std::exception& error) {
        result.failures[m] = error.what();
      }
    });
  }
  threads.clear();
  return result;
}

}  // namespace hopyard::fakes
