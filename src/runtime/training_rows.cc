#include "runtime/training_rows.h"

#include <numeric>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {

TrainRows train_rows_of(const TrialSpec& trial, std::uint32_t rows) {
  if (!trial.replicate) return {rows, 0, std::nullopt};
  return {rows, trial.replicate->seed, trial.replicate->resample};
}

std::vector<std::uint32_t> TrainingRows::numbers(const TrainRows& rows) const {
  if (rows.resample)
    return rigor::make_resample(rows.rows, search_.resample_method, search_.resamples, *rows.resample, seed_).train;
  std::vector<std::uint32_t> all(rows.rows);
  std::iota(all.begin(), all.end(), 0u);
  return all;
}

std::uint64_t TrainingRows::order_seed(const TrainRows& rows) const {
  return rows.seed == 0 ? seed_ : derive(derive(seed_, "seed number"), rows.seed);
}

std::shared_ptr<const Partitions> TrainingRows::partitions(const TrainRows& rows, std::uint32_t count) {
  auto& known = made_[rows];
  if (!known)
    known = cut_ ? std::make_shared<Partitions>(cut_->partitions(order_seed(rows)))
                 : std::make_shared<Partitions>(numbers(rows), count, order_seed(rows));
  require(known->count() == count, "a trial with ", known->count(), " partitions is asked to have ", count);
  return known;
}

}  // namespace hopyard
