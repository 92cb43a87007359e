#include "report/json_fields.h"
#include "report/plan_view.h"

namespace hopyard {

namespace {

constexpr const char* kWhere = "plan";

Bytes bytes_of(const Json& json, const char* key) { return json_get<std::uint64_t>(json, key, kWhere); }
std::string text_of(const Json& json, const char* key) { return json_get<std::string>(json, key, kWhere); }
double number_of(const Json& json, const char* key) { return read_number(json, key, kWhere); }
bool flag_of(const Json& json, const char* key) { return json_get<bool>(json, key, kWhere); }

}  // namespace

void to_json(Json& json, const PlanLayer& layer) {
  json = {{"name", layer.name},
          {"parameters", layer.parameters},
          {"bytes", layer.bytes},
          {"forward_flops", layer.forward_flops},
          {"trainable", layer.trainable}};
}

void from_json(const Json& json, PlanLayer& layer) {
  layer = {text_of(json, "name"), json_get<std::uint64_t>(json, "parameters", kWhere), bytes_of(json, "bytes"),
           number_of(json, "forward_flops"), flag_of(json, "trainable")};
}

void to_json(Json& json, const PlanShard& shard) {
  json = {{"first_layer", shard.first_layer},
          {"last_layer", shard.last_layer},
          {"layers", shard.layers},
          {"forward_load_bytes", shard.forward_load},
          {"backward_load_bytes", shard.backward_load},
          {"store_bytes", shard.store},
          {"workspace_bytes", shard.workspace},
          {"forward_s", shard.forward_s},
          {"backward_s", shard.backward_s}};
}

void from_json(const Json& json, PlanShard& shard) {
  shard.first_layer = text_of(json, "first_layer");
  shard.last_layer = text_of(json, "last_layer");
  shard.layers = read_small(json, "layers", kWhere);
  shard.forward_load = bytes_of(json, "forward_load_bytes");
  shard.backward_load = bytes_of(json, "backward_load_bytes");
  shard.store = bytes_of(json, "store_bytes");
  shard.workspace = bytes_of(json, "workspace_bytes");
  shard.forward_s = number_of(json, "forward_s");
  shard.backward_s = number_of(json, "backward_s");
}

void to_json(Json& json, const PlanGroup& group) {
  json = {{"title", group.title},
          {"trials", group.trials},
          {"layers", group.layers},
          {"shards", group.shards},
          {"resident", group.resident},
          {"state_bytes", group.state_bytes},
          {"frozen_bytes", group.frozen_bytes},
          {"peak_device_bytes", group.peak_device},
          {"compute_s", group.compute_s},
          {"transfer_s", group.transfer_s},
          {"step_s", group.step_s},
          {"degree", group.degree},
          {"sum", group.sum},
          {"staleness", group.staleness},
          {"step_bytes", group.step_bytes},
          {"precision", group.precision}};
}

void from_json(const Json& json, PlanGroup& group) {
  group.title = text_of(json, "title");
  group.trials = read_texts(json, "trials", kWhere);
  group.layers = read_list<PlanLayer>(json, "layers", kWhere);
  group.shards = read_list<PlanShard>(json, "shards", kWhere);
  group.resident = flag_of(json, "resident");
  group.state_bytes = bytes_of(json, "state_bytes");
  group.frozen_bytes = bytes_of(json, "frozen_bytes");
  group.peak_device = bytes_of(json, "peak_device_bytes");
  group.compute_s = number_of(json, "compute_s");
  group.transfer_s = number_of(json, "transfer_s");
  group.step_s = number_of(json, "step_s");
  if (json.contains("precision")) group.precision = text_of(json, "precision");  // else of a version that had only this
  if (!json.contains("degree")) return;                                          // of a version that had no teams
  group.degree = read_small(json, "degree", kWhere);
  group.sum = text_of(json, "sum");
  if (json.contains("staleness")) group.staleness = read_small(json, "staleness", kWhere);
  group.step_bytes = bytes_of(json, "step_bytes");
}

void to_json(Json& json, const PlanSharing& sharing) {
  json = {{"first_layer", sharing.first_layer},
          {"last_layer", sharing.last_layer},
          {"layers", sharing.layers},
          {"trials", sharing.trials},
          {"rows", sharing.rows},
          {"tier", sharing.tier},
          {"bytes", sharing.bytes},
          {"disk_bytes", sharing.disk_bytes},
          {"saved_flops", sharing.saved_flops},
          {"saved_s", sharing.saved_s},
          {"materialise_flops", sharing.materialise_flops},
          {"materialise_s", sharing.materialise_s},
          {"disk_s", sharing.disk_s}};
}

void from_json(const Json& json, PlanSharing& sharing) {
  sharing.first_layer = text_of(json, "first_layer");
  sharing.last_layer = text_of(json, "last_layer");
  sharing.layers = read_small(json, "layers", kWhere);
  sharing.trials = read_texts(json, "trials", kWhere);
  sharing.rows = json_get<std::uint64_t>(json, "rows", kWhere);
  sharing.tier = json.contains("tier") ? text_of(json, "tier") : "host";  // before there were others
  sharing.bytes = bytes_of(json, "bytes");
  if (json.contains("disk_bytes")) sharing.disk_bytes = bytes_of(json, "disk_bytes");
  sharing.saved_flops = number_of(json, "saved_flops");
  sharing.saved_s = number_of(json, "saved_s");
  sharing.materialise_flops = number_of(json, "materialise_flops");
  sharing.materialise_s = number_of(json, "materialise_s");
  if (json.contains("disk_s")) sharing.disk_s = number_of(json, "disk_s");
}

void to_json(Json& json, const PlanTrial& trial) {
  json = {{"trial", trial.id}, {"epochs", trial.epochs}, {"device_s", trial.device_s}};
}

void from_json(const Json& json, PlanTrial& trial) {
  trial = {text_of(json, "trial"), read_epochs(json, "epochs", kWhere), number_of(json, "device_s")};
}

void to_json(Json& json, const PlanRowGroup& group) {
  json = {{"value", group.value}, {"train_rows", group.train_rows}, {"valid_rows", group.valid_rows}};
  if (group.partition) json["partition"] = *group.partition;
}

void from_json(const Json& json, PlanRowGroup& group) {
  group.value = json_get<std::int64_t>(json, "value", kWhere);
  group.train_rows = read_small(json, "train_rows", kWhere);
  group.valid_rows = read_small(json, "valid_rows", kWhere);
  if (json.contains("partition")) group.partition = read_small(json, "partition", kWhere);
}

void to_json(Json& json, const PlanTiers& tiers) {
  json = {{"device", tiers.device},
          {"emulated", tiers.emulated},
          {"device_budget_bytes", tiers.device_budget},
          {"host_budget_bytes", tiers.host_budget},
          {"host_need_bytes", tiers.host_need},
          {"disk_budget_bytes", tiers.disk_budget},
          {"disk_need_bytes", tiers.disk_need},
          {"disk_written_bytes", tiers.disk_written},
          {"active_trials", tiers.active_trials}};
}

void from_json(const Json& json, PlanTiers& tiers) {
  tiers.device = text_of(json, "device");
  tiers.emulated = flag_of(json, "emulated");
  tiers.device_budget = bytes_of(json, "device_budget_bytes");
  tiers.host_budget = bytes_of(json, "host_budget_bytes");
  tiers.host_need = bytes_of(json, "host_need_bytes");
  tiers.disk_budget = bytes_of(json, "disk_budget_bytes");
  tiers.disk_need = bytes_of(json, "disk_need_bytes");
  tiers.disk_written = bytes_of(json, "disk_written_bytes");
  tiers.active_trials = read_small(json, "active_trials", kWhere);
}

void to_json(Json& json, const PlanView& view) {
  json = {{"name", view.name},
          {"trials", view.trials},
          {"groups", view.groups},
          {"sharing", view.sharing},
          {"times", view.times},
          {"tiers", view.tiers},
          {"predicted_s", view.predicted_s},
          {"predicted_peak_device_bytes", view.predicted_peak_device},
          {"predicted_peak_host_bytes", view.predicted_peak_host},
          {"predicted_peak_disk_bytes", view.predicted_peak_disk},
          {"notes", view.notes},
          {"comparisons", view.comparisons}};
  if (view.row_groups.empty()) return;
  json["group_by"] = view.group_by;
  json["row_groups"] = view.row_groups;
}

void from_json(const Json& json, PlanView& view) {
  view.name = text_of(json, "name");
  view.trials = read_small(json, "trials", kWhere);
  view.groups = read_list<PlanGroup>(json, "groups", kWhere);
  view.sharing = read_list<PlanSharing>(json, "sharing", kWhere);
  if (json.contains("times")) view.times = read_list<PlanTrial>(json, "times", kWhere);
  if (json.contains("row_groups")) {
    view.group_by = text_of(json, "group_by");
    view.row_groups = read_list<PlanRowGroup>(json, "row_groups", kWhere);
  }
  if (!json.contains("tiers")) fail(ExitCode::input, kWhere, ": 'tiers' is missing");
  view.tiers = json.at("tiers").get<PlanTiers>();
  view.predicted_s = number_of(json, "predicted_s");
  view.predicted_peak_device = bytes_of(json, "predicted_peak_device_bytes");
  view.predicted_peak_host = bytes_of(json, "predicted_peak_host_bytes");
  view.predicted_peak_disk = bytes_of(json, "predicted_peak_disk_bytes");
  view.notes = read_texts(json, "notes", kWhere);
  view.comparisons = read_list<Comparison>(json, "comparisons", kWhere);
}

}  // namespace hopyard
