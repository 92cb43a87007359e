#include "runtime/recorded_run.h"

#include <algorithm>
#include <functional>

#include "base/failure.h"
#include "runtime/recorded_visits.h"
#include "runtime/run_objects.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_record.h"
#include "runtime/trial_rotations.h"

namespace hopyard {

namespace {

constexpr std::size_t kConfigBytesMax = 1 << 20;

ExperimentConfig config_with(const RunPaths& paths, const Overrides& overrides) {
  const ExperimentConfig config = recorded_config(paths);
  if (overrides.empty()) return config;
  for (const auto& [path, value] : overrides)
    if (!path.starts_with("resources.") && !path.starts_with("execute."))
      fail(ExitCode::usage, "--set: ", path,
           " would change what was recorded; here only resources and execute may "
           "differ");
  return parse_config(read_file(paths.config(), kConfigBytesMax), paths.config(), overrides);
}

const TrialRecord& record_of(const std::vector<TrialRecord>& records, const std::string& id) {
  const auto found = std::find_if(records.begin(), records.end(), [&](const auto& one) { return one.spec.id == id; });
  require(found != records.end(), "the journal names trial ", id, ", which it does not know");
  return *found;
}

std::string place_of(const VisitDigest& visit) {
  return text::cat("epoch ", visit.epoch + 1, ", sub-epoch ", visit.visit + 1);
}

std::optional<std::string> score_difference(const TrialRecord& before, const TrialRecord& now) {
  for (const auto& score : now.scores) {
    const auto same_epoch = [&](const auto& one) { return one.epoch == score.epoch; };
    const auto recorded = std::find_if(before.scores.begin(), before.scores.end(), same_epoch);
    if (recorded == before.scores.end() || *recorded == score) continue;
    return text::cat("its score of epoch ", score.epoch, " is ", to_string(SettingValue(score.metric)),
                     ", recorded was ", to_string(SettingValue(recorded->metric)));
  }
  return std::nullopt;
}

std::optional<std::string> end_difference(const TrialRecord& before, const TrialRecord& now) {
  if (before.state == now.state || before.state <= TrialState::active) return std::nullopt;
  return text::cat("it is ", to_string(now.state), now.reason.empty() ? "" : " (" + now.reason + ")", ", recorded was ",
                   to_string(before.state), before.reason.empty() ? "" : " (" + before.reason + ")");
}

}  // namespace

std::unique_ptr<Journal> journal_of(const RunPaths& paths) {
  recorded_config(paths);
  return open_journal(paths.journal(), true);
}

const TrialRecord& find_trial(const std::vector<TrialRecord>& records, const std::string& id, const RunPaths& paths) {
  std::vector<std::string> known;
  for (const auto& record : records) {
    if (record.spec.id == id) return record;
    known.push_back(record.spec.id);
  }
  fail(ExitCode::usage, "--trial: ", paths.root, " has no trial '", id, "'; it has ", text::join(known, ", "));
}

RecordedRun::RecordedRun(const std::string& directory, const Overrides& overrides)
    : paths(directory),
      config(config_with(paths, overrides)),
      journal(journal_of(paths)),
      record(open_record(paths.journal(), true)),
      trials(journal->trials()),
      fingerprint(journal->fact(kFingerprintFact).value_or("")) {
  take_up_partitions(config, *journal, paths.journal());
  take_up_row_groups(config, *journal, paths.journal());
}

Epochs RecordedRun::epochs_begun(const TrialRecord& record) const {
  if (!record.last) return 0;
  return record.last->score ? record.last->score->epoch : record.last->epoch + 1;
}

std::vector<ReplayStep> recorded_steps(const RecordedRun& run) {
  std::vector<ReplayStep> steps;
  for (const auto& decision : run.journal->decisions()) {
    ReplayStep step;
    if (decision.stop_reason)
      step.stop = TrialStop{decision.trial, *decision.stop_reason};
    else
      step.order = {record_of(run.trials, decision.trial).spec, decision.until_epoch};
    steps.push_back(std::move(step));
  }
  return steps;
}

std::vector<ReplayStep> steps_to(const RecordedRun& run, const TrialRecord& trial) {
  const std::uint32_t inherited = trial.spec.lineage ? trial.spec.lineage->epochs : 0;
  const Epochs most = resolve_trial(run.config, trial.spec).train.epochs;
  Epochs until = run.epochs_begun(trial);
  if (trial.state == TrialState::failed) until = std::min(until.next_whole(), most);  // it failed in what came next
  if (until <= inherited)
    fail(ExitCode::usage, "--trial: '", trial.spec.id, "' has trained nothing that could be done again");
  std::vector<ReplayStep> steps{{{trial.spec, until}, std::nullopt}};
  for (std::optional<Lineage> from = trial.spec.lineage; from && from->epochs > 0;) {
    const TrialSpec& parent = record_of(run.trials, from->parent).spec;
    steps.insert(steps.begin(), {{parent, from->epochs}, std::nullopt});
    from = parent.lineage;
  }
  for (std::size_t i = 0; i < steps.size(); ++i) steps[i].order.trial.index = static_cast<std::uint32_t>(i);
  return steps;
}

namespace {

void repeat(const RecordedRun& run, Journal& journal, const std::function<bool(const OperationRequest&)>& wanted) {
  const auto known = journal.operations();
  for (Operation operation : run.journal->operations()) {
    const bool copied = !known.empty() && operation.number <= known.back().number;  // before a crash
    if (copied || operation.refused() || !wanted(operation.request)) continue;
    operation.outcome.reset();
    journal.add_operation(operation);
  }
}

}  // namespace

void repeat_operations(const RecordedRun& run, Journal& journal) {
  repeat(run, journal, [](const OperationRequest& request) {
    using Verb = OperationVerb;
    const auto none = {Verb::pause, Verb::go_on, Verb::ask, Verb::finish};
    return std::find(none.begin(), none.end(), request.verb) == none.end();
  });
}

void repeat_settings(const RecordedRun& run, const std::vector<ReplayStep>& steps, Journal& journal) {
  repeat(run, journal, [&](const OperationRequest& request) {
    const auto of_this = [&](const ReplayStep& step) { return step.order.trial.id == request.trial; };
    return request.verb == OperationVerb::set && std::any_of(steps.begin(), steps.end(), of_this);
  });
}

void repeat_orders(const RecordedRun& run, Journal& journal) {
  if (!run.config.teams.exact)
    fail(ExitCode::usage, run.paths.root,
         ": its workers summed gradients with bits of their own (train.data_parallel.sum), and only what is ordered ",
         "can be done again");
  const std::string where = run.paths.journal();
  keep_rotations(journal, recorded_rotations(*run.journal, where));
  if (run.config.data.order == DataSpec::Order::free)
    keep_orders_to_repeat(journal, visited_by(*run.journal, *run.record, run.config.data.partitions, where));
}

TrialComparison compare_trial(const RecordedRun& before, const TrialRecord& trial, const RunRecord& now,
                              const std::vector<TrialRecord>& again, bool whole) {
  const std::string& id = trial.spec.id;
  TrialComparison comparison{id, 0, "", std::nullopt};
  const auto found = std::find_if(again.begin(), again.end(), [&](const auto& one) { return one.spec.id == id; });
  if (found == again.end()) {
    comparison.difference = "it was not trained again";
    return comparison;
  }
  const auto visits = now.visit_digests(id);
  for (const VisitDigest& visit : before.record->visit_digests(id)) {
    const auto same_visit = [&](const auto& one) { return one.epoch == visit.epoch && one.visit == visit.visit; };
    const auto other = std::find_if(visits.begin(), visits.end(), same_visit);
    if (other == visits.end()) {
      if (whole) comparison.difference = text::cat("it has no ", place_of(visit));
      break;
    }
    if (other->digest != visit.digest) {
      comparison.difference =
          text::cat("after ", place_of(visit), " its digest is ", other->digest, ", recorded was ", visit.digest);
      return comparison;
    }
    ++comparison.visits;
    comparison.digest = visit.digest;
  }
  if (!comparison.difference) comparison.difference = score_difference(trial, *found);
  if (!comparison.difference && whole) comparison.difference = end_difference(trial, *found);
  return comparison;
}

}  // namespace hopyard
