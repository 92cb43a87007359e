// People's requests between the channel and the loop, and the state of an experiment for whoever asks.
#pragma once

#include "base/journal.h"
#include "experiment/experiment.h"
#include "report/status_view.h"
#include "runtime/config.h"
#include "runtime/request_channel.h"
#include "runtime/run_directory.h"

namespace hopyard {

/// A request of these verbs as the loop takes it. Failure(usage) when its arguments are not {"trial": …, "set":
/// [[path, value], …], "warm": …, "reason": …, "epochs": …}.
OperationRequest operation_request(const ChannelRequest& request);
/// What a request says beside its verb. Values are written as in a config.
struct RequestArguments {
  std::string trial;
  std::vector<std::pair<std::string, std::string>> set;
  bool warm = false;
  std::string reason;
  std::uint32_t epochs = 0;  ///< of ask
};
/// As operation_request() reads them.
Json operation_arguments(const RequestArguments& arguments);

/// Lines for the person who asked: when it takes effect, and what differs from before.
std::vector<std::string> describe_answer(const ExperimentConfig& config, const OperationAnswer& answer);
/// Carries out one request and answers it.
Json steer(Experiment& experiment, const ExperimentConfig& config, const ChannelRequest& request);

/// One line of progress.
TrialProgress trial_progress(const TrialStatus& trial, const std::vector<Operation>& operations);

/// The experiment as its journal and its queue have it.
std::vector<TrialStatus> status_from_journal(const ExperimentConfig& config, const Journal& journal);
/// What waits in the queue and is not in the journal.
std::vector<OperationRequest> queued_operations(const RunPaths& paths, const std::vector<Operation>& operations);
StatusView view_from_journal(const RunPaths& paths, const ExperimentConfig& config, const Journal& journal);
/// For below a leaderboard: what was set in flight, one line each.
std::string changes_in_journal(const ExperimentConfig& config, const Journal& journal);
/// What decide() would see if a run went on now.
SteeringView steering_from_journal(const ExperimentConfig& config, const Journal& journal);

}  // namespace hopyard
