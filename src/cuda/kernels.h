// Kernels that libtorch has none of. Each is asked of a stream and returns at once with what the launch said; pointers
// are to memory of the current card, and need no more alignment than their type has. No kernel uses atomics: what one
// computes has the same bits each time, whatever the card.
#pragma once

#include <cuda_runtime_api.h>

#include <cstddef>
#include <cstdint>

namespace hopyard {

/// The key of a mask: `key` itself, or derived from one that is on the card by the time the kernel runs.
struct MaskKey {
  std::uint64_t key = 0;
  const std::uint64_t* pass = nullptr;  ///< of the card; the key is then derive(derive(*pass, layer), draw)
  std::uint32_t layer = 0, draw = 0;
};

/// Fills `out` with 0 or 1 / (1 − p), with the bits of dropout_mask() in model/layer.h; as bfloat16 or float16, those
/// rounded.
cudaError_t launch_dropout_mask(float* out, std::size_t count, const MaskKey& key, double p, cudaStream_t stream);
cudaError_t launch_dropout_mask_bf16(std::uint16_t* out, std::size_t count, const MaskKey& key, double p,
                                     cudaStream_t stream);
cudaError_t launch_dropout_mask_fp16(std::uint16_t* out, std::size_t count, const MaskKey& key, double p,
                                     cudaStream_t stream);

/// How many doubles launch_squared_norm needs for itself.
std::size_t squared_norm_scratch(std::size_t count);
/// The sum of the squares, with the bits of squared_norm() in optim/optimizer.h. It is finite exactly when all values
/// are: squares of finite float32 are far from the end of double's range.
cudaError_t launch_squared_norm(const float* values, std::size_t count, double* scratch, double* sum,
                                cudaStream_t stream);

}  // namespace hopyard
