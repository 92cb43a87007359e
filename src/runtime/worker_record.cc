#include "runtime/worker_record.h"

#include <filesystem>

#include "base/failure.h"
#include "formats/json.h"
#include "runtime/run_objects.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_state_book.h"

namespace hopyard {

namespace {

constexpr const char* kWorkersFact = "workers";
constexpr const char* kDataFact = "partition set";
constexpr const char* kCoordinatorsFact = "coordinators";
constexpr std::uint64_t kIncarnationsOfCoordinator = 1'000'000;  // more than workers can come back while it lives

std::string count_json(std::uint64_t count) { return Json{{"count", count}}.dump(); }

/// What a worker's book has of it; nothing where there is no such state.
std::optional<StatePlace> look_up(const RunPaths& worker, const TrialRecord& record, std::uint32_t visits) {
  if (!std::filesystem::exists(worker.states())) return std::nullopt;
  for (const HeldState& state : open_state_book(worker.states(), true)->all()) {
    if (state.trial != record.spec.id || state.visits != visits || state.digest != record.last->digest) continue;
    StatePlace place{claimed_disk_folder(worker, *open_journal(worker.journal(), true)), {}};
    for (const HeldBlob& blob : state.blobs) place.blobs.push_back({blob.blob, blob.version});
    return place;
  }
  return std::nullopt;
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
  if (fresh) return journal.put_fact(kWorkersFact, count_json(workers));
  if (known.value_or(1) != workers)
    fail(ExitCode::usage, paths.root, ": began with ", known.value_or(1),
         " workers, among whom its states and visits are ", "placed, and ", workers,
         " are there; start as many as then, or choose another --dir");
}

void claim_training_data(Journal& journal, const RunPaths& paths, const TrainingData& data) {
  const std::string digest = data.cut ? data.cut->digest() : "";
  const auto known = journal.fact(kDataFact);
  if (!known) {
    if (data.cut) journal.put_fact(kDataFact, Json{{"digest", digest}}.dump());
    return;
  }
  const std::string where = paths.journal() + ": " + kDataFact;
  if (json_get<std::string>(parse_json(*known, where), "digest", where) != digest)
    fail(ExitCode::usage, "data.train: was cut anew since ", paths.root, " began; choose another --dir");
}

std::uint64_t claim_incarnations(Journal& journal, const RunPaths& paths) {
  const std::uint32_t before = recorded_count(journal, kCoordinatorsFact, paths.journal()).value_or(0);
  journal.put_fact(kCoordinatorsFact, count_json(before + 1));
  return before * kIncarnationsOfCoordinator;
}

StatePlace find_state(const RunPaths& paths, const Journal& journal, const TrialRecord& record) {
  const std::uint32_t workers = recorded_workers(journal, paths.journal());
  if (workers == 1) return {claimed_disk_folder(paths, journal), record.last->state};
  const std::uint32_t partitions = recorded_partitions(journal, paths.journal()).value_or(1);
  const std::uint32_t visits = record.last->epoch * partitions + record.last->visit + 1;
  for (std::uint32_t rank = 0; rank < workers; ++rank)
    if (auto place = look_up(paths.of_worker(rank), record, visits)) return *std::move(place);
  fail(ExitCode::input, paths.root, ": the state of ", record.spec.id, " after ", visits,
       " visits lies with none of the workers whose folders are here; copy the folder of one that has it to ",
       paths.of_worker(1).root, " or its like");
}

}  // namespace hopyard
