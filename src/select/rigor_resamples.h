// Which training rows each run of a group sees. Pure and deterministic; any thread.
#pragma once

#include <cstdint>
#include <vector>

namespace hopyard::rigor {

/// bootstrap: as many draws as rows, with replacement (Efron, "Bootstrap methods: another look at the jackknife",
/// Annals of Statistics 7, 1979); about 63 % of the rows appear. kfold: the rows are shuffled once and cut into k folds
/// whose sizes differ by at most one; run i leaves fold i out (Stone, JRSS B 36, 1974).
enum class ResampleKind { bootstrap, kfold };

struct Resample {
  std::vector<std::uint32_t> train;     ///< ascending; a row drawn twice stands there twice
  std::vector<std::uint32_t> held_out;  ///< ascending: the fold left out, or the rows that the bootstrap did not draw
  bool operator==(const Resample&) const = default;
};

/// Resample `index` of `count` over rows 0 … rows − 1. A bootstrap resample follows from (rows, index, seed) alone:
/// more of them leave the first ones as they were. Failure(usage) for no rows, no resamples, fewer than two folds, or
/// more folds than rows. Requires index < count.
Resample make_resample(std::uint32_t rows, ResampleKind kind, std::uint32_t count, std::uint32_t index,
                       std::uint64_t seed);

}  // namespace hopyard::rigor
