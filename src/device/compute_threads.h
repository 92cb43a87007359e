// How many threads libtorch computes on.
#pragma once

#include <ATen/Parallel.h>

namespace hopyard {

/// For what the calling thread computes from here on. at::set_num_threads() also sets a number for the whole process,
/// which a thread takes over when it first computes: asking settles it now, before another thread sets another.
inline void compute_with_threads(int threads) {
  at::set_num_threads(threads);
  (void)at::get_num_threads();
}

}  // namespace hopyard
