// Work on long ranges by threads of its own. (at::parallel_for runs on one thread in files that are compiled without
// OpenMP, as all of ours are.)
#pragma once

#include <algorithm>
#include <cstddef>
#include <thread>
#include <vector>

namespace hopyard {

/// Calls work(begin, end) for pieces that together are [0, count), each on a thread and none shorter than `grain` but
/// where there is only one; on all cores at most. Waits. For work that takes far longer than starting a thread; it must
/// not throw.
template <class Work>
void for_ranges(std::size_t count, std::size_t grain, const Work& work) {
  const std::size_t cores = std::max(1u, std::thread::hardware_concurrency());
  const std::size_t pieces = std::clamp<std::size_t>(count / grain, 1, cores);
  std::vector<std::jthread> threads;
  for (std::size_t piece = 1; piece < pieces; ++piece)
    threads.emplace_back([&, piece] { work(count * piece / pieces, count * (piece + 1) / pieces); });
  work(std::size_t{0}, count / pieces);
}

}  // namespace hopyard
