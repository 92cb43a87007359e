#include "runtime/training_rows.h"

#include <numeric>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {

TrainRows train_rows_of(const TrialSpec& trial, std::uint32_t rows) {
  if (!trial.replicate) return {rows, 0, std::nullopt};
  return {rows, trial.replicate->seed, trial.replicate->resample, trial.replicate->row_group};
}

const RowGroups::Group& TrainingRows::group_of(const TrainRows& rows) const {
  const RowGroups::Group* group = groups_ ? groups_->find(*rows.row_group) : nullptr;
  if (group == nullptr)
    fail(ExitCode::input, "data.group_by: no training row is of group ", *rows.row_group, ", which a trial is of");
  return *group;
}

std::vector<std::uint32_t> TrainingRows::numbers(const TrainRows& rows) const {
  std::vector<std::uint32_t> all;
  if (rows.row_group) {
    all = group_of(rows).rows;
  } else {
    all.resize(rows.rows);
    std::iota(all.begin(), all.end(), 0u);
  }
  if (!rows.resample) return all;
  auto drawn = rigor::make_resample(static_cast<std::uint32_t>(all.size()), search_.resample_method, search_.resamples,
                                    *rows.resample, seed_)
                   .train;
  for (auto& place : drawn) place = all[place];
  return drawn;
}

std::uint64_t TrainingRows::order_seed(const TrainRows& rows) const {
  return rows.seed == 0 ? seed_ : derive(derive(seed_, "seed number"), rows.seed);
}

std::shared_ptr<const Partitions> TrainingRows::partitions(const TrainRows& rows, std::uint32_t count) {
  auto& known = made_[rows];
  if (!known) known = std::make_shared<Partitions>(make(rows, count));
  require(known->to_visit().size() == count, "a trial with ", known->to_visit().size(), " partitions is asked to have ",
          count);
  return known;
}

Partitions TrainingRows::make(const TrainRows& rows, std::uint32_t count) const {
  const std::uint64_t seed = order_seed(rows);
  if (cut_ && !rows.row_group) return cut_->partitions(seed);
  auto all = numbers(rows);
  if (cut_) {
    std::vector<std::vector<std::uint32_t>> parts(cut_->count());
    parts[group_of(rows).partition] = std::move(all);
    return Partitions::of_parts(parts, seed);
  }
  if (rows.row_group && count > all.size())
    fail(ExitCode::usage, "data.partitions: ", count, " partitions cannot share the ", all.size(),
         " training rows of group ", *rows.row_group, " of data.group_by; give 1 to ", all.size());
  return Partitions(all, count, seed);
}

}  // namespace hopyard
