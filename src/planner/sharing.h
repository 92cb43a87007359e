// The sweep as one query: which frozen layers are computed once and materialised for all trials that have them in
// common. Pure. (Nautilus: Nakandala & Kumar, SIGMOD 2022, §4.2, for chains of layers.)
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "pipeline/trial_setup.h"

namespace hopyard {

/// A trial as the choice sees it. What a row takes is per row of the data.
struct SharingTrial {
  std::string id;
  std::string prefix;                     ///< prefix_key(): equal for trials whose frozen layers give the same
  std::uint64_t rows = 0;                 ///< of the data sets: what materialising computes
  std::uint64_t valid_rows = 0;           ///< of those, the rows of validation data
  std::vector<std::uint64_t> partitions;  ///< training rows of each; empty: only whole data sets are kept
  /// Equal for trials of the same partitions; where they differ, visits of one trial need other rows than another's.
  std::uint64_t order = 0;
  std::uint32_t epochs_left = 1;
  std::uint64_t rows_left = 0;  ///< that the trial has yet to send through its layers, in all epochs
  struct FrozenLayer {
    double pass_s = 0;       ///< of one row: computing it, or bringing the layer's bytes where that takes longer
    double flops = 0;        ///< of one row
    double read_s = 0;       ///< of one row of what it gives, from features
    Bytes output_bytes = 0;  ///< of one row
    Bytes parameter_bytes = 0;
    Bytes read_bytes = 0;  ///< taken besides while it is read from a checkpoint and rounded
  };
  std::vector<FrozenLayer> frozen;  ///< from the model's first
};

/// Trials that begin behind the same layers.
struct SharedDepth {
  std::uint32_t end_layer = 0;  ///< layers [0, end_layer) are not computed by these trials
  std::vector<std::string> trials;
  FeatureTier tier = FeatureTier::host;
  Bytes bytes = 0, disk_bytes = 0;      ///< of the host tier and of the disk tier
  double saved_s = 0, saved_flops = 0;  ///< of these trials; seconds less what reading takes
  /// Of taking each row here from the depth before, as often as it is done.
  double materialise_s = 0, materialise_flops = 0;
  double disk_s = 0;  ///< of writing to the disk tier and reading from there
  bool operator==(const SharedDepth&) const = default;
};

/// A chain of materialised layers: what is behind a later one is computed from what is behind the one before.
struct SharedPrefix {
  std::string prefix;
  std::uint64_t rows = 0;
  std::vector<SharedDepth> depths;  ///< ascending
  Bytes bytes() const;
  Bytes disk_bytes() const;
  double gain_s() const;  ///< what all its trials save, less what materialising and the disk take
  bool operator==(const SharedPrefix&) const = default;
};

struct SharingPlan {
  std::vector<SharedPrefix> prefixes;
  Bytes bytes() const;
  Bytes disk_bytes() const;
  double materialise_s() const;
  /// Where the trial begins; null when it computes all its layers.
  const SharedDepth* find(const std::string& trial) const;
  std::uint32_t first_layer(const std::string& trial) const;
  bool operator==(const SharingPlan&) const = default;
};

/// What features may take, and how fast the disk tier is.
struct SharingBudget {
  Bytes host = 0, disk = 0;
  double disk_read_bytes_per_s = 1e9, disk_write_bytes_per_s = 1e9;
};

/// For each prefix the depths, and for each depth the tier, that save most predicted time, among all that fit the
/// budget together; a prefix that saves more chooses first. Exact for one prefix whose layers give rows of one size, as
/// long as no more than kChoicesMax ways to reach a depth are worth following; a row counts as the largest. Trials of
/// other partitions share whole data sets, in host memory; where nothing of that fits, each order is for itself.
SharingPlan plan_sharing(const std::vector<SharingTrial>& trials, const SharingBudget& budget);
inline constexpr std::size_t kChoicesMax = 512;
/// The least of the host tier with which one depth would be kept that saves time; nothing when none does.
std::optional<Bytes> least_host_bytes(const std::vector<SharingTrial>& trials, const SharingBudget& budget);

/// Equal for trials whose frozen layers give equal bits for equal rows: model, weights, data, shape of micro-batches.
std::string prefix_key(const TrialSetup& setup);
/// Of reading one row of what the layers before `end_layer` gave: over the link, or within host memory.
double feature_row_s(const TrialSetup& setup, std::uint32_t end_layer);
/// A planned trial that computes all its layers, as the choice sees it. `rows_left` as there. Without frozen layers
/// when it must not share: its frozen layers have dropout.
SharingTrial sharing_trial(const TrialSetup& setup, std::uint64_t rows_left);
/// Visits whose features are in host memory at a time where not all are: those under way, and the next.
inline constexpr std::uint32_t kFeatureSlots = 2;

/// The runs that take the rows of one data set from behind layer `from` to behind layer `to`, one after another, each
/// one shard that a device holds whole and whose parameters are at most `host` bytes, if a layer is: so each layer is
/// brought in once for all rows. Requires a planned trial with these layers frozen; number, id and data are the
/// caller's.
std::vector<TrialSetup> materialising_runs(const TrialSetup& trial, std::uint32_t from, std::uint32_t to, Bytes host);

}  // namespace hopyard
