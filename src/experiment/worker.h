// A worker of an experiment that runs on several: trains the visits that a coordinator sends, and moves states.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "experiment/held_states.h"
#include "experiment/local_trainer.h"
#include "hopper/messages.h"
#include "hopper/state_book.h"
#include "transport/transport.h"

namespace hopyard {

/// What it works with; everything outlives it.
struct WorkerParts {
  WorkerEnd& end;
  LocalTrainer& trainer;
  SharedVersions& disk;
  HostTier& host;
  StateBook& book;
  /// Resolves a trial: everything of its setup. Failure when it cannot run here.
  std::function<TrialSetup(const TrialSpec&, std::uint32_t number)> resolve;
  /// Told of what happened, one line each.
  std::function<void(const std::string&)> event;
  const std::atomic<bool>& interrupted;
  TraceRecorder* trace = nullptr;  ///< may be null
};

enum class WorkerEnding {
  finished,     ///< the coordinator said so
  interrupted,  ///< the coordinator, or a signal here
  lost          ///< the coordinator is gone, or has buried this incarnation: what is held stays; join again
};

/// One incarnation of a worker, from its Hello to its end. Not reusable.
class Worker {
 public:
  explicit Worker(WorkerParts parts);
  ~Worker();
  /// Throws what LocalTrainer::wait() throws, once the coordinator has been told (`Broken`). Afterwards no visit is
  /// under way, and none keeps a link; the trainer is stopped, unless the worker was lost.
  WorkerEnding run();
  /// Why it was lost, as a sentence.
  const std::string& reason() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace hopyard
