#include "hopper/placement.h"

#include <algorithm>
#include <tuple>

#include "base/failure.h"

namespace hopyard {

namespace {

/// Chooses homes one by one: least partitions first, then least often beside those already chosen.
class Placer {
 public:
  explicit Placer(std::uint32_t workers) : load_(workers), beside_(std::uint64_t{workers} * workers) {}

  std::vector<std::uint32_t> choose(std::uint32_t count) {
    std::vector<std::uint32_t> homes;
    while (homes.size() < count) homes.push_back(best(homes));
    for (const std::uint32_t a : homes) {
      ++load_[a];
      for (const std::uint32_t b : homes) ++beside_[index(a, b)];
    }
    std::sort(homes.begin(), homes.end());
    return homes;
  }

 private:
  std::size_t index(std::uint32_t a, std::uint32_t b) const { return std::size_t{a} * load_.size() + b; }

  std::uint32_t best(const std::vector<std::uint32_t>& chosen) const {
    std::tuple<std::uint32_t, std::uint32_t, std::uint32_t> least{UINT32_MAX, UINT32_MAX, 0};
    for (std::uint32_t worker = 0; worker < load_.size(); ++worker) {
      if (std::find(chosen.begin(), chosen.end(), worker) != chosen.end()) continue;
      std::uint32_t shared = 0;
      for (const std::uint32_t other : chosen) shared += beside_[index(worker, other)];
      least = std::min(least, {load_[worker], shared, worker});
    }
    return std::get<2>(least);
  }

  std::vector<std::uint32_t> load_;
  std::vector<std::uint32_t> beside_;
};

}  // namespace

std::vector<std::uint32_t> Placement::partitions_of(std::uint32_t worker) const {
  std::vector<std::uint32_t> found;
  for (std::uint32_t p = 0; p < homes.size(); ++p)
    if (std::binary_search(homes[p].begin(), homes[p].end(), worker)) found.push_back(p);
  return found;
}

Placement place_partitions(std::uint32_t partitions, std::uint32_t workers, std::uint32_t replication) {
  if (workers == 0) fail(ExitCode::usage, "there is no worker to place partitions on");
  if (partitions < workers)
    fail(ExitCode::usage, partitions, " partitions are too few for ", workers,
         " workers; cut the data anew with `hopyard partition --into=", workers, "` or start ", partitions, " workers");
  if (replication == 0 || replication > workers)
    fail(ExitCode::usage, "replication: ", replication, " homes for each partition cannot be with ", workers,
         " workers; give 1 to ", workers);
  Placement placement{workers, {}};
  Placer placer(workers);
  for (std::uint32_t p = 0; p < partitions; ++p) placement.homes.push_back(placer.choose(replication));
  return placement;
}

std::vector<std::uint32_t> homeless(const Placement& placement, const Bits& alive) {
  std::vector<std::uint32_t> found;
  for (std::uint32_t p = 0; p < placement.homes.size(); ++p) {
    const auto& homes = placement.homes[p];
    if (std::none_of(homes.begin(), homes.end(), [&](std::uint32_t home) { return alive.test(home); }))
      found.push_back(p);
  }
  return found;
}

std::string describe_homeless(const Placement& placement, const Bits& alive) {
  const auto found = homeless(placement, alive);
  if (found.empty()) return "";
  std::vector<std::string> names;
  for (const std::uint32_t home : placement.homes[found.front()]) names.push_back(std::to_string(home));
  const std::string gone = names.size() == 1 ? "worker " + names[0] + " is not here"
                                             : "workers " + text::join(names, ", ") + " are not here";
  return text::cat("partition ", found.front(), " has no living home: ", gone,
                   found.size() > 1 ? text::cat("; nor have ", found.size() - 1, " more") : std::string());
}

}  // namespace hopyard
