#include "runtime/worker_session.h"

#include <algorithm>

#include "base/clock.h"
#include "base/failure.h"
#include "cuda/nccl_transport.h"
#include "runtime/worker_record.h"

namespace hopyard {

namespace {

constexpr double kTrySeconds = 2;      // to join, before somebody is asked whether to go on
constexpr double kBetweenTries = 0.2;  // seconds
// Who is out again soon after it came waits twice as long before it comes again, up to a bound.
constexpr double kShortLifeSeconds = 10, kBetweenLivesMax = 10;

/// Why it is not in yet; nothing when `end` is set.
std::string try_to_join(const WorkerSession& session, double seconds, std::unique_ptr<WorkerEnd>& end) {
  TransportOptions options = session.options;
  options.membership.secret = session.secret.read();
  if (options.membership.secret.empty()) return "rank 0 has not made the secret of the run directory yet";
  JoinResult joined = join_experiment(session.launch, options, seconds);
  end = std::move(joined.worker);
  // A new directory has a new secret, which may have come in between.
  if (joined.refused && session.secret.read() == options.membership.secret)
    fail(ExitCode::usage, "worker ", session.launch.rank, " was turned away: ", joined.error);
  return joined.error;
}

/// With the links that the config asks for. Null for null.
std::unique_ptr<WorkerEnd> with_links(std::unique_ptr<WorkerEnd> end, const ExperimentConfig& resolved) {
  if (end == nullptr || resolved.workers.links == WorkersSpec::Links::gloo) return end;
  const DeviceSpec& first = resolved.devices.front();
  return make_cuda_end(std::move(end), first.first_card, first.memory);
}

}  // namespace

WorkerSession::WorkerSession(const ExperimentConfig& config, const LaunchSpec& launched, const RunPaths& paths)
    : launch(launched),
      secret(config.workers, launched, paths),
      options(transport_options(config.workers, experiment_identity(config))),
      wait_for_worker_s(config.workers.wait_for_worker_s) {
  check_bind(config.workers);
}

std::unique_ptr<CoordinatorEnd> open_coordinator(const WorkerSession& session, Journal& journal,
                                                 const RunPaths& paths) {
  session.secret.make();
  TransportOptions options = session.options;
  options.membership.secret = session.secret.read();
  options.incarnations_before = claim_incarnations(journal, paths);
  return open_coordinator(session.launch, options);
}

std::unique_ptr<WorkerEnd> join(const WorkerSession& session, const std::function<bool()>& given_up) {
  const double until = monotonic_seconds() + session.wait_for_worker_s;
  std::unique_ptr<WorkerEnd> end;
  while (!given_up()) {
    const double left = until - monotonic_seconds();
    const std::string error = try_to_join(session, std::clamp(left, kBetweenTries, kTrySeconds), end);
    if (end) return end;
    if (left <= 0)
      fail(ExitCode::interrupted, "worker ", session.launch.rank, ": no coordinator for ", session.wait_for_worker_s,
           " s (workers.wait_for_worker): ", error, "; what it holds stays: start it again");
    sleep_seconds(kBetweenTries);
  }
  return nullptr;
}

namespace {

void wait_before_joining(double seconds, const std::function<bool()>& given_up) {
  for (const double until_s = monotonic_seconds() + seconds; monotonic_seconds() < until_s && !given_up();)
    sleep_seconds(kBetweenTries);
}

}  // namespace

WorkerEnding live_as_worker(const WorkerLifeParts& parts, std::unique_ptr<WorkerEnd> end) {
  RunObjects& objects = parts.objects;
  const ExperimentConfig& config = objects.bench->config();
  LocalTrainer trainer({*objects.executor, *objects.host, *objects.shared, *objects.pool, *objects.frozen,
                        config.search.metric, config.execute.active_trials, parts.event});
  // What is under way ends before the trainer goes.
  const std::shared_ptr<void> stop(nullptr, [&](void*) { objects.executor->stop(); });
  double pause_s = kBetweenTries;
  const auto join_again = [&] {
    auto again = join(parts.session, parts.given_up);
    if (again) parts.event(text::cat("joined again as ", to_string(again->id())));
    return again;
  };
  for (end = with_links(std::move(end), config); end; end = with_links(join_again(), config)) {
    const double begin_s = monotonic_seconds();
    {
      Worker worker({*end, trainer, *objects.shared, *objects.host, *objects.book, parts.resolve, parts.event,
                     parts.interrupted, &objects.trace});
      const WorkerEnding ending = worker.run();
      if (ending != WorkerEnding::lost) {
        if (parts.before_leaving) parts.before_leaving();
        return ending;
      }
      parts.event(text::cat("out of the experiment: ", worker.reason(), "; it joins again when it can"));
    }  // its hops leave the end before that goes
    end.reset();
    const bool short_life = monotonic_seconds() - begin_s < kShortLifeSeconds;
    pause_s = short_life ? std::min(2 * pause_s, kBetweenLivesMax) : kBetweenTries;
    wait_before_joining(pause_s, parts.given_up);
  }
  return WorkerEnding::lost;
}

}  // namespace hopyard
