// What a run directory recorded, for verbs that look at it or do it again.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/journal.h"
#include "base/record.h"
#include "runtime/run_directory.h"
#include "select/replay_search.h"

namespace hopyard {

using Overrides = std::vector<std::pair<std::string, std::string>>;

/// The journal of a run directory, to be read. Failure(input) when it is none.
std::unique_ptr<Journal> journal_of(const RunPaths& paths);
/// Failure(usage) names the trials that there are.
const TrialRecord& find_trial(const std::vector<TrialRecord>& records, const std::string& id, const RunPaths& paths);

/// A run as it is recorded now.
struct RecordedRun {
  /// `overrides`: of what changes no results, resources and execute; Failure(usage) names any other.
  explicit RecordedRun(const std::string& directory, const Overrides& overrides = {});

  RunPaths paths;
  ExperimentConfig config;  ///< with the partitions that were decided
  std::unique_ptr<Journal> journal;
  std::unique_ptr<RunRecord> record;
  std::vector<TrialRecord> trials;
  std::string fingerprint;  ///< empty where the run ended before it was recorded

  /// Those that a trial has behind it at a score; where it came beyond its last one, the epoch under way is counted.
  Epochs epochs_begun(const TrialRecord& record) const;
};

/// All that the search decided, in its order.
std::vector<ReplayStep> recorded_steps(const RecordedRun& run);
/// What leads to one trial's newest state, and to its failure if it failed: its ancestors as far as they are needed,
/// then the trial. Failure(usage) when it trained nothing.
std::vector<ReplayStep> steps_to(const RecordedRun& run, const TrialRecord& trial);

/// Puts what people did into the journal of a run that begins as a repetition: it takes effect again at the boundaries
/// at which it did. What was refused or came too late is left out, and so are pausing, which changes no result, and
/// asking for trials, which are among the search's decisions.
void repeat_operations(const RecordedRun& run, Journal& journal);
/// The same for one trial and its ancestors: what was set while they trained.
void repeat_settings(const RecordedRun& run, const std::vector<ReplayStep>& steps, Journal& journal);

/// Trials visit partitions as they did.
void repeat_orders(const RecordedRun& run, Journal& journal);

/// One trial in two runs, as far as the second one goes.
struct TrialComparison {
  std::string trial;
  std::size_t visits = 0;                 ///< compared
  std::string digest;                     ///< after the last of them
  std::optional<std::string> difference;  ///< the first one, as a sentence
};
/// `again`: what `now` knows of its trials. `whole`: the second run must have all visits of the first, and the trial
/// must have ended alike.
TrialComparison compare_trial(const RecordedRun& before, const TrialRecord& trial, const RunRecord& now,
                              const std::vector<TrialRecord>& again, bool whole);

}  // namespace hopyard
