// The verbs with which a person watches and steers an experiment: they ask the process that runs it, or leave a request
// for the next one.
#include <filesystem>
#include <iostream>

#include "base/clock.h"
#include "runtime/actions.h"
#include "runtime/sqlite_journal.h"
#include "runtime/steering_service.h"

namespace hopyard {

namespace {

constexpr double kAnswerSeconds = 30;  // most take milliseconds; a loop that reads a large state takes longer
constexpr double kTopSeconds = 1;

/// Refuses what can be refused before anything runs, unless other requests come first and may change that.
OperationAnswer decide_beforehand(const RunPaths& paths, const ExperimentConfig& config,
                                  const OperationRequest& request) {
  OperationAnswer answer;
  answer.operation = Operation{};
  answer.operation->request = request;
  const auto journal = std::filesystem::exists(paths.journal()) ? open_journal(paths.journal(), true) : nullptr;
  const SteeringView view = journal ? steering_from_journal(config, *journal) : SteeringView{};
  for (const auto& other : queued_operations(paths, view.operations)) {
    if (other.trial != request.trial) continue;
    const bool same = other.verb == request.verb && other.changes == request.changes && other.warm == request.warm;
    if (same && request.verb != OperationVerb::clone)
      fail(ExitCode::usage, operation_text(request), " is asked for already, by ", other.author,
           ": it waits for the next run");
    return answer;
  }
  if (view.trials.empty()) return answer;
  Decision decision = decide(view, request);
  if (request.verb == OperationVerb::set || decision.clone) {
    TrialSpec spec = decision.clone.value_or(TrialSpec{});
    if (!decision.clone) {
      for (const auto& trial : view.trials)
        if (trial.spec.id == request.trial) spec = trial.spec;
      spec.settings = with_changes(spec.settings, request.changes);
    }
    resolve_trial(config, spec);  // refuses values that no trial may have
  }
  answer.operation = std::move(decision.operation);
  answer.operation->clone.clear();  // named when it is made
  answer.before = std::move(decision.before);
  return answer;
}

StatusView status_of(const std::string& directory) {
  const RunPaths paths(directory);
  const ExperimentConfig config = recorded_config(paths);
  if (auto answer = ask_owner(directory, {{"verb", "status"}}, kAnswerSeconds))
    return accepted(std::move(*answer), directory).at("status").get<StatusView>();
  if (std::filesystem::exists(paths.journal()))
    return view_from_journal(paths, config, *open_journal(paths.journal(), true));
  StatusView view;
  view.name = config.name;
  return view;
}

}  // namespace

ExitCode steer_experiment(const SteerRequest& request) {
  const RunPaths paths(request.directory);
  const ExperimentConfig config = recorded_config(paths);
  ChannelRequest asked;
  asked.verb = request.verb;
  asked.arguments = operation_arguments({request.trial, request.set, request.warm, request.reason, 0});
  const OperationRequest operation = operation_request(asked);  // refuses here what no run would take
  const Json wire{{"verb", asked.verb}, {"arguments", asked.arguments}};
  if (auto answer = ask_owner(request.directory, wire, kAnswerSeconds)) {
    const Json taken = accepted(std::move(*answer), request.directory);
    for (const auto& line : taken.at("lines")) std::cout << line.get<std::string>() << '\n';
    return ExitCode::done;
  }
  OperationAnswer answer = decide_beforehand(paths, config, operation);
  queue_request(request.directory, wire);
  answer.boundary = "when a run goes on here: no process trains it now, and the request is queued";
  for (const auto& line : describe_answer(config, answer)) std::cout << line << '\n';
  return ExitCode::done;
}

ExitCode print_status(const std::string& directory, TableFormat format) {
  std::cout << format_status(status_of(directory), format);
  return ExitCode::done;
}

ExitCode show_top(const std::string& directory, std::uint32_t count) {
  const auto size = terminal_size(1);
  ProgressView screen(std::cout, [] { return terminal_size(1); });
  const std::uint32_t screens = count > 0 ? count : size ? UINT32_MAX : 1;
  for (std::uint32_t i = 0; i < screens; ++i) {
    if (i > 0) sleep_seconds(kTopSeconds);
    const StatusView view = status_of(directory);
    if (size)
      screen.show(view.progress);
    else
      std::cout << (i > 0 ? "\n" : "") << format_status(view, TableFormat::table) << std::flush;
    if (!view.running) break;  // it will not change by itself
  }
  return ExitCode::done;
}

}  // namespace hopyard
