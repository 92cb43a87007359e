// What training or evaluating trials of a run directory is made of: everything from the directory to the executor.
#pragma once

#include <atomic>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/trace.h"
#include "cuda/activity_recorder.h"
#include "cuda/card_sampler.h"
#include "experiment/shared_versions.h"
#include "hopper/state_book.h"
#include "pipeline/executor.h"
#include "runtime/run_directory.h"
#include "runtime/workbench.h"

namespace hopyard {

/// What cards did and how they fared, as far as somebody told.
struct CardRecords {
  std::optional<ActivityLog> activity;
  std::vector<CardCondition> conditions;  ///< of this process's cards, in their order; or empty
};

/// The objects in the order in which they depend on each other. Those of the engine are there after make_engine().
struct RunObjects {
  /// Opens journal, disk tier and data. What a crash left in the disk tier goes. `config`: with its partitions taken
  /// up. `trials`: instead of those that the config's search asks for. Workers but the first have a journal for facts
  /// alone, and which of several it is decides what data are opened.
  RunObjects(const ExperimentConfig& config, RunDirectory directory,
             std::optional<std::vector<TrialSpec>> trials = std::nullopt, const WorkerPlace& place = {});
  /// Host tier, devices and executor. Call once the trials are planned: what cpu devices need follows from the plans.
  /// Failure(capacity) when the engine itself does not fit the host tier.
  void make_engine();
  /// Ends what is recorded of cards; the trace has it then. Once, when nothing trains any more.
  CardRecords end_card_records();

  RunDirectory directory;
  TraceRecorder trace;
  std::unique_ptr<Journal> journal;
  std::unique_ptr<StateBook>
      book;  // of a run of several workers: says what the disk tier holds, in the journal's place
  std::unique_ptr<DiskTier> disk;
  std::unique_ptr<SharedVersions> shared;  // over disk
  std::unique_ptr<Workbench> bench;
  std::unique_ptr<HostMemory> pinned;  // null: the host tier is ordinary memory
  std::unique_ptr<HostTier> host;
  HostReservation staging;
  std::vector<HostReservation> workspace;
  std::unique_ptr<IoPool> pool;
  std::unique_ptr<FrozenStore> frozen;
  std::unique_ptr<Executor> executor;
  std::unique_ptr<ActivityRecorder> activity;  ///< null unless kernels are recorded
  std::unique_ptr<CardSampler> cards;          ///< of cuda devices; null where the driver's library lacks

 private:
  void reserve_for_engine();
  std::vector<std::unique_ptr<Device>> make_devices();
  void watch_cards();
};

/// `data.partitions: auto` is decided by timing, once: other partitions would be another run. Puts into the config what
/// the journal at `where` knows.
void take_up_partitions(ExperimentConfig& config, const Journal& journal, const std::string& where);
std::optional<std::uint32_t> recorded_partitions(const Journal& journal, const std::string& where);
void keep_partitions(Journal& journal, std::uint32_t count);

/// The groups of rows that a run has are a fact of it: what looks at it later need not open its data. Puts into the
/// config what the journal at `where` knows.
void take_up_row_groups(ExperimentConfig& config, const Journal& journal, const std::string& where);
/// Failure(usage) when the data have other groups than when the run began.
void keep_row_groups(Journal& journal, const std::vector<RowGroup>& groups, const std::string& where);

/// What bits depend on beside the config (libtorch, instruction set, threads), as JSON text.
std::string fingerprint_of(const ExperimentConfig& config);
inline constexpr const char* kFingerprintFact = "fingerprint";

/// The resources as JSON text: a trial that did not fit is tried again under others.
std::string resources_json(const ExperimentConfig& config);

/// Set by the first SIGINT or SIGTERM after this call; a second one ends the process at once.
const std::atomic<bool>& catch_interrupts();

}  // namespace hopyard
