// The values that travel between the search and the engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/epochs.h"

namespace hopyard {

using SettingValue = std::variant<bool, std::int64_t, double, std::string>;

/// One hyperparameter of a trial: the config's path and the value that the search chose for it.
struct Setting {
  std::string path;  ///< for example "train.optimizer.lr"
  SettingValue value;
  bool operator==(const Setting&) const = default;
};

/// "3e-05", "4", "true", "adamw": as the leaderboard prints it; doubles keep every digit that they need.
std::string to_string(const SettingValue& value);

/// Whose clone a trial is. A warm one begins at its parent's state, a cold one at the beginning.
struct Lineage {
  std::string parent;
  std::uint32_t epochs = 0;  ///< whole ones that the parent had behind it, and the clone from its beginning; cold: 0
  bool operator==(const Lineage&) const = default;
};

/// Which member of a group a trial is. The members of a group are replicates: they differ by the seed and by the rows
/// that they see, and by nothing else.
struct Replicate {
  std::string group;                      ///< its id
  std::uint32_t seed = 0;                 ///< number of the seed, from 0: order of rows, masks, weights of a new head
  std::optional<std::uint32_t> resample;  ///< number of the resample of the training rows, from 0; nothing: all rows
  /// It trains on the rows, and is judged on those, that have this value of data.group_by; nothing: on all.
  std::optional<std::int64_t> row_group = std::nullopt;
  bool operator==(const Replicate&) const = default;
};

/// A trial as the search asks for it.
struct TrialSpec {
  std::string id;  ///< "t00", "t01", …: the order of asking; "t01.s0", "t01.s2r1", "t01.g5" of a group's members
  std::uint32_t index = 0;  ///< place in the order of asking
  /// Follows from the experiment's seed, the settings and the number of the seed, never from the index. A warm clone
  /// has its parent's, since frozen layers without a checkpoint are drawn from it.
  std::uint64_t seed = 0;
  std::vector<Setting> settings;
  std::optional<Lineage> lineage;      ///< of a clone
  std::optional<Replicate> replicate;  ///< of a member of a group
  bool operator==(const TrialSpec&) const = default;
};

/// The seed that a trial's settings give: masks and head initialisation are keyed by it.
std::uint64_t trial_seed(std::uint64_t experiment_seed, const std::vector<Setting>& settings);

/// The seed of a group's member, from the one that the group's settings give: of seed number 0 the same.
std::uint64_t replicate_seed(std::uint64_t trial_seed, std::uint32_t seed_number);

/// The id of the trial's group; a plain trial is a group of one, under its own id.
const std::string& group_of(const TrialSpec& spec);

/// What one evaluation of a trial gave; the search is told these.
struct TrialScore {
  std::string trial;
  Epochs epoch;           ///< that it has behind it; whole, or where the search had it pause
  double train_loss = 0;  ///< mean over the counted items of the last epoch, as far as it has come
  double valid_loss = 0;  ///< mean over the validation set's counted items
  double metric = 0;      ///< the metric that the search optimises, for example valid/accuracy
  std::string digest;     ///< of the model's parameters, as 32 hexadecimal digits
  bool operator==(const TrialScore&) const = default;
};

enum class TrialState { waiting, active, finished, failed, stopped };
std::string to_string(TrialState state);

}  // namespace hopyard
