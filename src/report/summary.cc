#include "report/summary.h"

#include <algorithm>
#include <cmath>
#include <cstdio>

#include "base/text.h"
#include "report/table.h"

namespace hopyard {

namespace {

constexpr const char* kNothing = "-";

std::string percent(double part, double whole) {
  return whole > 0 && std::isfinite(part / whole) ? text::format_number(100 * part / whole, 1) + " %" : kNothing;
}

std::string bytes_or_nothing(Bytes bytes) { return bytes == 0 ? kNothing : text::format_bytes(bytes); }

/// Names of all causes, the one that cost most first.
std::vector<std::string> causes_of(const std::vector<DeviceSummary>& devices) {
  std::vector<IdleCause> sums;
  for (const auto& device : devices)
    for (const auto& idle : device.idle) {
      const auto known =
          std::find_if(sums.begin(), sums.end(), [&](const auto& sum) { return sum.cause == idle.cause; });
      if (known == sums.end())
        sums.push_back(idle);
      else
        known->seconds += idle.seconds;
    }
  std::stable_sort(sums.begin(), sums.end(), [](const auto& a, const auto& b) { return a.seconds > b.seconds; });
  std::vector<std::string> names;
  for (const auto& sum : sums) names.push_back(sum.cause);
  return names;
}

double idle_seconds(const DeviceSummary& device, const std::string& cause) {
  double seconds = 0;
  for (const auto& idle : device.idle)
    if (idle.cause == cause) seconds += idle.seconds;
  return seconds;
}

std::string devices_text(const std::vector<DeviceSummary>& devices) {
  const auto causes = causes_of(devices);
  std::vector<Column> columns{{"device"}, {"busy", Align::right}};
  for (const auto& cause : causes) columns.push_back({"idle: " + cause, Align::right});
  const bool any_recorded =
      std::any_of(devices.begin(), devices.end(), [](const auto& device) { return device.recorded_steps > 0; });
  columns.push_back({"tasks", Align::right});
  if (any_recorded) columns.push_back({"as graphs", Align::right});
  for (const char* header : {"loaded", "stored", "link"}) columns.push_back({header, Align::right});
  Table table(columns);
  for (const auto& device : devices) {
    std::vector<std::string> cells{device_label(device), percent(device.busy_s, device.wall_s)};
    for (const auto& cause : causes) cells.push_back(percent(idle_seconds(device, cause), device.wall_s));
    cells.push_back(std::to_string(device.tasks));
    if (any_recorded) cells.push_back(std::to_string(device.recorded_steps));
    cells.push_back(bytes_or_nothing(device.loaded));
    cells.push_back(bytes_or_nothing(device.stored));
    cells.push_back(device.link_bytes_per_s > 0 ? format_in_unit(device.link_bytes_per_s, "bytes/s") : kNothing);
    table.add_row(cells);
  }
  return table.to_text(2);
}

std::string cards_text(const std::vector<DeviceSummary>& devices) {
  Table table({{"card"}, {"kernels", Align::right}, {"copies", Align::right}, {"both at once", Align::right}});
  std::string cut;
  for (const auto& device : devices) {
    if (!device.card) continue;
    const CardUse& card = *device.card;
    table.add_row({device.name, percent(card.kernel_s, card.wall_s), percent(card.copy_s, card.wall_s),
                   percent(card.overlapped_s, card.wall_s)});
    if (card.dropped > 0)
      cut += text::cat("  ", device.name, ": ", card.dropped, " records did not fit, so these shares are too low\n");
  }
  return table.to_text(2) + cut;
}

std::string told(const std::optional<double>& value, const char* unit) {
  return value ? text::cat(text::format_number(*value, 0), ' ', unit) : kNothing;
}

std::string conditions_text(const std::vector<DeviceSummary>& devices) {
  Table table({{"card"},
               {"SM clock", Align::right},
               {"least", Align::right},
               {"could be", Align::right},
               {"power", Align::right},
               {"peak", Align::right},
               {"limit", Align::right},
               {"energy", Align::right},
               {"warmest", Align::right},
               {"memory of all, peak", Align::right}});
  std::string slowed;
  for (const auto& device : devices) {
    if (!device.condition) continue;
    const CardCondition& card = *device.condition;
    const std::optional<double> energy_kj = card.energy_j ? std::optional(*card.energy_j / 1000) : std::nullopt;
    table.add_row({device.name, told(card.sm_mhz_mean, "MHz"), told(card.sm_mhz_least, "MHz"),
                   told(card.sm_mhz_max, "MHz"), told(card.power_w_mean, "W"), told(card.power_w_peak, "W"),
                   told(card.power_limit_w, "W"), told(energy_kj, "kJ"), told(card.celsius_peak, "°C"),
                   card.memory_peak ? text::format_bytes(*card.memory_peak) : kNothing});
    for (const auto& [reason, share] : card.slowed_by)
      slowed += text::cat("  ", device.name, ": clocks were lowered by ", reason, " in ", percent(share, 1),
                          " of the samples\n");
  }
  return table.to_text(2) + slowed;
}

std::string transfers_text(const RunSummary& summary) {
  Table table({{"from"}, {"to"}, {"bytes moved", Align::right}, {"mean rate", Align::right}});
  for (const auto& transfer : summary.transfers)
    table.add_row({transfer.from, transfer.to, text::format_bytes(transfer.bytes),
                   summary.wall_s > 0 ? format_in_unit(transfer.bytes / summary.wall_s, "bytes/s") : kNothing});
  return table.to_text(2);
}

std::string peaks_text(const RunSummary& summary) {
  Table table({{"memory"}, {"peak", Align::right}, {"budget", Align::right}, {"used", Align::right}});
  const auto add = [&](const std::string& name, Bytes peak, Bytes budget) {
    table.add_row({name, text::format_bytes(peak), bytes_or_nothing(budget),
                   percent(static_cast<double>(peak), static_cast<double>(budget))});
  };
  for (const auto& device : summary.devices) add(device_label(device), device.memory_peak, device.memory_budget);
  add(summary.tiers.name_of("host"), summary.tiers.host_peak, summary.tiers.host_budget);
  add(summary.tiers.name_of("disk"), summary.tiers.disk_peak, summary.tiers.disk_budget);
  return table.to_text(2);
}

std::string shortest_number(double value) {
  char buffer[32];
  std::snprintf(buffer, sizeof buffer, "%.4g", value);
  return buffer;
}

}  // namespace

bool any_emulated(const RunSummary& summary) {
  return std::any_of(summary.devices.begin(), summary.devices.end(),
                     [](const auto& device) { return device.emulated; });
}

std::string device_label(const DeviceSummary& device) {
  const bool says_so = device.name.find("emulated") != std::string::npos;
  return device.emulated && !says_so ? device.name + " (emulated)" : device.name;
}

std::string format_in_unit(double value, const std::string& unit) {
  if (!std::isfinite(value)) return kNothing;
  if (unit == "s") return text::format_seconds(value);
  if (unit == "fraction") return text::format_number(100 * value, 1) + " %";
  if (unit == "bytes" || unit == "bytes/s") {
    const std::string size =
        value < 0x1p63 ? text::format_bytes(static_cast<Bytes>(std::max(0.0, std::round(value)))) : kNothing;
    return unit == "bytes" ? size : size + "/s";
  }
  return unit.empty() ? shortest_number(value) : shortest_number(value) + " " + unit;
}

std::string format_ratio(const Comparison& comparison) {
  const double ratio = comparison.measured / comparison.predicted;
  return std::isfinite(ratio) ? "× " + text::format_number(ratio, 2) : "";
}

std::string format_comparisons(const std::vector<Comparison>& comparisons, std::size_t indent) {
  Table table({{"prediction"}, {"predicted", Align::right}, {"measured", Align::right}, {"ratio", Align::right}});
  for (const auto& comparison : comparisons)
    table.add_row({comparison.what, format_in_unit(comparison.predicted, comparison.unit),
                   format_in_unit(comparison.measured, comparison.unit), format_ratio(comparison)});
  return table.to_text(indent);
}

std::string format_summary(const RunSummary& summary) {
  const char* mark = any_emulated(summary) ? " (emulated devices)" : "";
  std::string out = text::cat(summary.name, ": ", format_in_unit(summary.wall_s, "s"), mark, "\n");
  if (!summary.devices.empty()) out += "\nDevices\n" + devices_text(summary.devices);
  if (std::any_of(summary.devices.begin(), summary.devices.end(), [](const auto& device) { return device.card; }))
    out += "\nCards by their own record, share of the run\n" + cards_text(summary.devices);
  if (std::any_of(summary.devices.begin(), summary.devices.end(), [](const auto& device) { return device.condition; }))
    out += "\nCards as their driver saw them\n" + conditions_text(summary.devices);
  if (!summary.transfers.empty()) out += "\nTransfers\n" + transfers_text(summary);
  out += "\nPeaks\n" + peaks_text(summary);
  out += text::cat("  ", summary.tiers.name_of("disk"), " written ", text::format_bytes(summary.tiers.disk_written),
                   ", read ", text::format_bytes(summary.tiers.disk_read));
  if (summary.program_image_bytes > 0)
    out += text::cat("; program image ", text::format_bytes(summary.program_image_bytes), ", in no budget");
  out += "\n";
  if (!summary.comparisons.empty())
    out += text::cat("\nPredicted and measured", mark, "\n", format_comparisons(summary.comparisons, 2));
  if (!summary.machine.empty()) out += "\nMachine: " + text::join(summary.machine, "; ") + "\n";
  return out;
}

}  // namespace hopyard
