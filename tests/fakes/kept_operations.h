// What libtorch was asked for, kept so that it can be asked for again over the same memory: what a CUDA graph is on a
// card, for tensors of the host.
#pragma once

#include <ATen/core/Tensor.h>

#include <functional>
#include <memory>
#include <vector>

namespace hopyard::fakes {

/// Between begin() and end() each operation of this thread, backward passes with it, is computed, so that tensors come
/// to be, and kept: below autograd, with its numbers as they are and its tensors by reference. end() puts back what was
/// in memory that was there before, and poison (NaN) into what was made meanwhile, as if nothing had been computed.
/// again() computes all of it into the memory that it was first computed into; what was made holds poison until it is
/// its turn. As on a card, reading a value while it is kept throws.
class KeptOperations {
 public:
  KeptOperations();
  ~KeptOperations();
  void begin();
  void end();
  void again();

  /// Keeps work that is no operation of libtorch's, which writes `written`; does it now in any case. For kernels.
  static void kernel(const at::Tensor& written, std::function<void()> work);

  struct State;

 private:
  const std::unique_ptr<State> state_;
};

}  // namespace hopyard::fakes
