#include "select/rigor_noise.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "base/failure.h"

namespace hopyard::rigor {
namespace {

/// The share of pairs of a cluster's rows, (labels ascending), whose labels differ.
double share_of_differing_pairs(std::span<const std::pair<std::uint32_t, std::int64_t>> cluster) {
  const auto size = static_cast<double>(cluster.size());
  double same = 0;
  for (std::size_t begin = 0, end = 0; begin < cluster.size(); begin = end) {
    while (end < cluster.size() && cluster[end].second == cluster[begin].second) ++end;
    const auto count = static_cast<double>(end - begin);
    same += count * (count - 1);
  }
  return 1 - same / (size * (size - 1));
}

double least_error(double disagreement, double classes) {
  const double most = (classes - 1) / classes;
  return classes < 2 ? 0 : most * (1 - std::sqrt(std::max(0.0, 1 - disagreement / most)));
}

/// (cluster, label) of each row, ascending.
std::vector<std::pair<std::uint32_t, std::int64_t>> sorted_rows(const Clusters& clusters,
                                                                std::span<const std::int64_t> labels) {
  std::vector<std::pair<std::uint32_t, std::int64_t>> rows;
  for (std::size_t row = 0; row < labels.size(); ++row) rows.emplace_back(clusters.of_row[row], labels[row]);
  std::sort(rows.begin(), rows.end());
  return rows;
}

}  // namespace

std::optional<NoiseFloor> estimate_noise_floor(const Clusters& clusters, std::span<const std::int64_t> labels,
                                               std::uint32_t classes, double level) {
  require(clusters.of_row.size() == labels.size(), labels.size(), " labels of ", clusters.of_row.size(), " rows");
  NoiseFloor floor;
  floor.rows_total = static_cast<std::uint32_t>(labels.size());
  floor.classes = static_cast<std::uint32_t>(std::set(labels.begin(), labels.end()).size());
  if (classes != 0) floor.classes = classes;
  double sum = 0, squares = 0;
  const auto rows = sorted_rows(clusters, labels);
  for (std::size_t begin = 0, end = 0; begin < rows.size(); begin = end) {
    while (end < rows.size() && rows[end].first == rows[begin].first) ++end;
    const std::size_t size = end - begin;
    if (size < 2) continue;
    const double share = share_of_differing_pairs(std::span(rows).subspan(begin, size));
    floor.rows += static_cast<std::uint32_t>(size);
    ++floor.clusters;
    floor.mixed_clusters += share > 0;
    sum += static_cast<double>(size) * share;
    squares += static_cast<double>(size) * static_cast<double>(size);
  }
  if (floor.clusters == 0) return std::nullopt;
  const auto counted = static_cast<double>(floor.rows), kinds = static_cast<double>(floor.classes);
  floor.disagreement = sum / counted;
  floor.disagreement_interval = wilson_interval(floor.disagreement, counted * counted / squares, level);
  floor.error_rate = least_error(floor.disagreement, kinds);
  floor.error_interval = {least_error(floor.disagreement_interval.low, kinds),
                          least_error(floor.disagreement_interval.high, kinds)};
  floor.error_rate_max = floor.disagreement;
  return floor;
}

}  // namespace hopyard::rigor
