#include "select/rigor_resamples.h"

#include <algorithm>

#include "base/failure.h"
#include "base/rng.h"
#include "select/rigor_bootstrap.h"

namespace hopyard::rigor {
namespace {

void check(std::uint32_t rows, ResampleKind kind, std::uint32_t count, std::uint32_t index) {
  if (rows == 0) fail(ExitCode::usage, "there are no training rows to resample");
  if (count == 0) fail(ExitCode::usage, "'resamples' is 0; give how many, or leave it out");
  if (kind == ResampleKind::kfold && count < 2)
    fail(ExitCode::usage, "k-fold with one fold leaves nothing to train on; give at least 2 folds");
  if (kind == ResampleKind::kfold && count > rows)
    fail(ExitCode::usage, "there are ", rows, " training rows for ", count,
         " folds; give at most as many folds as rows");
  require(index < count, "resample ", index, " of ", count);
}

Resample bootstrap(std::uint32_t rows, std::uint32_t index, std::uint64_t seed) {
  std::vector<double> counts(rows);
  draw_counts(derive(seed, "resample"), index, counts);
  Resample resample;
  for (std::uint32_t row = 0; row < rows; ++row) {
    resample.train.insert(resample.train.end(), static_cast<std::size_t>(counts[row]), row);
    if (counts[row] == 0) resample.held_out.push_back(row);
  }
  return resample;
}

Resample leave_fold_out(std::uint32_t rows, std::uint32_t count, std::uint32_t index, std::uint64_t seed) {
  const auto begin_of = [&](std::uint32_t fold) {
    return static_cast<std::uint32_t>(std::uint64_t{rows} * fold / count);
  };
  const auto shuffled = permutation(rows, derive(seed, "folds"));
  Resample resample;
  for (std::uint32_t place = 0; place < rows; ++place) {
    const bool held_out = place >= begin_of(index) && place < begin_of(index + 1);
    (held_out ? resample.held_out : resample.train).push_back(shuffled[place]);
  }
  std::sort(resample.train.begin(), resample.train.end());
  std::sort(resample.held_out.begin(), resample.held_out.end());
  return resample;
}

}  // namespace

Resample make_resample(std::uint32_t rows, ResampleKind kind, std::uint32_t count, std::uint32_t index,
                       std::uint64_t seed) {
  check(rows, kind, count, index);
  if (kind == ResampleKind::bootstrap) return bootstrap(rows, index, seed);
  return leave_fold_out(rows, count, index, seed);
}

}  // namespace hopyard::rigor
