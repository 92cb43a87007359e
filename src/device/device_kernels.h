// Kernels that libtorch has none of, by where their tensors are: whoever drives a kind of device registers its own.
#pragma once

#include <ATen/core/Tensor.h>

#include <cstdint>

namespace hopyard {

struct DeviceKernels {
  /// Fills `out` (float32, bfloat16 or float16, contiguous) with 0 or 1 / (1 − p): value i depends on key, p and i
  /// alone, and is the same on every kind of device up to the rounding of `out`'s type. 0 < p < 1.
  void (*dropout_mask)(at::Tensor& out, std::uint64_t key, double p) = nullptr;
  /// The same with derive(derive(k, layer), draw) as key, k being what `pass_key` (an int64 scalar there, whose bits
  /// are meant) holds when the mask is computed.
  void (*dropout_mask_from)(at::Tensor& out, const at::Tensor& pass_key, std::uint32_t layer, std::uint32_t draw,
                            double p) = nullptr;
  /// squared_norm() of optim/optimizer.h, to the bit, as a float64 scalar where `values` (float32, contiguous) are. It
  /// is finite exactly when all values are. Waits for nothing.
  at::Tensor (*squared_norm)(const at::Tensor& values) = nullptr;
};

/// Once for a kind of device, before any tensor of its is computed on.
void register_kernels(at::DeviceType type, const DeviceKernels& kernels);
/// Throws where nobody registered any.
const DeviceKernels& kernels_of(at::DeviceType type);

}  // namespace hopyard
