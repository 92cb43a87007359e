#include "runtime/run_summary.h"

#include <algorithm>
#include <cmath>

#include "base/text.h"
#include "report/leaderboard.h"
#include "runtime/machine.h"
#include "runtime/run_objects.h"

namespace hopyard {

std::string settings_text(const std::vector<Setting>& settings) {
  std::vector<std::string> paths, parts;
  for (const auto& setting : settings) paths.push_back(setting.path);
  const auto names = short_setting_names(paths);
  for (std::size_t i = 0; i < settings.size(); ++i) parts.push_back(names[i] + " " + to_string(settings[i].value));
  return text::join(parts, ", ");
}

namespace {

/// Prefixes of one model that differ in their weights or batches count together.
std::vector<Comparison> compare_shared(const SummaryParts& parts) {
  std::vector<Comparison> rows;
  const auto row_of = [&](const std::string& layer) -> Comparison& {
    const std::string what = "device time of what is shared up to " + layer;
    for (auto& row : rows)
      if (row.what == what) return row;
    return rows.emplace_back(Comparison{what, 0, 0, "s"});
  };
  for (const auto& depth : parts.plan.sharing) row_of(depth.last_layer).predicted += depth.materialise_s;
  for (const auto& depth : parts.materialised) row_of(depth.last_layer).measured += depth.busy_s;
  return rows;
}

/// Trials count as far as they came.
std::vector<Comparison> compare_trials(const SummaryParts& parts) {
  double predicted_s = 0, measured_s = 0;
  std::vector<double> errors;
  for (const auto& record : parts.records) {
    const auto time = std::find_if(parts.plan.times.begin(), parts.plan.times.end(),
                                   [&](const PlanTrial& trial) { return trial.id == record.spec.id; });
    if (time == parts.plan.times.end() || !record.last || record.seconds <= 0 || record.spec.lineage) continue;
    const double visits = time->epochs.value() * parts.config.data.partitions;
    const double done = static_cast<double>(record.last->epoch) * parts.config.data.partitions + record.last->visit + 1;
    const double predicted = time->device_s * done / visits;
    predicted_s += predicted;
    measured_s += record.seconds;
    errors.push_back(std::abs(predicted - record.seconds) / record.seconds);
  }
  if (errors.empty()) return {};
  std::nth_element(errors.begin(), errors.begin() + errors.size() / 2, errors.end());
  return {{"device time of all trials", predicted_s, measured_s, "s"},
          {"error of a trial's predicted time, median", 0, errors[errors.size() / 2], "fraction"}};
}

CardUse use_of_card(const ActivityLog& log, std::uint32_t card) {
  const CardActivity did = card_activity(log.records, card, log.begin_s, log.end_s);
  return {did.wall_s, did.kernel_s, did.copy_s, did.overlapped_s, log.dropped};
}

}  // namespace

RunSummary make_summary(const SummaryParts& parts) {
  RunSummary summary;
  summary.name = parts.config.name;
  summary.wall_s = parts.wall_s;
  summary.program_image_bytes = parts.image_bytes;
  summary.machine = describe(machine_facts());
  Bytes peak_device = 0;
  const auto own = each_device(parts.config.devices);  // which come before those of other workers
  for (const auto& report : parts.devices) {
    DeviceSummary device;
    device.name = report.name;
    device.busy_s = report.busy_s;
    device.wall_s = parts.wall_s;
    double idle_s = 0;
    for (const auto& [cause, seconds] : report.idle_s) {
      device.idle.push_back({cause, seconds});
      idle_s += seconds;
    }
    // What is left is the time between tasks: choosing, completing, waiting for the lock.
    const double rest = parts.wall_s - report.busy_s - idle_s;
    if (rest > 0) device.idle.push_back({"scheduling", rest});
    device.memory_budget = report.memory_budget;
    device.memory_peak = report.memory_peak;
    device.loaded = report.link.loaded;
    device.stored = report.link.stored;
    device.tasks = report.tasks;
    device.recorded_steps = report.recorded_steps;
    device.emulated = report.name.find("emulated:") != report.name.npos;  // "emulated:0", "worker 1 emulated:0"
    for (const auto& spec : parts.config.devices)
      if (spec.type != DeviceSpec::Type::cpu) device.link_bytes_per_s = spec.link_bytes_per_s;
    if (device.link_bytes_per_s > 0) {
      const auto owner = device.name.rfind(' ');  // "worker 1 emulated:0"
      const std::string host = owner == device.name.npos ? "host" : device.name.substr(0, owner) + " host";
      summary.transfers.push_back({host, device.name, device.loaded});
      summary.transfers.push_back({device.name, host, device.stored});
    }
    if (parts.cards.activity && summary.devices.size() < own.size())
      device.card = use_of_card(*parts.cards.activity, own[summary.devices.size()].card);
    if (summary.devices.size() < parts.cards.conditions.size())
      device.condition = parts.cards.conditions[summary.devices.size()];
    peak_device = std::max(peak_device, device.memory_peak);
    summary.devices.push_back(std::move(device));
  }
  const DiskCounters disk = parts.disk.counters();
  summary.tiers = {parts.host.capacity(),
                   parts.host.peak(),
                   parts.disk.capacity(),
                   parts.disk.peak(),
                   disk.written,
                   disk.read,
                   parts.several_workers ? "worker 0" : ""};
  const auto name_of = [&](const char* tier) { return summary.tiers.name_of(tier); };
  summary.transfers.push_back({name_of("host"), name_of("disk"), disk.written});
  summary.transfers.push_back({name_of("disk"), name_of("host"), disk.read});
  const auto peak_of = [&](const char* tier) {
    return text::cat("peak of ", parts.several_workers ? "worker 0's " : "the ", tier, " tier");
  };
  const PlanView& plan = parts.plan;
  summary.comparisons = {
      {"time of the run", plan.predicted_s, parts.wall_s, "s"},
      {"peak of a device", static_cast<double>(plan.predicted_peak_device), static_cast<double>(peak_device), "bytes"},
      {peak_of("host"), static_cast<double>(plan.predicted_peak_host), static_cast<double>(parts.host.peak()), "bytes"},
      {peak_of("disk"), static_cast<double>(plan.predicted_peak_disk), static_cast<double>(parts.disk.peak()), "bytes"},
      {"written to disk", static_cast<double>(plan.tiers.disk_written), static_cast<double>(disk.written), "bytes"}};
  if (parts.config.search.method == SearchSpec::Method::external)  // how many trials there would be, nobody knew
    std::erase_if(summary.comparisons, [&](const Comparison& row) {
      return row.what == "time of the run" || row.what == peak_of("disk") || row.what == "written to disk";
    });
  if (parts.several_workers)  // predicted for one, without the copies of states
    std::erase_if(summary.comparisons, [](const Comparison& row) { return row.what == "written to disk"; });
  for (auto& row : compare_shared(parts)) summary.comparisons.push_back(std::move(row));
  for (auto& row : compare_trials(parts)) summary.comparisons.push_back(std::move(row));
  return summary;
}

}  // namespace hopyard
