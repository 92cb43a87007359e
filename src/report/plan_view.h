// A plan as people and programs read it: `hopyard plan` fills it in and prints it.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/epochs.h"
#include "formats/json.h"
#include "report/summary.h"

namespace hopyard {

struct PlanLayer {
  std::string name;
  std::uint64_t parameters = 0;  ///< tied uses count at their first layer
  Bytes bytes = 0;               ///< of parameters
  double forward_flops = 0;      ///< of one batch; multiply and add count as two
  bool trainable = true;
  bool operator==(const PlanLayer&) const = default;
};

struct PlanShard {
  std::string first_layer, last_layer;
  std::uint32_t layers = 0;
  Bytes forward_load = 0, backward_load = 0, store = 0;
  Bytes workspace = 0;                   ///< the larger of forward and backward
  double forward_s = 0, backward_s = 0;  ///< predicted, of one batch; backward 0 when it has none
  bool operator==(const PlanShard&) const = default;
};

/// Trials with the same layers, costs and cuts.
struct PlanGroup {
  std::vector<std::string> trials;  ///< ids
  std::string title;                ///< "bert, freeze 0"
  std::vector<PlanLayer> layers;
  std::vector<PlanShard> shards;
  bool resident = false;   ///< one shard that stays on its device
  Bytes state_bytes = 0;   ///< of one trial: parameters and moments
  Bytes frozen_bytes = 0;  ///< shared by the trials that have the same
  Bytes peak_device = 0;
  double compute_s = 0, transfer_s = 0, step_s = 0;  ///< predicted, of one step
  std::uint32_t degree = 1;                          ///< workers that train a step together
  std::string sum;                                   ///< how they add their gradients: "ordered"
  std::uint32_t staleness = 0;                       ///< of "server"
  std::string precision = "fp32";                    ///< that they compute in
  Bytes step_bytes = 0;                              ///< over the network, by formula, of such a step
  bool operator==(const PlanGroup&) const = default;
};

/// What goes to which tier.
struct PlanTiers {
  std::string device;  ///< "2 × emulated, 256 MiB, link 4.00 GiB/s"
  bool emulated = false;
  Bytes device_budget = 0;  ///< of one device
  Bytes host_budget = 0, host_need = 0;
  Bytes disk_budget = 0, disk_need = 0;
  Bytes disk_written = 0;           ///< over the whole run
  std::uint32_t active_trials = 0;  ///< whose state the host tier holds at a time
  bool operator==(const PlanTiers&) const = default;
};

/// Layers that are computed once for several trials or epochs.
struct PlanSharing {
  std::string first_layer, last_layer;
  std::uint32_t layers = 0;
  std::vector<std::string> trials;                  ///< that begin behind them
  std::uint64_t rows = 0;                           ///< materialised, training and validation
  std::string tier;                                 ///< "host"; "disk"; "fused": computed once for each epoch
  Bytes bytes = 0, disk_bytes = 0;                  ///< of the host tier and of the disk tier
  double saved_flops = 0, saved_s = 0;              ///< predicted, of these trials
  double materialise_flops = 0, materialise_s = 0;  ///< predicted, from the depth before in the same model
  double disk_s = 0;                                ///< predicted, of writing to disk and reading from there
  bool operator==(const PlanSharing&) const = default;
};

/// Of one trial, with as many epochs as the search is expected to give it.
struct PlanTrial {
  std::string id;
  Epochs epochs;
  double device_s = 0;  ///< predicted, computing
  bool operator==(const PlanTrial&) const = default;
};

/// Rows for which models are trained apart (data.group_by).
struct PlanRowGroup {
  std::int64_t value = 0;
  std::uint32_t train_rows = 0, valid_rows = 0;
  std::optional<std::uint32_t> partition;  ///< that has it, where the data were cut by groups
  bool operator==(const PlanRowGroup&) const = default;
};

struct PlanView {
  std::string name;  ///< of the experiment
  std::uint32_t trials = 0;
  std::vector<PlanGroup> groups;
  std::vector<PlanSharing> sharing;
  std::vector<PlanTrial> times;
  std::string group_by;  ///< the column that row_groups are of; empty without any
  std::vector<PlanRowGroup> row_groups;
  PlanTiers tiers;
  double predicted_s = 0;  ///< of the whole run
  Bytes predicted_peak_device = 0, predicted_peak_host = 0, predicted_peak_disk = 0;
  std::vector<std::string> notes;       ///< what a reader should know, one sentence each
  std::vector<Comparison> comparisons;  ///< after a run
  bool operator==(const PlanView&) const = default;
};

/// As in report/summary.h.
void to_json(Json& json, const PlanLayer& layer);
void from_json(const Json& json, PlanLayer& layer);
void to_json(Json& json, const PlanShard& shard);
void from_json(const Json& json, PlanShard& shard);
void to_json(Json& json, const PlanGroup& group);
void from_json(const Json& json, PlanGroup& group);
void to_json(Json& json, const PlanSharing& sharing);
void from_json(const Json& json, PlanSharing& sharing);
void to_json(Json& json, const PlanTrial& trial);
void from_json(const Json& json, PlanTrial& trial);
void to_json(Json& json, const PlanRowGroup& group);
void from_json(const Json& json, PlanRowGroup& group);
void to_json(Json& json, const PlanTiers& tiers);
void from_json(const Json& json, PlanTiers& tiers);
void to_json(Json& json, const PlanView& view);
void from_json(const Json& json, PlanView& view);

/// Where the run may come to need more disk than is granted: a sentence of what follows. The predicted peak is what it
/// needs at most, so this is no reason to refuse it.
std::optional<std::string> disk_warning(const PlanView& view);

/// For people; ends with a newline.
std::string format_plan(const PlanView& view);

}  // namespace hopyard
