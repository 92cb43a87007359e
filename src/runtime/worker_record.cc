#include "runtime/worker_record.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <system_error>

#include "base/failure.h"
#include "formats/json.h"
#include "runtime/run_objects.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_state_book.h"

namespace hopyard {

namespace {

constexpr const char* kWorkersFact = "workers";
constexpr const char* kDataFact = "partition set";
constexpr const char* kValidationFact = "validation set";
constexpr const char* kCoordinatorsFact = "coordinators";
constexpr std::uint64_t kIncarnationsOfCoordinator = 1'000'000;  // more than workers can come back while it lives

std::string count_json(std::uint64_t count) { return Json{{"count", count}}.dump(); }

/// What a worker's book has of the trial's newest state; nothing where there is no such state.
std::optional<HeldState> look_up(const RunPaths& worker, const TrialRecord& record, std::uint32_t visits) {
  std::error_code none;
  if (std::filesystem::file_size(worker.states(), none) == 0 || none) return std::nullopt;
  for (HeldState& state : open_state_book(worker.states(), true)->all())
    if (state.trial == record.spec.id && state.visits == visits && state.digest == record.last->digest)
      return std::move(state);
  return std::nullopt;
}

StatePlace place_of(const RunPaths& worker, const HeldState& state) {
  StatePlace place{claimed_disk_folder(worker, *open_journal(worker.journal(), true)), {}};
  for (const HeldBlob& blob : state.blobs) place.blobs.push_back({blob.blob, blob.version});
  return place;
}

std::uint32_t visits_behind(const RunPaths& paths, const Journal& journal, const TrialRecord& record) {
  const std::uint32_t partitions = recorded_partitions(journal, paths.journal()).value_or(1);
  return record.last->epoch * partitions + record.last->visit + 1;
}

/// Ranks of the worker folders that are here, ascending.
std::vector<std::uint32_t> ranks_here(const RunPaths& paths) {
  std::vector<std::uint32_t> ranks = {0};
  std::error_code none;
  for (const auto& entry : std::filesystem::directory_iterator(paths.root + "/workers", none)) {
    const std::string name = entry.path().filename().string();
    std::uint32_t rank = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), rank);
    if (error == std::errc() && end == name.data() + name.size() && rank > 0) ranks.push_back(rank);
  }
  std::sort(ranks.begin(), ranks.end());
  return ranks;
}

/// Of those, whose books have that state.
std::vector<std::uint32_t> folders_with(const RunPaths& paths, const TrialRecord& record, std::uint32_t visits) {
  std::vector<std::uint32_t> found;
  for (const std::uint32_t rank : ranks_here(paths))
    if (look_up(paths.of_worker(rank), record, visits)) found.push_back(rank);
  return found;
}

}  // namespace

std::optional<std::uint32_t> recorded_count(const Journal& journal, const char* fact, const std::string& where) {
  const auto known = journal.fact(fact);
  if (!known) return std::nullopt;
  const std::string place = where + ": " + fact;
  return json_get<std::uint32_t>(parse_json(*known, place), "count", place);
}

std::uint32_t recorded_workers(const Journal& journal, const std::string& where) {
  return recorded_count(journal, kWorkersFact, where).value_or(1);
}

void claim_workers(Journal& journal, const RunPaths& paths, std::uint32_t workers) {
  const auto known = recorded_count(journal, kWorkersFact, paths.journal());
  const bool fresh = !known && journal.trials().empty();
  const std::uint32_t before = fresh ? workers : known.value_or(1);
  if ((before > 1) != (workers > 1))
    fail(ExitCode::usage, paths.root, ": began with ", before,
         before > 1 ? " workers, which keep" : " worker, which keeps", " states in ",
         before > 1 ? "books of their own" : "its journal", ", and ", workers, workers > 1 ? " are" : " is",
         " there; start ", before > 1 ? "at least two" : "one", ", or choose another --dir");
  if (known != workers) journal.put_fact(kWorkersFact, count_json(workers));
}

void check_states_stay(const Journal& journal, const RunPaths& paths, std::uint32_t workers) {
  if (workers < 2) return;
  for (const TrialRecord& record : journal.trials()) {
    if (!record.last) continue;
    const std::uint32_t visits = visits_behind(paths, journal, record);
    const auto holders = folders_with(paths, record, visits);
    if (holders.empty() || holders.front() < workers) continue;  // none: it is on another machine
    fail(ExitCode::usage, paths.root, ": the state of ", record.spec.id, " after ", visits, " visits is with worker ",
         holders.front(), " alone, and ", workers, " workers are there; start ", holders.front() + 1);
  }
}

void claim_cut(Journal& journal, const RunPaths& paths, const char* key, const PartitionSet* cut) {
  const char* fact = std::string(key) == "data.train" ? kDataFact : kValidationFact;
  const std::string digest = cut != nullptr ? cut->digest() : "";
  const auto known = journal.fact(fact);
  if (!known) {
    if (cut != nullptr) journal.put_fact(fact, Json{{"digest", digest}}.dump());
    return;
  }
  const std::string where = paths.journal() + ": " + fact;
  if (json_get<std::string>(parse_json(*known, where), "digest", where) != digest)
    fail(ExitCode::usage, key, ": was cut anew since ", paths.root, " began; choose another --dir");
}

std::uint64_t claim_incarnations(Journal& journal, const RunPaths& paths) {
  const std::uint32_t before = recorded_count(journal, kCoordinatorsFact, paths.journal()).value_or(0);
  journal.put_fact(kCoordinatorsFact, count_json(before + 1));
  return before * kIncarnationsOfCoordinator;
}

StatePlace find_state(const RunPaths& paths, const Journal& journal, const TrialRecord& record) {
  const std::uint32_t workers = recorded_workers(journal, paths.journal());
  if (workers == 1) return {claimed_disk_folder(paths, journal), record.last->state};
  const std::uint32_t visits = visits_behind(paths, journal, record);
  for (const std::uint32_t rank : ranks_here(paths))
    if (const auto state = look_up(paths.of_worker(rank), record, visits))
      return place_of(paths.of_worker(rank), *state);
  fail(ExitCode::input, paths.root, ": the state of ", record.spec.id, " after ", visits,
       " visits lies with none of the workers whose folders are here; copy the folder of one that has it to ",
       paths.of_worker(1).root, " or its like");
}

}  // namespace hopyard
