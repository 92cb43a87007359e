// Search spaces and searchers: they ask for trials and are told scores; they never see devices.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/trial.h"

namespace hopyard {

/// One searched value of the config.
struct Dimension {
  enum class Kind { grid, choice, uniform, loguniform, integer };
  std::string path;  ///< "train.optimizer.lr"
  Kind kind = Kind::grid;
  std::vector<SettingValue> values;  ///< of grid and choice
  double low = 0, high = 0;          ///< of uniform, loguniform, integer (both ends included for integer)
  bool operator==(const Dimension&) const = default;
};

struct SearchSpec {
  enum class Method { grid, random };
  Method method = Method::grid;
  std::string metric = "valid/accuracy";
  bool maximize = true;
  std::uint32_t trials = 0;  ///< for random; grid runs all combinations
  bool operator==(const SearchSpec&) const = default;
};

/// Deterministic: a searcher made again and told the same scores asks for the same trials. Not thread-safe.
class Searcher {
 public:
  virtual ~Searcher() = default;
  /// The next trial to run, or nothing when there is none (for now).
  virtual std::optional<TrialSpec> ask() = 0;
  virtual void tell(const TrialScore& score) = 0;
  virtual bool finished() const = 0;  ///< no further ask() will ever give a trial
};

/// grid: all combinations, the last dimension fastest; requires grid or choice dimensions only. random: `trials` draws,
/// each keyed by its index; grid dimensions are drawn from like choice. Failure(usage) when the method cannot use a
/// dimension.
std::unique_ptr<Searcher> make_searcher(const SearchSpec& spec, const std::vector<Dimension>& space,
                                        std::uint64_t seed);

/// Better first by the metric; trials without a score last; ties by id. Returns positions into `records`.
std::vector<std::size_t> rank(const std::vector<std::optional<double>>& metrics, bool maximize);

}  // namespace hopyard
