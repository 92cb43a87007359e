#include "runtime/worker_action.h"

#include <filesystem>
#include <iostream>
#include <mutex>

#include "experiment/experiment.h"
#include "report/trace_json.h"
#include "runtime/request_channel.h"
#include "runtime/sqlite_journal.h"
#include "runtime/training_data.h"
#include "runtime/worker_session.h"

namespace hopyard {

namespace {

/// As far as the run directory can be seen from here.
bool has_ended(const RunPaths& paths, const ExperimentConfig& config) try {
  return std::filesystem::exists(paths.journal()) && is_finished(*open_journal(paths.journal(), true), config) &&
         queued_requests(paths.root).empty();
} catch (const Failure&) {
  return false;  // it is being made
}

/// Lines of several threads, each whole.
class Events {
 public:
  explicit Events(std::uint32_t rank) : front_(text::cat("worker ", rank, ": ")) {}
  void operator()(const std::string& line) {
    const std::lock_guard lock(mutex_);
    std::cerr << front_ + line + "\n" << std::flush;
  }

 private:
  const std::string front_;
  std::mutex mutex_;  // guards standard error
};

}  // namespace

bool is_finished(const Journal& journal, const ExperimentConfig& config) {
  return journal.fact("finished") && !has_work(journal, resources_json(config));
}

namespace {

ExitCode live(const RunRequest& request, const ExperimentConfig& config, const std::string& where,
              const LaunchSpec& launch) {
  const std::atomic<bool>& interrupted = catch_interrupts();
  const RunPaths run(where);
  const bool fresh = request.fresh && launch.restarts == 0;
  bool new_run = fresh;  // what is there is moved aside
  const auto given_up = [&] { return interrupted || (!new_run && has_ended(run, config)); };
  check_workers(config, launch.world_size);
  const WorkerSession session(config, launch, run);
  Events events(launch.rank);
  const auto event = [&](const std::string& line) { events(line); };

  // Else who uses it, a healthy worker of this rank, would have to give way to one that then cannot have it.
  if (!fresh) RunDirectory::require_free(run.of_worker(launch.rank));
  auto end = join(session, given_up);
  new_run = false;
  if (!end) return interrupted ? ExitCode::interrupted : ExitCode::done;
  event(text::cat("joined as ", to_string(end->id())));
  std::unique_ptr<RunObjects> made;
  try {
    made = std::make_unique<RunObjects>(config, RunDirectory::open(config, run.of_worker(launch.rank).root, fresh),
                                        std::nullopt, session.place());
    made->bench->plan_all();
    made->make_engine();
  } catch (const Failure& failure) {
    end->send(encode(ToCoordinator(Broken{failure.what(), failure.code()})));
    throw;
  }
  RunObjects& objects = *made;
  const auto resolve = [&](const TrialSpec& spec, std::uint32_t number) {
    return objects.bench->resolve(spec, number);
  };
  const auto keep_trace = [&] {
    objects.end_card_records();
    write_trace_file(objects.directory.paths().trace(), objects.trace, TraceWorker{launch.rank});
  };
  const WorkerEnding ending =
      live_as_worker({session, objects, resolve, event, interrupted, given_up, keep_trace}, std::move(end));
  if (ending == WorkerEnding::finished || (ending == WorkerEnding::lost && !interrupted)) return ExitCode::done;
  event("interrupted; what is committed stays");
  return ExitCode::interrupted;
}

}  // namespace

ExitCode run_worker(const RunRequest& request, const ExperimentConfig& config, const std::string& where,
                    const LaunchSpec& launch) try {
  return live(request, config, where, launch);
} catch (const Failure& failure) {
  fail_as_worker(launch.rank, failure);
}

void fail_as_worker(std::uint32_t rank, const Failure& failure) {
  const std::string sentence = failure.what(), name = text::cat("worker ", rank);
  fail(failure.code(), sentence.starts_with(name) ? "" : name + ": ", sentence);
}

}  // namespace hopyard
