#include "hopper/visit_order.h"

#include <algorithm>
#include <numeric>
#include <set>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard {

std::uint32_t rotated_partition(std::uint32_t rotation, std::uint32_t epoch, std::uint32_t visit,
                                std::uint32_t partitions) {
  require(visit < partitions, "visit ", visit, " of ", partitions, " partitions");
  return static_cast<std::uint32_t>((std::uint64_t{rotation} + epoch + visit) % partitions);
}

std::vector<std::uint32_t> listed_visits(const RecordedVisits& record, std::uint32_t rotation,
                                         const std::vector<std::uint32_t>& own, const std::string& where) {
  const auto count = static_cast<std::uint32_t>(own.size());
  const auto rotated = [&](std::size_t visits) {
    return partition_in_order(rotation, nullptr, static_cast<std::uint32_t>(visits), count, own);
  };
  std::vector<std::uint32_t> list;
  while (list.size() < record.first) list.push_back(rotated(list.size()));
  std::set<std::uint32_t> visited;  // of the epoch, as far as it is recorded
  for (const std::uint32_t partition : record.partitions) {
    if (list.size() % count == 0) visited.clear();
    const bool known = std::binary_search(own.begin(), own.end(), partition);
    if (!known || !visited.insert(partition).second)
      fail(ExitCode::input, where, ": has partition ", partition, " as visit ", list.size() % count + 1, " of epoch ",
           list.size() / count + 1,
           known ? ", which that epoch has already" : ", which is not among those that it visits");
    list.push_back(partition);
  }
  const std::size_t epoch = list.size() / count * count;
  for (std::uint32_t visit = 0; list.size() % count != 0; ++visit)
    if (visited.insert(rotated(epoch + visit)).second) list.push_back(rotated(epoch + visit));
  return list;
}

std::uint32_t partition_in_order(std::uint32_t rotation, const std::vector<std::uint32_t>* listed, std::uint32_t visits,
                                 std::uint32_t count, const std::vector<std::uint32_t>& own) {
  if (listed != nullptr && visits < listed->size()) return (*listed)[visits];
  const std::uint32_t place = rotated_partition(rotation, visits / count, visits % count, count);
  return own.empty() ? place : own.at(place);
}

std::uint32_t seed_rotation(std::uint64_t order_seed, std::uint32_t partitions) {
  require(partitions > 0, "a rotation of no partitions");
  return static_cast<std::uint32_t>(derive(order_seed, "visits") % partitions);
}

Rotations::Rotations(std::uint64_t order_seed, std::uint32_t partitions)
    : begin_(seed_rotation(order_seed, partitions)), work_(partitions) {}

std::vector<std::uint32_t> Rotations::add(std::span<const double> work) {
  std::vector<std::uint32_t> longest_first(work.size()), rotations(work.size());
  std::iota(longest_first.begin(), longest_first.end(), 0u);
  std::stable_sort(longest_first.begin(), longest_first.end(),
                   [&](std::uint32_t a, std::uint32_t b) { return work[a] > work[b]; });
  for (const std::uint32_t trial : longest_first) {
    require(work[trial] > 0, "a trial's work is ", work[trial]);
    const auto least = std::min_element(work_.begin(), work_.end());
    *least += work[trial];
    const auto steps = static_cast<std::uint64_t>(least - work_.begin());
    rotations[trial] = static_cast<std::uint32_t>((begin_ + steps) % work_.size());
  }
  return rotations;
}

void Rotations::put(std::uint32_t rotation, double work) {
  require(rotation < work_.size() && work > 0, "rotation ", rotation, " of ", work_.size(), " for work of ", work);
  work_[(rotation + work_.size() - begin_) % work_.size()] += work;
}

}  // namespace hopyard
