// Which rows each trial trains on, and in which order.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/trial.h"
#include "data/partition_set.h"
#include "data/row_groups.h"
#include "select/search.h"

namespace hopyard {

/// Equal for trials that train on the same rows in the same order, and so share their partitions.
struct TrainRows {
  std::uint32_t rows = 0;                                ///< the first so many of the data set
  std::uint32_t seed = 0;                                ///< number of the seed: each has an order of its own
  std::optional<std::uint32_t> resample;                 ///< of these rows; nothing: all of them
  std::optional<std::int64_t> row_group = std::nullopt;  ///< those of one value of data.group_by; nothing: of all
  auto operator<=>(const TrainRows&) const = default;
};
/// Those of a trial that may use the first `rows` rows.
TrainRows train_rows_of(const TrialSpec& trial, std::uint32_t rows);

/// The partitions of an experiment's trials, each made once. One thread.
class TrainingRows {
 public:
  /// `search` says how training rows are resampled; both follow from the experiment's seed. `cut` may be null;
  /// otherwise its partitions are those of all trials, or those of their groups of rows. `groups`: null without them.
  TrainingRows(const SearchSpec& search, std::uint64_t seed, std::shared_ptr<const PartitionSet> cut = nullptr,
               std::shared_ptr<const RowGroups> groups = nullptr)
      : search_(search), seed_(seed), cut_(std::move(cut)), groups_(std::move(groups)) {}

  /// How many there are, those that stand there twice counted twice. Failure(usage) when they cannot be resampled so.
  std::uint32_t count(const TrainRows& rows) const { return static_cast<std::uint32_t>(numbers(rows).size()); }
  /// The order of rows follows from it; of seed number 0, the experiment's own.
  std::uint64_t order_seed(const TrainRows& rows) const;
  /// `count`: that it visits. Failure(usage) when there are more partitions than rows.
  std::shared_ptr<const Partitions> partitions(const TrainRows& rows, std::uint32_t count);
  /// All that were asked for.
  const std::map<TrainRows, std::shared_ptr<const Partitions>>& made() const { return made_; }

 private:
  std::vector<std::uint32_t> numbers(const TrainRows& rows) const;
  const RowGroups::Group& group_of(const TrainRows& rows) const;
  Partitions make(const TrainRows& rows, std::uint32_t count) const;

  const SearchSpec search_;
  const std::uint64_t seed_;
  const std::shared_ptr<const PartitionSet> cut_;
  const std::shared_ptr<const RowGroups> groups_;
  std::map<TrainRows, std::shared_ptr<const Partitions>> made_;
};

}  // namespace hopyard
