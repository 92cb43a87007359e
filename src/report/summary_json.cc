#include "report/json_fields.h"
#include "report/summary.h"

namespace hopyard {

namespace {

constexpr const char* kWhere = "summary";

Bytes bytes_of(const Json& json, const char* key) { return json_get<std::uint64_t>(json, key, kWhere); }
std::string text_of(const Json& json, const char* key) { return json_get<std::string>(json, key, kWhere); }
double number_of(const Json& json, const char* key) { return read_number(json, key, kWhere); }

template <class T>
T object_of(const Json& json, const char* key) {
  if (!json.contains(key)) fail(ExitCode::input, kWhere, ": '", key, "' is missing");
  return json.at(key).get<T>();
}

Json json_of(const CardCondition& card) {
  Json json{{"samples", card.samples}, {"slowed_by", Json::array()}};
  const auto put = [&](const char* key, const auto& value) {
    if (value) json[key] = *value;
  };
  put("sm_mhz_mean", card.sm_mhz_mean);
  put("sm_mhz_least", card.sm_mhz_least);
  put("sm_mhz_max", card.sm_mhz_max);
  put("power_w_mean", card.power_w_mean);
  put("power_w_peak", card.power_w_peak);
  put("power_limit_w", card.power_limit_w);
  put("energy_j", card.energy_j);
  put("celsius_peak", card.celsius_peak);
  put("memory_peak_bytes", card.memory_peak);
  put("memory_bytes", card.memory);
  for (const auto& [reason, share] : card.slowed_by)
    json["slowed_by"].push_back({{"reason", reason}, {"share", share}});
  return json;
}

CardCondition condition_of(const Json& json) {
  CardCondition card;
  card.samples = json_get<std::uint64_t>(json, "samples", kWhere);
  const auto number = [&](const char* key) {
    return json.contains(key) ? std::optional(number_of(json, key)) : std::nullopt;
  };
  const auto bytes = [&](const char* key) {
    return json.contains(key) ? std::optional(bytes_of(json, key)) : std::nullopt;
  };
  card.sm_mhz_mean = number("sm_mhz_mean");
  card.sm_mhz_least = number("sm_mhz_least");
  card.sm_mhz_max = number("sm_mhz_max");
  card.power_w_mean = number("power_w_mean");
  card.power_w_peak = number("power_w_peak");
  card.power_limit_w = number("power_limit_w");
  card.energy_j = number("energy_j");
  card.celsius_peak = number("celsius_peak");
  card.memory_peak = bytes("memory_peak_bytes");
  card.memory = bytes("memory_bytes");
  if (json.contains("slowed_by"))
    for (const Json& slowed : json.at("slowed_by"))
      card.slowed_by.emplace_back(text_of(slowed, "reason"), number_of(slowed, "share"));
  return card;
}

}  // namespace

void to_json(Json& json, const IdleCause& value) { json = {{"cause", value.cause}, {"seconds", value.seconds}}; }

void from_json(const Json& json, IdleCause& value) { value = {text_of(json, "cause"), number_of(json, "seconds")}; }

void to_json(Json& json, const CardUse& value) {
  json = {{"wall_s", value.wall_s},
          {"kernel_s", value.kernel_s},
          {"copy_s", value.copy_s},
          {"overlapped_s", value.overlapped_s},
          {"dropped_records", value.dropped}};
}

void from_json(const Json& json, CardUse& value) {
  value = {number_of(json, "wall_s"), number_of(json, "kernel_s"), number_of(json, "copy_s"),
           number_of(json, "overlapped_s"), json_get<std::uint64_t>(json, "dropped_records", kWhere)};
}

void to_json(Json& json, const DeviceSummary& value) {
  json = {{"name", value.name},
          {"emulated", value.emulated},
          {"busy_s", value.busy_s},
          {"wall_s", value.wall_s},
          {"idle", value.idle},
          {"memory_budget_bytes", value.memory_budget},
          {"memory_peak_bytes", value.memory_peak},
          {"loaded_bytes", value.loaded},
          {"stored_bytes", value.stored},
          {"tasks", value.tasks},
          {"link_bytes_per_s", value.link_bytes_per_s}};
  if (value.recorded_steps > 0) json["recorded_steps"] = value.recorded_steps;
  if (value.card) json["card"] = *value.card;
  if (value.condition) json["condition"] = json_of(*value.condition);
}

void from_json(const Json& json, DeviceSummary& value) {
  value.name = text_of(json, "name");
  value.emulated = json_get<bool>(json, "emulated", kWhere);
  value.busy_s = number_of(json, "busy_s");
  value.wall_s = number_of(json, "wall_s");
  value.idle = read_list<IdleCause>(json, "idle", kWhere);
  value.memory_budget = bytes_of(json, "memory_budget_bytes");
  value.memory_peak = bytes_of(json, "memory_peak_bytes");
  value.loaded = bytes_of(json, "loaded_bytes");
  value.stored = bytes_of(json, "stored_bytes");
  value.tasks = json_get<std::uint64_t>(json, "tasks", kWhere);
  value.link_bytes_per_s = number_of(json, "link_bytes_per_s");
  if (json.contains("recorded_steps")) value.recorded_steps = json_get<std::uint64_t>(json, "recorded_steps", kWhere);
  if (json.contains("card")) {
    CardUse card;
    from_json(json.at("card"), card);
    value.card = card;
  }
  if (json.contains("condition")) value.condition = condition_of(json.at("condition"));
}

void to_json(Json& json, const TierSummary& value) {
  json = {{"host_budget_bytes", value.host_budget},   {"host_peak_bytes", value.host_peak},
          {"disk_budget_bytes", value.disk_budget},   {"disk_peak_bytes", value.disk_peak},
          {"disk_written_bytes", value.disk_written}, {"disk_read_bytes", value.disk_read}};
  if (!value.worker.empty()) json["worker"] = value.worker;
}

void from_json(const Json& json, TierSummary& value) {
  value = {bytes_of(json, "host_budget_bytes"),
           bytes_of(json, "host_peak_bytes"),
           bytes_of(json, "disk_budget_bytes"),
           bytes_of(json, "disk_peak_bytes"),
           bytes_of(json, "disk_written_bytes"),
           bytes_of(json, "disk_read_bytes"),
           json.contains("worker") ? text_of(json, "worker") : ""};
}

void to_json(Json& json, const TransferSummary& value) {
  json = {{"from", value.from}, {"to", value.to}, {"bytes", value.bytes}};
}

void from_json(const Json& json, TransferSummary& value) {
  value = {text_of(json, "from"), text_of(json, "to"), bytes_of(json, "bytes")};
}

void to_json(Json& json, const Comparison& value) {
  json = {{"what", value.what}, {"predicted", value.predicted}, {"measured", value.measured}, {"unit", value.unit}};
}

void from_json(const Json& json, Comparison& value) {
  value = {text_of(json, "what"), number_of(json, "predicted"), number_of(json, "measured"), text_of(json, "unit")};
}

void to_json(Json& json, const RunSummary& value) {
  json = {{"name", value.name},
          {"wall_s", value.wall_s},
          {"devices", value.devices},
          {"tiers", value.tiers},
          {"transfers", value.transfers},
          {"comparisons", value.comparisons},
          {"program_image_bytes", value.program_image_bytes},
          {"machine", value.machine}};
}

void from_json(const Json& json, RunSummary& value) {
  value.name = text_of(json, "name");
  value.wall_s = number_of(json, "wall_s");
  value.devices = read_list<DeviceSummary>(json, "devices", kWhere);
  value.tiers = object_of<TierSummary>(json, "tiers");
  value.transfers = read_list<TransferSummary>(json, "transfers", kWhere);
  value.comparisons = read_list<Comparison>(json, "comparisons", kWhere);
  value.program_image_bytes = bytes_of(json, "program_image_bytes");
  value.machine = read_texts(json, "machine", kWhere);
}

}  // namespace hopyard
