// The values that travel between the search and the engine.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

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
  std::uint32_t epochs = 0;  ///< that the parent had behind it, and the clone has from its beginning; cold: 0
  bool operator==(const Lineage&) const = default;
};

/// A trial as the search asks for it.
struct TrialSpec {
  std::string id;           ///< "t00", "t01", …: the order of asking
  std::uint32_t index = 0;  ///< place in the order of asking
  /// Follows from the experiment's seed and the settings, never from the index. A warm clone has its parent's, since
  /// frozen layers without a checkpoint are drawn from it.
  std::uint64_t seed = 0;
  std::vector<Setting> settings;
  std::optional<Lineage> lineage;  ///< of a clone
  bool operator==(const TrialSpec&) const = default;
};

/// The seed that a trial's settings give: masks and head initialisation are keyed by it.
std::uint64_t trial_seed(std::uint64_t experiment_seed, const std::vector<Setting>& settings);

/// What one evaluation of a trial gave; the search is told these.
struct TrialScore {
  std::string trial;
  std::uint32_t epoch = 0;  ///< epochs finished, from 1
  double train_loss = 0;    ///< mean over the epoch's counted items
  double valid_loss = 0;    ///< mean over the validation set's counted items
  double metric = 0;        ///< the metric that the search optimises, for example valid/accuracy
  std::string digest;       ///< of the model's parameters, as 32 hexadecimal digits
  bool operator==(const TrialScore&) const = default;
};

enum class TrialState { waiting, active, finished, failed, stopped };
std::string to_string(TrialState state);

}  // namespace hopyard
