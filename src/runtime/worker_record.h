// What a run of several workers records beside its trials, and where its states lie.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"
#include "runtime/run_directory.h"
#include "runtime/training_data.h"

namespace hopyard {

/// A fact that is a count; nothing where there is none. `where` names the journal.
std::optional<std::uint32_t> recorded_count(const Journal& journal, const char* fact, const std::string& where);

/// Of how many workers a run is.
std::uint32_t recorded_workers(const Journal& journal, const std::string& where);
/// For a run that begins, or goes on, with so many. Failure(usage) when it began with one and goes on with several, or
/// the other way round: one keeps its states in its journal, several in books.
void claim_workers(Journal& journal, const RunPaths& paths, std::uint32_t workers);
/// For a run of several that goes on with so many. Failure(usage) names a trial whose state lies, of all worker folders
/// that are here, only in that of a rank that is none any more.
void check_states_stay(const Journal& journal, const RunPaths& paths, std::uint32_t workers);
/// Failure(usage) when the data of `key`, data.train or data.valid, were cut anew since the run began. `cut`: null
/// where they were not cut.
void claim_cut(Journal& journal, const RunPaths& paths, const char* key, const PartitionSet* cut);
/// For a coordinator that starts: it gives incarnations above this, which are above all that earlier ones gave.
std::uint64_t claim_incarnations(Journal& journal, const RunPaths& paths);

/// Where the committed state of a trial is to be read.
struct StatePlace {
  std::string disk_folder;
  std::vector<BlobVersion> blobs;
};
/// In the disk tier of the run directory if it is there, otherwise in that of another worker whose folder is here.
/// Failure(input) when none of them has it.
StatePlace find_state(const RunPaths& paths, const Journal& journal, const TrialRecord& record);

}  // namespace hopyard
