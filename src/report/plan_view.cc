#include "report/plan_view.h"

#include <algorithm>

#include "base/text.h"
#include "report/table.h"

namespace hopyard {

namespace {

std::string count_text(std::uint64_t count) {
  const double value = static_cast<double>(count);
  if (count < 10'000) return std::to_string(count);
  if (count < 1'000'000) return text::format_number(value / 1e3, 1) + " K";
  if (count < 1'000'000'000) return text::format_number(value / 1e6, 2) + " M";
  return text::format_number(value / 1e9, 2) + " G";
}

std::string layers_text(const PlanGroup& group) {
  Table table(
      {{"layer"}, {"parameters", Align::right}, {"bytes", Align::right}, {"GFLOP/batch", Align::right}, {"trained"}});
  for (const auto& layer : group.layers)
    table.add_row({layer.name, count_text(layer.parameters), text::format_bytes(layer.bytes),
                   text::format_number(layer.forward_flops / 1e9, 2), layer.trainable ? "yes" : "frozen"});
  return table.to_text(4);
}

std::string span_text(const PlanShard& shard) {
  if (shard.layers <= 1) return shard.first_layer;
  return text::cat(shard.first_layer, " … ", shard.last_layer, " (", shard.layers, ")");
}

std::string shards_text(const PlanGroup& group) {
  Table table({{"shard"},
               {"layers"},
               {"load forward", Align::right},
               {"load backward", Align::right},
               {"store", Align::right},
               {"workspace", Align::right},
               {"forward", Align::right},
               {"backward", Align::right}});
  for (std::size_t i = 0; i < group.shards.size(); ++i) {
    const PlanShard& shard = group.shards[i];
    const bool backward = shard.backward_s > 0;
    table.add_row({text::cat("s", i), span_text(shard), text::format_bytes(shard.forward_load),
                   backward ? text::format_bytes(shard.backward_load) : "-",
                   shard.store > 0 ? text::format_bytes(shard.store) : "-", text::format_bytes(shard.workspace),
                   format_in_unit(shard.forward_s, "s"), backward ? format_in_unit(shard.backward_s, "s") : "-"});
  }
  return table.to_text(4);
}

std::string group_text(const PlanGroup& group) {
  const char* shape = group.resident ? "resident" : group.shards.size() == 1 ? "one shard" : "cut";
  std::string out = text::cat("\n", group.title, ": ", shape,
                              group.shards.size() > 1 ? text::cat(" into ", group.shards.size(), " shards") : "",
                              "; trials ", text::join(group.trials, ", "), "\n");
  out += layers_text(group) + "\n" + shards_text(group);
  out += text::cat("    state of a trial ", text::format_bytes(group.state_bytes));
  if (group.frozen_bytes > 0) out += text::cat(", frozen and shared ", text::format_bytes(group.frozen_bytes));
  out += text::cat("; a step: compute ", format_in_unit(group.compute_s, "s"), ", transfer ",
                   format_in_unit(group.transfer_s, "s"), ", together ", format_in_unit(group.step_s, "s"),
                   "; peak of a device ", text::format_bytes(group.peak_device), "\n");
  if (group.precision != "fp32") out += text::cat("    computes in ", group.precision, "; its state is float32\n");
  if (group.degree > 1)
    out += text::cat("    data-parallel: ", group.degree, " workers train each step together, sum: ", group.sum,
                     group.sum == "server" ? text::cat(", staleness: ", group.staleness, "; at most ") : "; ",
                     text::format_bytes(group.step_bytes), " over the network in a step, whose time is not counted\n");
  return out;
}

std::string sharing_text(const std::vector<PlanSharing>& sharing) {
  Table table({{"layers"},
               {"trials that begin behind them"},
               {"rows", Align::right},
               {"kept in"},
               {"host memory", Align::right},
               {"disk", Align::right},
               {"GFLOP saved", Align::right},
               {"saved", Align::right},
               {"takes", Align::right}});
  for (const auto& depth : sharing) {
    const PlanShard span{depth.first_layer, depth.last_layer, depth.layers};
    table.add_row({span_text(span), text::join(depth.trials, ", "), std::to_string(depth.rows),
                   depth.tier == "fused" ? "a pass of each epoch" : depth.tier, text::format_bytes(depth.bytes),
                   depth.disk_bytes > 0 ? text::format_bytes(depth.disk_bytes) : "-",
                   text::format_number(depth.saved_flops / 1e9, 1), format_in_unit(depth.saved_s, "s"),
                   format_in_unit(depth.materialise_s + depth.disk_s, "s")});
  }
  return table.to_text(2);
}

std::string row_groups_text(const PlanView& view) {
  const bool cut = view.row_groups.front().partition.has_value();
  std::vector<Column> columns{
      {view.group_by, Align::right}, {"training rows", Align::right}, {"validation rows", Align::right}};
  if (cut) columns.push_back({"partition", Align::right});
  Table table(columns);
  for (const PlanRowGroup& group : view.row_groups) {
    std::vector<std::string> cells{std::to_string(group.value), std::to_string(group.train_rows),
                                   std::to_string(group.valid_rows)};
    if (cut) cells.push_back(std::to_string(group.partition.value_or(0)));
    table.add_row(cells);
  }
  return table.to_text(2);
}

std::string tiers_text(const PlanView& view) {
  const PlanTiers& tiers = view.tiers;
  Table table({{"tier"}, {"budget", Align::right}, {"predicted peak", Align::right}, {"holds"}});
  const auto budget = [](Bytes bytes) { return bytes == 0 ? std::string("-") : text::format_bytes(bytes); };
  table.add_row({"device", budget(tiers.device_budget), text::format_bytes(view.predicted_peak_device),
                 "the shard that computes and the next ones; " + tiers.device});
  table.add_row({"host", budget(tiers.host_budget), text::format_bytes(view.predicted_peak_host),
                 text::cat("the state of ", tiers.active_trials, " of ", view.trials,
                           " trials at a time, activations; needs ", text::format_bytes(tiers.host_need))});
  table.add_row({"disk", budget(tiers.disk_budget), text::format_bytes(view.predicted_peak_disk),
                 tiers.disk_need == 0
                     ? std::string("nothing")
                     : text::cat("the state of all trials, needs ", text::format_bytes(tiers.disk_need), "; ",
                                 text::format_bytes(tiers.disk_written), " will be written")});
  return table.to_text(2);
}

}  // namespace

std::optional<std::string> disk_warning(const PlanView& view) {
  const Bytes need = view.predicted_peak_disk, granted = view.tiers.disk_budget;
  if (need <= granted) return std::nullopt;
  return text::cat("Up to ", text::format_bytes(need), " of disk may be needed and ", text::format_bytes(granted),
                   " are granted: a run that comes to need more ends with exit code 4, and goes on once "
                   "resources.disk.capacity is raised",
                   view.tiers.active_trials > 1 ? "; with fewer execute.active_trials it needs less." : ".");
}

std::string format_plan(const PlanView& view) {
  const char* mark = view.tiers.emulated ? " (emulated devices)" : "";
  std::string out = text::cat(view.name, ": ", view.trials, view.trials == 1 ? " trial" : " trials",
                              ", predicted time ", format_in_unit(view.predicted_s, "s"), mark, "\n");
  for (const auto& group : view.groups) out += group_text(group);
  if (!view.row_groups.empty())
    out += text::cat("\nGroups of rows by ", view.group_by, ": a model for each\n", row_groups_text(view));
  if (!view.sharing.empty()) out += "\nSharing: frozen layers that are computed once\n" + sharing_text(view.sharing);
  out += "\nTiers\n" + tiers_text(view);
  for (const auto& note : view.notes) out += "note: " + note + "\n";
  if (!view.comparisons.empty())
    out += text::cat("\nPredicted and measured", mark, "\n", format_comparisons(view.comparisons, 2));
  return out;
}

}  // namespace hopyard
