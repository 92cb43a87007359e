#include "runtime/hopping_run.h"

#include <algorithm>

#include "base/thread_name.h"
#include "report/table.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kTrialsPerDevice = 2;  // where models are cut: one computes while another moves

/// As a worker with the config's devices; all have the same config.
ShopWorker shop_worker(const PlanView& plan, std::uint32_t devices) {
  const bool resident =
      std::all_of(plan.groups.begin(), plan.groups.end(), [](const auto& one) { return one.resident; });
  ShopWorker worker;
  worker.devices = devices;
  worker.slots = std::min(plan.tiers.active_trials, resident ? devices : kTrialsPerDevice * devices);
  worker.lookahead = plan.tiers.active_trials > worker.slots ? 1 : 0;
  return worker;
}

std::string counted(Bytes bytes, Bytes expected, const char* if_so) {
  return text::cat(text::format_bytes(bytes), " in all, by formula ", text::format_bytes(expected), " (", if_so, ")");
}

VisitSchedulerKind scheduler_of(const ExperimentConfig& config, bool repeats_orders) {
  if (repeats_orders) return VisitSchedulerKind::seed;
  const bool by_seed = config.data.order == DataSpec::Order::seed;
  const VisitSchedulerKind chosen = config.workers.scheduler;
  return by_seed && chosen != VisitSchedulerKind::task ? VisitSchedulerKind::seed : chosen;
}

/// None where every worker has all validation rows.
Placement placement_of_valid(const Workbench& bench, std::uint32_t workers) {
  const auto& cut = bench.validation_data().cut;
  return cut ? placement_of(bench.config(), cut->count(), workers, true) : Placement();
}

}  // namespace

HoppingRun::HoppingRun(HoppingRunParts parts) : parts_(std::move(parts)) {
  Workbench& bench = *parts_.objects.bench;
  const ExperimentConfig& config = bench.config();
  const std::uint32_t workers = parts_.session.launch.world_size;
  scheduler_ = make_visit_scheduler(scheduler_of(config, bench.repeats_orders()), config.seed);
  trainer_ = std::make_unique<HoppingTrainer>(HoppingParts{
      parts_.end,
      placement_of(config, bench.training_data().all_partitions(), workers, bench.training_data().cut != nullptr),
      std::vector(workers, shop_worker(parts_.plan, bench.planner().device_count())), *scheduler_,
      scheduler_of(config, bench.repeats_orders()) == VisitSchedulerKind::task, config.workers.state_replicas,
      config.workers.wait_for_worker_s, parts_.event, parts_.keep_outcomes, placement_of_valid(bench, workers),
      config.search.metric});
  worker_ = std::thread([this] {
    name_thread("worker");
    live();
  });
}

HoppingRun::~HoppingRun() {
  over_ = true;
  trainer_.reset();  // tells the workers to leave
  worker_.join();
}

void HoppingRun::live() try {
  const auto given_up = [this] { return over_.load(); };
  const auto event = [this](const std::string& line) { parts_.event("worker 0: " + line); };
  live_as_worker({parts_.session, parts_.objects, parts_.resolve, event, interrupted_, given_up},
                 join(parts_.session, given_up));
} catch (const std::exception& error) {
  parts_.event(text::cat("worker 0: ", error.what()));  // which its coordinator has heard, or misses it
}

Json to_json(const HoppingReport& report) {
  Json workers = Json::array();
  for (const auto& worker : report.workers)
    workers.push_back(Json{{"visits", worker.visits},
                           {"deaths", worker.deaths},
                           {"departures", worker.departures},
                           {"here_s", worker.account.here_s},
                           {"rows_read", worker.account.rows_read},
                           {"bytes_read", worker.account.bytes_read},
                           {"rows_judged", worker.account.rows_judged},
                           {"busy_s", worker.account.busy_s},
                           {"hop_s", worker.account.hop_s},
                           {"waited_s", worker.account.waited_s},
                           {"stored_bytes", worker.account.stored},
                           {"sent_bytes", worker.account.sent},
                           {"exchanged_bytes", worker.account.exchanged}});
  return Json{{"workers", workers},
              {"hops", report.hops},
              {"hop_bytes", report.hop_bytes},
              {"hop_bytes_expected", report.hop_bytes_expected},
              {"exchange_bytes_expected", report.exchange_bytes_expected},
              {"failed_hops", report.failed_hops},
              {"team_visits", report.team_visits},
              {"parted_teams", report.parted_teams}};
}

std::string name_of_workers(std::uint32_t rank, const std::string& device) {
  return text::cat("worker ", rank, ' ', device);
}

std::vector<DeviceReport> devices_of_workers(const HoppingReport& report, double wall_s) {
  std::vector<DeviceReport> all;
  for (std::uint32_t rank = 0; rank < report.workers.size(); ++rank)
    for (const DeviceAccount& account : report.workers[rank].account.devices) {
      DeviceReport& device = all.emplace_back();
      device.name = name_of_workers(rank, account.name);
      device.busy_s = account.busy_s;
      for (const auto& idle : account.idle) device.idle_s[idle.cause] = idle.seconds;
      if (const double away_s = wall_s - report.workers[rank].account.here_s; away_s > 0)
        device.idle_s["away"] = away_s;
      device.tasks = account.tasks;
      device.recorded_steps = account.recorded_steps;
      device.memory_budget = account.memory_budget;
      device.memory_peak = account.memory_peak;
      device.link.loaded = account.loaded;
      device.link.stored = account.stored;
    }
  return all;
}

std::string format_hopping(const HoppingReport& report) {
  Table table({{"worker", Align::right},
               {"sub-epochs", Align::right},
               {"rows read", Align::right},
               {"bytes read", Align::right},
               {"rows judged", Align::right},
               {"busy", Align::right},
               {"sent", Align::right},
               {"waited for states", Align::right},
               {"hopped", Align::right},
               {"deaths", Align::right},
               {"left", Align::right}});
  for (std::size_t rank = 0; rank < report.workers.size(); ++rank) {
    const HoppingReport::Worker& worker = report.workers[rank];
    table.add_row({std::to_string(rank), std::to_string(worker.visits), std::to_string(worker.account.rows_read),
                   text::format_bytes(worker.account.bytes_read), std::to_string(worker.account.rows_judged),
                   text::format_seconds(worker.account.busy_s), text::format_bytes(worker.account.sent),
                   text::format_seconds(worker.account.waited_s), text::format_seconds(worker.account.hop_s),
                   std::to_string(worker.deaths), std::to_string(worker.departures)});
  }
  Bytes exchanged = 0, read = 0;
  for (const auto& worker : report.workers) {
    exchanged += worker.account.exchanged;
    read += worker.account.bytes_read;
  }
  std::string page = text::cat("Workers\n", table.to_text(2), "  ", report.hops, " hops of states, ",
                               counted(report.hop_bytes, report.hop_bytes_expected,
                                       "one copy a sub-epoch, teams that stay together, nobody gone"),
                               "; ", report.failed_hops, " failed\n");
  if (report.team_visits + report.parted_teams > 0)
    page += text::cat("  ", report.team_visits, " sub-epochs trained together, steps of ",
                      counted(exchanged, report.exchange_bytes_expected, "nobody gone"), "; ", report.parted_teams,
                      " begun in vain, since a worker was gone\n");
  page += text::cat("  between workers: states ", text::format_bytes(report.hop_bytes), ", steps ",
                    text::format_bytes(exchanged), "; no message carries rows: ", text::format_bytes(read),
                    " of them were read by the workers that have them\n");
  return page;
}

}  // namespace hopyard
