#include <algorithm>
#include <numeric>

#include "base/failure.h"
#include "base/rng.h"
#include "data/dataset.h"

namespace hopyard {

Partitions::Partitions(std::uint32_t rows, std::uint32_t count, std::uint64_t seed) : seed_(seed) {
  if (count == 0 || count > rows)
    fail(ExitCode::usage, "data.partitions: ", count, " partitions cannot share ", rows, " training rows; give 1 to ",
         rows);
  shuffled_ = permutation(rows, derive(seed, "partitions"));
  std::vector<std::uint32_t> begin;
  for (std::uint64_t i = 0; i <= count; ++i) begin.push_back(static_cast<std::uint32_t>(i * rows / count));
  set_bounds(std::move(begin));
}

void Partitions::set_bounds(std::vector<std::uint32_t> begin) {
  begin_ = std::move(begin);
  for (std::uint32_t p = 0; p < count(); ++p)
    if (rows(p) > 0) to_visit_.push_back(p);
}

Partitions::Partitions(const std::vector<std::uint32_t>& rows, std::uint32_t count, std::uint64_t seed)
    : Partitions(static_cast<std::uint32_t>(rows.size()), count, seed) {
  for (auto& place : shuffled_) place = rows[place];
}

Partitions Partitions::laid_out(std::vector<std::uint32_t> begin, std::uint64_t seed) {
  require(begin.size() > 1 && begin.front() == 0 && std::is_sorted(begin.begin(), begin.end()), "partitions begin at ",
          begin.size(), " rows that do not ascend from 0");
  Partitions partitions;
  partitions.seed_ = seed;
  partitions.shuffled_.resize(begin.back());
  std::iota(partitions.shuffled_.begin(), partitions.shuffled_.end(), 0u);
  partitions.set_bounds(std::move(begin));
  return partitions;
}

Partitions Partitions::of_parts(const std::vector<std::vector<std::uint32_t>>& parts, std::uint64_t seed) {
  Partitions partitions;
  partitions.seed_ = seed;
  std::vector<std::uint32_t> begin{0};
  for (const auto& rows : parts) {
    partitions.shuffled_.insert(partitions.shuffled_.end(), rows.begin(), rows.end());
    begin.push_back(static_cast<std::uint32_t>(partitions.shuffled_.size()));
  }
  require(!partitions.shuffled_.empty(), parts.size(), " partitions without a row");
  partitions.set_bounds(std::move(begin));
  return partitions;
}

std::vector<std::uint32_t> Partitions::order(std::uint32_t partition, std::uint32_t epoch) const {
  require(partition < count(), "partition ", partition, " of ", count());
  const std::uint64_t key = derive(derive(derive(seed_, "order"), epoch), partition);
  std::vector<std::uint32_t> order = permutation(rows(partition), key);
  for (auto& position : order) position = shuffled_[begin_[partition] + position];
  return order;
}

std::vector<std::vector<std::uint32_t>> Partitions::members() const {
  std::vector<std::vector<std::uint32_t>> all;
  for (std::uint32_t p = 0; p < count(); ++p) {
    all.emplace_back(shuffled_.begin() + begin_[p], shuffled_.begin() + begin_[p + 1]);
    std::sort(all.back().begin(), all.back().end());
  }
  return all;
}

std::uint64_t batch_count(std::uint64_t rows, std::uint64_t batch_size) {
  require(batch_size > 0, "batch_count with batches of 0 rows");
  return rows / batch_size + (rows % batch_size != 0);
}

}  // namespace hopyard
