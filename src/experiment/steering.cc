#include "experiment/steering.h"

#include <algorithm>

#include "base/clock.h"
#include "base/failure.h"

namespace hopyard {

namespace {

using Verb = OperationVerb;
using Visit = SteeredTrial::Visit;

constexpr std::size_t kIdsShown = 12;

bool is_clone(const Operation& operation) { return operation.request.verb == Verb::clone && !operation.clone.empty(); }

template <class... Parts>
[[noreturn]] void refuse(const Parts&... parts) {
  fail(ExitCode::usage, parts...);
}

std::string visit_name(const SteeredTrial& trial, std::uint32_t visit) {
  return text::cat("epoch ", visit / trial.visits_per_epoch + 1, ", visit ", visit % trial.visits_per_epoch + 1, " of ",
                   trial.visits_per_epoch);
}

const SteeredTrial& find_trial(const SteeringView& view, const std::string& id) {
  std::vector<std::string> ids;
  for (const auto& trial : view.trials) {
    if (trial.spec.id == id) return trial;
    ids.push_back(trial.spec.id);
  }
  const std::string near = text::nearest(id, ids);
  if (ids.size() > kIdsShown) ids.resize(kIdsShown), ids.push_back("…");
  refuse("--trial: there is no trial '", id, "'", near.empty() ? "" : "; did you mean '" + near + "'?",
         ids.empty() ? "; the search has asked for none yet" : "; there are " + text::join(ids, ", "));
}

const SteeredTrial& needed_trial(const SteeringView& view, const OperationRequest& request, const char* hint) {
  if (request.trial.empty()) refuse("--trial is missing: ", hint);
  return find_trial(view, request.trial);
}

/// The first boundary that has not passed: where the visit under way ends, or where the trial stands.
std::uint32_t next_boundary(const SteeredTrial& trial) {
  return trial.visits_done + (trial.visit == Visit::none ? 0 : 1);
}

std::string boundary_text(const SteeredTrial& trial) {
  if (trial.visit == Visit::none)
    return trial.ended() || trial.visits_done >= trial.visits_total()
               ? "at once"
               : text::cat("at once, before ", visit_name(trial, trial.visits_done));
  return text::cat("at the end of the visit under way (", visit_name(trial, trial.visits_done), ")");
}

/// "t01 was stopped by kim at …: overfits" for a trial that has ended, however it did.
std::string how_it_ended(const SteeringView& view, const SteeredTrial& trial) {
  const Operation* stop = newest(view.operations, trial.spec.id, {Verb::stop, Verb::resume});
  if (trial.state == TrialState::stopped && stop != nullptr && stop->request.verb == Verb::stop)
    return text::cat(trial.spec.id, " was stopped already, ", signature(*stop));
  return text::cat(trial.spec.id, " has ended: ", to_string(trial.state),
                   trial.reason.empty() ? "" : ", " + trial.reason);
}

void refuse_ended(const SteeringView& view, const SteeredTrial& trial, const char* way_out) {
  if (trial.ended()) refuse(how_it_ended(view, trial), way_out);
  const Operation* stop = newest(view.operations, trial.spec.id, {Verb::stop, Verb::resume});
  if (stop != nullptr && stop->request.verb == Verb::stop && !stop->outcome)
    refuse(trial.spec.id, " is being stopped already, ", signature(*stop));
}

void decide_stop(const SteeringView& view, const OperationRequest& request, Decision& decision) {
  const auto& trial =
      needed_trial(view, request, "stop ends one trial; to hold the whole experiment, `hopyard pause DIR`");
  refuse_ended(view, trial, "");
  // What is computed stays: a visit that is being committed is; one that is being trained is dropped.
  const bool committing = trial.visit == Visit::committing;
  decision.operation.at_visits = trial.visits_done + (committing ? 1 : 0);
  if (decision.operation.at_visits >= trial.visits_total())
    refuse(trial.spec.id, " is at its end: its last visit is being committed");
  const std::uint32_t kept = decision.operation.at_visits;
  decision.boundary = text::cat(trial.visit == Visit::training ? "at the next task"
                                : committing                   ? "when the visit that has just ended is committed"
                                                               : "at once",
                                "; ", kept, " of ", trial.visits_total(), " visits stay",
                                trial.visit == Visit::training ? ", the one under way is dropped" : "");
}

void decide_resume(const SteeringView& view, const OperationRequest& request, Decision& decision) {
  const auto& trial = needed_trial(
      view, request, "resume lets one stopped trial go on; a paused experiment goes on with `hopyard continue DIR`");
  if (trial.state != TrialState::stopped) {
    if (!trial.ended()) refuse_ended(view, trial, "");
    if (trial.ended()) refuse(how_it_ended(view, trial), "; only a stopped trial can be resumed");
    refuse(trial.spec.id, " is ", to_string(trial.state), ", not stopped",
           trial.held ? text::cat("; it is paused: `hopyard continue DIR --trial=", trial.spec.id, "`") : "");
  }
  decision.operation.at_visits = trial.visits_done;
  decision.boundary = boundary_text(trial);
  if (trial.visits_done < trial.visits_total())
    decision.boundary = text::cat("at once, from ", visit_name(trial, trial.visits_done));
}

void note_before(const SteeringView& view, const SteeredTrial& trial, std::uint32_t visits, Decision& decision) {
  const auto before = settings_after(trial.spec, view.operations, visits);
  for (const auto& change : decision.operation.request.changes) {
    const auto known =
        std::find_if(before.begin(), before.end(), [&](const auto& one) { return one.path == change.path; });
    if (known != before.end() && to_string(known->value) == to_string(change.value))
      refuse("--set: ", change.path, " of ", trial.spec.id, " is ", to_string(change.value), " already");
    decision.before.push_back(known == before.end() ? "" : to_string(known->value));
  }
}

void check_changes(const OperationRequest& request, bool in_flight, bool epochs_too, const char* why) {
  if (request.changes.empty()) refuse("--set is missing: ", to_string(request.verb), " needs PATH=VALUE");
  std::vector<std::string> seen;
  for (const auto& change : request.changes) {
    if (std::find(seen.begin(), seen.end(), change.path) != seen.end())
      refuse("--set: ", change.path, " is given twice");
    seen.push_back(change.path);
    if (!change.path.starts_with("model.") && !change.path.starts_with("train."))
      refuse("--set: ", change.path, " is the experiment's; a trial has values of its own of model and train only");
    if (!in_flight || changes_in_flight(change.path) || (epochs_too && change.path == "train.epochs")) continue;
    refuse("--set: ", change.path, " cannot change ", why, "; these can: ", text::join(paths_in_flight(), ", "),
           epochs_too ? ", train.epochs" : "");
  }
}

void decide_set(const SteeringView& view, const OperationRequest& request, Decision& decision) {
  const auto& trial = needed_trial(view, request, "set changes values of one trial; `hopyard set DIR --trial=ID`");
  refuse_ended(view, trial, "; a clone may go on with other values: `hopyard clone`");
  if (group_of(trial.spec) != trial.spec.id)
    refuse(trial.spec.id, " is one of group ", group_of(trial.spec),
           ", whose members differ by seeds and rows alone; `hopyard clone` makes a trial with other values");
  check_changes(request, true, false, "in flight");
  decision.operation.at_visits = next_boundary(trial);
  if (decision.operation.at_visits >= trial.visits_total())
    refuse(trial.spec.id, " is in its last visit: nothing would be trained with another value");
  note_before(view, trial, decision.operation.at_visits, decision);
  decision.boundary = boundary_text(trial);
}

/// The epoch at whose end a warm clone can begin.
std::uint32_t epoch_for_clone(const SteeringView& view, const SteeredTrial& parent) {
  const std::uint32_t per_epoch = parent.visits_per_epoch;
  if (parent.ended()) {
    if (parent.visits_done > 0 && parent.visits_done % per_epoch == 0) return parent.visits_done / per_epoch;
    refuse("--warm: ", how_it_ended(view, parent), " after ", parent.visits_done, " of ", parent.visits_total(),
           " visits, and a warm clone begins at the end of an epoch; resume it, or leave out --warm");
  }
  return std::max(1u, (next_boundary(parent) + per_epoch - 1) / per_epoch);
}

void decide_clone(const SteeringView& view, const OperationRequest& request, Decision& decision) {
  const auto& parent = needed_trial(view, request, "clone makes a trial from another one; name that one");
  check_changes(request, request.warm, true, "between a trial and its warm clone, which takes over its bytes");
  Operation& operation = decision.operation;
  operation.at_visits = parent.visits_done;
  decision.boundary = "at once, from the beginning";
  if (request.warm) {
    const std::uint32_t epoch = epoch_for_clone(view, parent);
    operation.at_visits = epoch * parent.visits_per_epoch;
    decision.boundary = text::cat(operation.at_visits == parent.visits_done && parent.visit == Visit::none
                                      ? "at once, from the state of "
                                      : "at an epoch's end, from the state of ",
                                  parent.spec.id, " after epoch ", epoch);
  }
  note_before(view, parent, operation.at_visits, decision);
  const auto clones = std::count_if(view.operations.begin(), view.operations.end(), is_clone);
  operation.clone = text::cat("c", clones < 10 ? "0" : "", clones);
  decision.clone = clone_of(parent.spec, operation, view.operations, parent.visits_per_epoch, view.seed);
}

void decide_pause(const SteeringView& view, const OperationRequest& request, Decision& decision) {
  const bool pause = request.verb == Verb::pause;
  const Operation* last = newest(view.operations, request.trial, {Verb::pause, Verb::go_on});
  const std::string whom = request.trial.empty() ? "the experiment" : request.trial;
  bool held = view.paused;
  if (!request.trial.empty()) {
    const auto& trial = find_trial(view, request.trial);
    refuse_ended(view, trial, "");
    held = trial.held;
    decision.operation.at_visits = next_boundary(trial);
    decision.boundary = boundary_text(trial);
  } else {
    const bool busy = std::any_of(view.trials.begin(), view.trials.end(),
                                  [](const auto& trial) { return trial.visit != Visit::none; });
    decision.boundary = pause && busy ? "at the end of the visits under way; nothing new is started" : "at once";
  }
  if (pause && held) refuse(whom, " is paused already", last == nullptr ? "" : ", " + signature(*last));
  if (!pause && !held) refuse(whom, " is not paused");
  if (!pause && view.paused && !request.trial.empty())
    decision.boundary = "when the whole experiment goes on";
  else if (!pause)
    decision.boundary = "at once";
}

}  // namespace

Decision decide(const SteeringView& view, const OperationRequest& request) {
  Decision decision;
  decision.operation.number = view.operations.empty() ? 1 : view.operations.back().number + 1;
  decision.operation.request = request;
  if (request.verb != Verb::set && request.verb != Verb::clone && !request.changes.empty())
    refuse("--set: ", to_string(request.verb), " changes no values; `hopyard set` does");
  if (request.warm && request.verb != Verb::clone) refuse("--warm: belongs to clone");
  switch (request.verb) {
    case Verb::stop:
      decide_stop(view, request, decision);
      break;
    case Verb::resume:
      decide_resume(view, request, decision);
      break;
    case Verb::clone:
      decide_clone(view, request, decision);
      break;
    case Verb::set:
      decide_set(view, request, decision);
      break;
    case Verb::pause:
    case Verb::go_on:
      decide_pause(view, request, decision);
      break;
    case Verb::ask:
    case Verb::finish:
      require(false, to_string(request.verb), " is decided where the search is");
  }
  return decision;
}

TrialSpec clone_of(const TrialSpec& parent, const Operation& clone, const std::vector<Operation>& operations,
                   std::uint32_t visits_per_epoch, std::uint64_t experiment_seed) {
  TrialSpec spec;
  spec.id = clone.clone;
  spec.index = kFirstCloneIndex +
               static_cast<std::uint32_t>(std::count_if(operations.begin(), operations.end(), [&](const auto& known) {
                 return is_clone(known) && known.number < clone.number;
               }));
  spec.settings =
      with_changes(settings_after(parent, operations, clone.at_visits, clone.number), clone.request.changes);
  spec.seed = clone.request.warm ? parent.seed : trial_seed(experiment_seed, spec.settings);
  spec.lineage = Lineage{parent.id, clone.request.warm ? clone.at_visits / visits_per_epoch : 0};
  if (!parent.replicate) return spec;
  // On the same rows, in the same order; a recipe of its own.
  spec.replicate = parent.replicate;
  spec.replicate->group = spec.id;
  if (!clone.request.warm) spec.seed = replicate_seed(spec.seed, parent.replicate->seed);
  return spec;
}

std::string signature(const Operation& operation) {
  const auto& request = operation.request;
  return text::cat("by ", request.author, " at ", format_wall_time(operation.time_s),
                   request.reason.empty() ? "" : ": " + request.reason);
}

std::string stop_reason(const OperationRequest& request) {
  return text::cat("by ", request.author, request.reason.empty() ? "" : ": " + request.reason);
}

const Operation* newest(const std::vector<Operation>& operations, const std::string& trial,
                        std::initializer_list<OperationVerb> verbs) {
  for (auto one = operations.rbegin(); one != operations.rend(); ++one)
    if (one->request.trial == trial && !one->refused() &&
        std::find(verbs.begin(), verbs.end(), one->request.verb) != verbs.end())
      return &*one;
  return nullptr;
}

std::vector<TrialRecord> for_search(const std::vector<TrialRecord>& records, const std::vector<Operation>& operations,
                                    std::uint32_t visits_per_epoch) {
  std::vector<TrialRecord> seen;
  for (const auto& record : records) {
    if (record.spec.index >= kFirstCloneIndex) continue;
    seen.push_back(record);
    for (const auto& operation : operations) {
      if (operation.request.verb != Verb::resume || operation.request.trial != record.spec.id || operation.refused())
        continue;
      std::erase_if(seen.back().scores,
                    [&](const auto& score) { return score.epoch.visits(visits_per_epoch) > operation.at_visits; });
      seen.back().state = TrialState::stopped;
      break;
    }
  }
  return seen;
}

}  // namespace hopyard
