#include "runtime/run_objects.h"

#include <algorithm>
#include <csignal>

#include "base/log.h"
#include "cuda/cuda_devices.h"
#include "experiment/experiment.h"
#include "experiment/held_states.h"
#include "runtime/machine.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_state_book.h"
#include "runtime/worker_record.h"

namespace hopyard {

namespace {

constexpr const char* kPartitionsFact = "partitions";
constexpr double kCardSampleSeconds = 0.5;
constexpr double kJoinKernelsSeconds = 1e-4;  // in the trace, what follows so soon on a stream is one slice
constexpr const char* kRowGroupsFact = "row groups";

std::vector<RowGroup> recorded_row_groups(const Journal& journal, const std::string& where) {
  std::vector<RowGroup> groups;
  const auto fact = journal.fact(kRowGroupsFact);
  if (!fact) return groups;
  const std::string place = where + ": " + kRowGroupsFact;
  for (const Json& group : parse_json(*fact, place))
    groups.push_back({json_get<std::int64_t>(group, "value", place),
                      static_cast<std::uint32_t>(json_get<std::uint64_t>(group, "train_rows", place)),
                      static_cast<std::uint32_t>(json_get<std::uint64_t>(group, "valid_rows", place))});
  return groups;
}

std::atomic<bool> interrupted{false};

void on_signal(int signal) {
  interrupted = true;
  std::signal(signal, SIG_DFL);  // a second one ends the process at once
}

}  // namespace

RunObjects::RunObjects(const ExperimentConfig& config, RunDirectory opened,
                       std::optional<std::vector<TrialSpec>> trials, const WorkerPlace& place)
    : directory(std::move(opened)), journal(open_journal(directory.paths().journal(), false)) {
  const RunPaths& paths = directory.paths();
  claim_workers(*journal, paths, place.workers);
  disk = open_rocks_disk_tier({claim_disk_folder(paths, config, *journal), config.disk_capacity});
  shared = std::make_unique<SharedVersions>(*disk);
  if (place.several()) {
    book = open_state_book(paths.states(), false);
    forget_unnamed(*book, *shared);
  } else {
    forget_uncommitted(*journal, *disk);
  }
  const DiskSpeed speed = measure_disk(*disk).value_or(kAssumedDiskSpeed);
  bench = std::make_unique<Workbench>(config, speed.read_bytes_per_s, speed.write_bytes_per_s,
                                      WorkbenchStart{std::move(trials), recorded_rotations(*journal, paths.journal()),
                                                     orders_to_repeat(*journal, paths.journal()), place});
  claim_cut(*journal, paths, "data.train", bench->training_data().cut.get());
  claim_cut(*journal, paths, "data.valid", bench->validation_data().cut.get());
}

void RunObjects::make_engine() {
  const ExperimentConfig& config = bench->config();
  const bool cuda = config.devices.front().type == DeviceSpec::Type::cuda;
  const Bytes held = std::min(config.host_memory, held_by_links(config, bench->place()));  // in blocks of their own
  if (cuda && config.execute.pin_memory)
    pinned = make_pinned_memory(config.host_memory - held, config.devices.front().first_card);
  host = std::make_unique<HostTier>(config.host_memory, pinned.get());
  reserve_for_engine();
  pool = std::make_unique<IoPool>(kIoThreads);
  frozen = std::make_unique<FrozenStore>(*host);
  ExecuteSpec execute = config.execute;
  if (!execute.scheduler && bench->place().several()) execute.scheduler = SchedulerKind::oldest;
  if (cuda && config.execute.record_kernels) {
    std::string why_not;
    activity = record_activity(why_not);
    if (!activity) HOPYARD_WARN << "execute.record_kernels: kernels are not recorded: " << why_not;
  }
  executor = std::make_unique<Executor>(execute, config.seed, make_devices(), *host, &trace);
  if (cuda) watch_cards();
}

void RunObjects::watch_cards() {
  std::string why_not;
  auto watch = CardWatch::open(why_not);
  if (!watch) {
    HOPYARD_WARN << "clocks and power of the cards are not in the summary: " << why_not;
    return;
  }
  std::vector<SampledCard> sampled;
  for (const auto& [spec, index, card] : each_device(bench->config().devices))
    sampled.push_back({text::cat("cuda:", card), cuda_bus_id(card)});
  cards = std::make_unique<CardSampler>(std::move(watch), std::move(sampled), kCardSampleSeconds, trace);
}

CardRecords RunObjects::end_card_records() {
  CardRecords records;
  if (activity) records.activity = activity->stop();
  if (records.activity) add_to_trace(*records.activity, kJoinKernelsSeconds, trace);
  if (cards) records.conditions = cards->stop();
  return records;
}

void RunObjects::reserve_for_engine() {
  auto granted = host->reserve(bench->planner().inputs().staging);
  if (!granted)
    fail(ExitCode::capacity, "resources.host_memory: ", host->capacity(),
         " bytes are granted, and what disk work and workers' links hold alone is ", bench->planner().inputs().staging);
  staging = std::move(*granted);
  for (const auto& device : bench->config().devices) {
    if (device.type != DeviceSpec::Type::cpu) continue;
    auto share = host->reserve(device.count * bench->planner().cpu_workspace());
    if (!share)
      fail(ExitCode::capacity, "resources.host_memory: computing on ", device.count, " cpu devices takes ",
           device.count * bench->planner().cpu_workspace(), " bytes and ", host->capacity() - host->used(),
           " are left; raise it or lower train.micro_batch_size");
    workspace.push_back(std::move(*share));
  }
}

std::vector<std::unique_ptr<Device>> RunObjects::make_devices() {
  std::vector<std::unique_ptr<Device>> devices;
  for (const auto& [spec, index, card] : each_device(bench->config().devices)) {  // all of one type
    switch (spec->type) {
      case DeviceSpec::Type::cpu:
        devices.push_back(make_cpu_device(*spec, index, bench->planner().cpu_workspace()));
        break;
      case DeviceSpec::Type::emulated:
        devices.push_back(make_emulated_device(*spec, index, &trace));
        break;
      case DeviceSpec::Type::cuda:
        devices.push_back(make_cuda_device(*spec, card, &trace));
        break;
    }
  }
  return devices;
}

std::optional<std::uint32_t> recorded_partitions(const Journal& journal, const std::string& where) {
  return recorded_count(journal, kPartitionsFact, where);
}

void take_up_partitions(ExperimentConfig& config, const Journal& journal, const std::string& where) {
  if (config.data.partitions == 0) config.data.partitions = recorded_partitions(journal, where).value_or(0);
}

void keep_partitions(Journal& journal, std::uint32_t count) {
  if (!journal.fact(kPartitionsFact)) journal.put_fact(kPartitionsFact, Json{{"count", count}}.dump());
}

void take_up_row_groups(ExperimentConfig& config, const Journal& journal, const std::string& where) {
  config.search.row_groups = recorded_row_groups(journal, where);
}

void keep_row_groups(Journal& journal, const std::vector<RowGroup>& groups, const std::string& where) {
  if (groups.empty()) return;
  if (const auto known = recorded_row_groups(journal, where); !known.empty()) {
    if (known == groups) return;
    fail(ExitCode::usage, "data.group_by: the groups of rows are not those with which ", where,
         " began; put its data back, or choose another --dir");
  }
  Json json = Json::array();
  for (const RowGroup& group : groups)
    json.push_back({{"value", group.value}, {"train_rows", group.train_rows}, {"valid_rows", group.valid_rows}});
  journal.put_fact(kRowGroupsFact, json.dump());
}

std::string fingerprint_of(const ExperimentConfig& config) {
  const MachineFacts facts = machine_facts();
  Json fingerprint{{"libtorch", facts.libtorch}, {"cpu_capability", facts.cpu_capability}};
  if (config.devices.front().type == DeviceSpec::Type::cuda) {
    Json cards = Json::array();
    for (const auto& name : cuda_card_names()) cards.push_back(name);
    fingerprint["cards"] = cards;
  } else {
    Json threads = Json::array();
    for (const auto& device : config.devices) threads.push_back(device.threads);
    fingerprint["threads"] = threads;
  }
  return fingerprint.dump();
}

std::string resources_json(const ExperimentConfig& config) { return Json(resources_text(config)).dump(); }

const std::atomic<bool>& catch_interrupts() {
  interrupted = false;
  std::signal(SIGINT, on_signal);
  std::signal(SIGTERM, on_signal);
  return interrupted;
}

}  // namespace hopyard
