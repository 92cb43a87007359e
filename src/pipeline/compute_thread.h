// Computing outside of the executor's devices, as they would.
#pragma once

#include <functional>

namespace hopyard {

/// Runs `work` on a thread of its own with `threads` compute threads, and waits for it. Rethrows.
void on_compute_thread(int threads, const std::function<void()>& work);

}  // namespace hopyard
