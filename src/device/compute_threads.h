// How many threads libtorch computes on.
#pragma once

#include <ATen/Parallel.h>

namespace hopyard {

/// For what the calling thread computes from here on, whatever others set. at::set_num_threads() also sets a number for
/// the whole process, which a thread takes over when it first computes or asks: here that is over before.
inline void compute_with_threads(int threads) {
  (void)at::get_num_threads();
  at::set_num_threads(threads);
}

}  // namespace hopyard
