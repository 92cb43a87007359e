#include "pipeline/host_updates.h"

#include "device/compute_threads.h"

namespace hopyard {

HostUpdates::HostUpdates(int threads) {
  const int callers = at::get_num_threads();
  thread_.submit([threads] { compute_with_threads(threads); });
  thread_.drain();
  compute_with_threads(callers);  // threads that have not computed yet take over what was set last
}

}  // namespace hopyard
