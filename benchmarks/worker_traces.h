// What the traces of workers say: who hid behind what.
#pragma once

#include <string>

namespace hopyard {

/// Of hops that are in the trace of the run, which has all workers of this machine.
struct HiddenHops {
  double hop_s = 0;     ///< of their ends, summed
  double hidden_s = 0;  ///< of that, while a device of the same worker computed
};
HiddenHops hidden_hops(const std::string& directory);

/// Of worker 0's tasks.
struct TaskTimes {
  double compute_s = 0, load_s = 0, store_s = 0;  ///< summed
  double one_by_one_s = 0;                        ///< Σ max(compute, load, store) over tasks

  /// What interleaving can make of one trial at a time: were all tasks of all trials one stream, it would take max(Σ
  /// compute, Σ link) instead of Σ max(compute, link). Loads and stores go both ways at once.
  double floor() const;
};
TaskTimes task_times(const std::string& directory);

}  // namespace hopyard
