// Trials that somebody asks for from outside: an optimizer of somebody else's, a notebook, a person.
#include <algorithm>

#include "base/failure.h"
#include "experiment/experiment.h"

namespace hopyard {

using Verb = OperationVerb;

namespace {

std::optional<Epochs> until_epoch(const OperationRequest& request) {
  return request.epochs > 0 ? std::optional<Epochs>(request.epochs) : std::nullopt;
}

std::string reach_text(const OperationRequest& request, const std::string& trial, std::uint32_t epochs) {
  if (request.epochs > epochs)
    fail(ExitCode::usage, "--epochs: ", request.epochs, " are more than the ", epochs, " of ", trial,
         "; train.epochs is the most that a trial gets");
  return text::cat("trains to epoch ", until_epoch(request).value_or(epochs), " of ", epochs);
}

}  // namespace

Decision Experiment::decide_request(const OperationRequest& request) const {
  const std::string verb = to_string(request.verb);
  if (search_.requests() == nullptr)
    fail(ExitCode::usage, verb, ": this run chooses its trials itself; trials are asked for where its config says ",
         "search: {method: external}");
  if (const Operation* end = newest(operations_, "", {Verb::finish}))
    fail(ExitCode::usage, "no more trials can be asked for: the search was finished ", signature(*end));
  Decision decision;
  decision.operation.number = operations_.empty() ? 1 : operations_.back().number + 1;
  decision.operation.request = request;
  if (request.verb == Verb::ask) {
    request.trial.empty() ? decide_new(decision) : decide_further(decision);
    return decision;
  }
  if (!request.trial.empty() || !request.changes.empty() || request.epochs > 0)
    fail(ExitCode::usage, "--finish: says that nothing more is asked for, and takes no trial, values or epochs");
  decision.boundary = "the run ends when what was asked for has come to its epochs";
  return decision;
}

void Experiment::decide_new(Decision& decision) const {
  OperationRequest& request = decision.operation.request;
  decision.clone = search_.requests()->propose(request.changes);
  const TrialSpec& spec = *decision.clone;
  const TrialSetup setup = parts_.resolve(spec, spec.index);
  decision.boundary = reach_text(request, spec.id, setup.train.epochs);
  check_room(setup, "another trial");
  for (const auto& entry : entries_)
    if (entry->status.spec.settings == spec.settings && !entry->status.spec.lineage) {
      decision.boundary += text::cat("; ", entry->status.spec.id, " has the same values and comes to the same bits");
      break;
    }
  request.changes = spec.settings;
  decision.operation.clone = spec.id;
}

void Experiment::decide_further(Decision& decision) const {
  const OperationRequest& request = decision.operation.request;
  if (!request.changes.empty())
    fail(ExitCode::usage, "--set: ", request.trial, " has its values; `hopyard set` changes those that can change");
  const auto found = by_id_.find(request.trial);
  if (found == by_id_.end() || !found->second->beside_search)
    search_.requests()->require_further(request.trial, until_epoch(request));
  require(found != by_id_.end(), "the search knows trial ", request.trial, " and the experiment does not");
  const Entry& entry = *found->second;
  if (entry.beside_search)
    fail(ExitCode::usage, request.trial, " trains beside the search, to its last epoch: a person cloned or resumed it");
  decision.boundary = reach_text(request, request.trial, entry.status.epochs);
}

/// Tells the search what was asked for. Of a run that goes on, all requests come before what the search was led
/// through.
void Experiment::hand_over(const Operation& operation) {
  TrialRequests* requests = search_.requests();
  if (requests == nullptr || operation.refused()) return;
  const OperationRequest& request = operation.request;
  if (request.verb == Verb::finish) requests->close();
  if (request.verb != Verb::ask) return;
  if (request.trial.empty())
    requests->request(request.changes, until_epoch(request));
  else
    requests->request_further(request.trial, until_epoch(request));
}

}  // namespace hopyard
