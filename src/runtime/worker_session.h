// One of several workers of an experiment: how it comes to its coordinator, and what it does there, from its first
// incarnation to its last.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>

#include "experiment/worker.h"
#include "runtime/membership.h"
#include "runtime/run_objects.h"

namespace hopyard {

struct WorkerSession {
  WorkerSession(const ExperimentConfig& config, const LaunchSpec& launch, const RunPaths& paths);

  LaunchSpec launch;
  SharedSecret secret;
  TransportOptions options;  ///< but for the secret
  double wait_for_worker_s;
  WorkerPlace place() const { return {launch.rank, launch.world_size, launch.local_rank}; }
};

/// Rank 0's end of it. Makes the secret where there is none; Failure(usage) when the port is in use.
std::unique_ptr<CoordinatorEnd> open_coordinator(const WorkerSession& session, Journal& journal, const RunPaths& paths);

/// Tries until it is let in. Null when `given_up` says so, which is asked now and then. Failure(usage) when it was
/// turned away; Failure(interrupted) when wait_for_worker has passed.
std::unique_ptr<WorkerEnd> join(const WorkerSession& session, const std::function<bool()>& given_up);

struct WorkerLifeParts {
  const WorkerSession& session;
  RunObjects& objects;  ///< with an engine
  std::function<TrialSetup(const TrialSpec&, std::uint32_t number)> resolve;
  std::function<void(const std::string&)> event;
  const std::atomic<bool>& interrupted;
  std::function<bool()> given_up;             ///< asked while there is no coordinator
  std::function<void()> before_leaving = {};  ///< the coordinator has not heard yet that it does; may be empty
};
/// Trains what the coordinator sends, and joins again as often as it is lost; `end`: that of its first incarnation.
/// `lost` when it gave up. Throws as Worker::run() and join().
WorkerEnding live_as_worker(const WorkerLifeParts& parts, std::unique_ptr<WorkerEnd> end);

}  // namespace hopyard
