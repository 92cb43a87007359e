// Carrying out what people ask for: each operation is in the journal before it takes effect, and takes effect at its
// boundary, also after a crash.
#include <algorithm>
#include <set>
#include <tuple>
#include <utility>

#include "base/clock.h"
#include "base/failure.h"
#include "experiment/experiment.h"

namespace hopyard {

using Verb = OperationVerb;

SteeringView Experiment::view() const {
  SteeringView view;
  for (const auto& entry : entries_) {
    SteeredTrial trial;
    trial.spec = entry->status.spec;
    trial.state = entry->status.state;
    trial.reason = entry->status.reason;
    trial.visits_done = entry->status.visits_done;
    trial.visits_per_epoch = entry->status.visits_per_epoch;
    trial.epochs = entry->status.epochs;
    if (entry->under_way)
      trial.visit = entry->committing ? SteeredTrial::Visit::committing : SteeredTrial::Visit::training;
    trial.held = entry->status.held;
    view.trials.push_back(std::move(trial));
  }
  view.paused = paused_;
  view.operations = operations_;
  view.seed = parts_.seed;
  return view;
}

OperationAnswer Experiment::steer(const OperationRequest& request, bool keep_refusal) {
  take_stops();  // a trial that the search has just stopped is none to be stopped again
  const bool is_request = request.verb == Verb::ask || request.verb == Verb::finish;
  OperationAnswer answer;
  const auto known = std::find_if(operations_.begin(), operations_.end(),
                                  [&](const auto& one) { return one.request.token == request.token; });
  if (known != operations_.end()) {  // before a crash
    answer.operation = *known;
    answer.refusal = known->refused() ? *known->outcome : "";
    return answer;
  }
  Decision decision;
  decision.operation.request = request;
  decision.operation.number = operations_.empty() ? 1 : operations_.back().number + 1;
  try {
    decision = is_request ? decide_request(request) : decide(view(), request);
    if (!is_request) check_possible(decision);
  } catch (const Failure& refusal) {
    if (refusal.code() != ExitCode::usage && refusal.code() != ExitCode::capacity) throw;
    answer.refusal = refusal.what();
    answer.refusal_code = refusal.code();
    if (!keep_refusal) return answer;
    decision.operation.outcome = answer.refusal;
    decision.operation.clone.clear();
  }
  note(decision);
  if (answer.refusal.empty()) {
    hand_over(decision.operation);
    if (is_request) ask();  // so that the trial is there when the answer is
    apply_operations();
  }
  answer.operation = decision.operation;
  answer.boundary = std::move(decision.boundary);
  answer.before = std::move(decision.before);
  answer.made = std::move(decision.clone);
  return answer;
}

/// Everything that could make it fail later, but for what happens until then.
void Experiment::check_possible(const Decision& decision) {
  const OperationRequest& request = decision.operation.request;
  if (request.verb == Verb::set) {
    TrialSpec spec = entry_of(request.trial).status.spec;
    spec.settings = with_changes(settings_after(spec, operations_, decision.operation.at_visits), request.changes);
    parts_.resolve(spec, spec.index);
  }
  if (!decision.clone) return;
  const TrialSetup setup = parts_.resolve(*decision.clone, decision.clone->index);
  if (request.warm && decision.clone->lineage->epochs >= setup.train.epochs)
    fail(ExitCode::usage, "--warm: the clone would begin after epoch ", decision.clone->lineage->epochs, " of ",
         setup.train.epochs,
         ", with nothing left to train; give it more with --set train.epochs=N, or leave out --warm");
  check_room(setup, "a clone");
}

void Experiment::check_room(const TrialSetup& setup, const char* what) const {
  const Bytes need = committed_bytes(setup) + trial_disk_bytes(setup);
  Bytes taken = 0;  // by those that have written nothing yet
  for (const auto& entry : entries_)
    if (!entry->ended() && entry->digest.empty() && entry->refusal.empty()) taken += trial_disk_bytes(entry->setup);
  const Bytes left = parts_.trainer.disk_room(), room = left - std::min(left, taken);
  if (need > room)
    fail(ExitCode::capacity, "resources.disk.capacity: ", what, " needs ", need, " bytes (", text::format_bytes(need),
         ") for its state and a commit, and ", room, " (", text::format_bytes(room),
         ") are left beside the trials that are there");
}

void Experiment::note(Decision& decision) {
  Operation& operation = decision.operation;
  operation.time_s = wall_seconds();
  parts_.journal.add_operation(operation);
  operations_.push_back(operation);
  const OperationRequest& request = operation.request;
  parts_.event(text::cat(request.trial.empty() ? "" : request.trial + ": ", to_string(request.verb), " ",
                         signature(operation), operation.refused() ? "; refused: " + *operation.outcome : ""));
}

void Experiment::take_up_operations() {
  for (const auto& operation : operations_) {
    if (operation.refused() || !operation.outcome) continue;  // those without an outcome are applied in the loop
    const auto& request = operation.request;
    if (request.verb == Verb::pause || request.verb == Verb::go_on || request.verb == Verb::resume) apply(operation);
  }
  if (paused_)
    parts_.event(text::cat("the experiment is paused ", signature(*newest(operations_, "", {Verb::pause, Verb::go_on})),
                           "; `hopyard continue` lets it go on"));
}

void Experiment::apply_operations() {
  std::set<std::string> stopping;  // trials with a stop or resume that waits: the next of these comes after it
  for (std::size_t i = 0; i < operations_.size(); ++i) {
    if (operations_[i].outcome) continue;
    const auto& [verb, trial] = std::tie(operations_[i].request.verb, operations_[i].request.trial);
    const bool ends_or_goes_on = verb == Verb::stop || verb == Verb::resume;
    if (ends_or_goes_on && stopping.contains(trial)) continue;
    if (!apply(operations_[i]) && ends_or_goes_on) stopping.insert(trial);
  }
  begin_waiting_clones();
}

bool Experiment::apply(const Operation& operation) {
  const auto& request = operation.request;
  Entry* entry = find_entry(request.trial);
  if (entry == nullptr && !request.trial.empty()) return false;  // the search has not asked for it yet
  switch (request.verb) {
    case Verb::stop:
      return apply_stop(*entry, operation);
    case Verb::resume:
      return apply_resume(*entry, operation);
    case Verb::set:
      return apply_set(*entry, operation);
    case Verb::clone:
      return apply_clone(operation);
    case Verb::pause:
    case Verb::go_on:
      (entry == nullptr ? paused_ : entry->status.held) = request.verb == Verb::pause;
      settle(operation, "");
      return true;
    case Verb::ask:
    case Verb::finish:  // the search has heard of it
      settle(operation, "");
      return true;
  }
  return false;
}

bool Experiment::apply_stop(Entry& entry, const Operation& operation) {
  if (entry.status.state == TrialState::stopped) return settle(operation, ""), true;  // before a crash
  if (entry.ended()) return settle(operation, text::cat(entry.status.spec.id, " had ended before")), true;
  if (entry.status.visits_done < operation.at_visits || entry.committing) return false;
  if (entry.under_way) {
    parts_.trainer.abandon(entry);
    return false;
  }
  parts_.trainer.release(entry);
  end(entry, TrialState::stopped, stop_reason(operation.request));
  settle(operation, "");
  return true;
}

bool Experiment::apply_resume(Entry& entry, const Operation& operation) {
  const bool first = !operation.outcome;  // else the journal is taken up
  if (first && entry.status.visits_done < operation.at_visits) return false;
  if (first && entry.status.state > TrialState::active && entry.status.state != TrialState::stopped)
    return settle(operation, text::cat(entry.status.spec.id, " had ended before")), true;
  // The search was told of its end, and decides on without it.
  entry.beside_search = true;
  entry.visits_wanted = entry.visits_total();
  entry.status.held = false;
  if (!first) return true;
  if (entry.ended()) {
    parts_.journal.end_trial(entry.status.spec.id, TrialState::waiting, "");
    entry.status.state = TrialState::waiting;
    entry.status.reason.clear();
    parts_.trainer.want(entry);
  }
  settle(operation, "");
  return true;
}

bool Experiment::apply_set(Entry& entry, const Operation& operation) {
  const auto state = entry.status.state;
  if (entry.status.visits_done < operation.at_visits) {
    if (state != TrialState::finished && state != TrialState::failed) return false;
    return settle(operation, text::cat(entry.status.spec.id, " had ended before")), true;
  }
  if (entry.under_way) return false;
  auto settings = settings_after(entry.status.spec, operations_, entry.status.visits_done);
  if (settings != entry.status.settings) {
    TrialSpec in_force = entry.status.spec;
    in_force.settings = settings;
    TrialSetup setup = parts_.resolve(in_force, in_force.index);
    parts_.trainer.release(entry);  // begins again from its committed state, as after a crash
    if (!entry.ended()) parts_.trainer.let_go(entry);
    entry.setup = std::move(setup);
    if (!entry.ended()) parts_.trainer.want(entry);
    entry.status.settings = std::move(settings);
    if (!entry.ended()) entry.status.state = TrialState::waiting;
    parts_.event(text::cat(entry.status.spec.id, ": goes on with ", changes_text(operation.request.changes)));
  }
  settle(operation, "");
  return true;
}

bool Experiment::apply_clone(const Operation& operation) {
  if (find_entry(operation.clone) == nullptr) {
    const Entry& parent = entry_of(operation.request.trial);
    const TrialSpec spec = clone_of(parent.status.spec, operation, operations_, parts_.partitions, parts_.seed);
    parts_.journal.add_trial(spec);
    Entry& clone = add(spec, spec.settings);
    fail_if_refused(clone);
    if (!clone.ended()) parts_.trainer.want(clone);
  }
  settle(operation, "");
  return true;
}

void Experiment::settle(const Operation& operation, const std::string& outcome) {
  if (operation.outcome) return;
  const std::uint64_t number = operation.number;
  parts_.journal.settle_operation(number, outcome);
  for (auto& known : operations_)
    if (known.number == number) known.outcome = outcome;
}

/// Before their parents go on: each boundary is there for a moment only.
void Experiment::begin_waiting_clones() {
  for (auto& entry : entries_) {
    if (!entry->beside_search || !entry->waits_for_parent()) continue;
    if (may_begin_at_parent(*entry)) {
      begin_at_parent(*entry);
      continue;
    }
    const Lineage& lineage = *entry->status.spec.lineage;
    const Entry& parent = entry_of(lineage.parent);
    const bool past = parent.status.visits_done > lineage.epochs * entry->status.visits_per_epoch;
    if (past || parent.ended())
      end(*entry, TrialState::stopped,
          text::cat("its parent ", lineage.parent, past ? " had gone beyond" : " ended before", " epoch ",
                    lineage.epochs));
  }
}

bool Experiment::was_resumed(const std::string& trial) const {
  return newest(operations_, trial, {Verb::resume}) != nullptr;
}

}  // namespace hopyard
