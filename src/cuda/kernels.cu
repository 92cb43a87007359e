#include "cuda/kernels.h"

#include <cuda_fp16.h>

#include <algorithm>
#include <cstring>

#include "base/mix64.h"
#include "cuda/bf16_bits.h"

namespace hopyard {

namespace {

constexpr unsigned kThreads = 256;
/// Enough to fill any card; each thread then takes several values.
constexpr std::size_t kBlocksMax = 1 << 13;

unsigned blocks_for(std::size_t threads) {
  return static_cast<unsigned>(std::min(kBlocksMax, (threads + kThreads - 1) / kThreads));
}

__device__ std::size_t first_of_thread() { return std::size_t{blockIdx.x} * blockDim.x + threadIdx.x; }
__device__ std::size_t threads_of_grid() { return std::size_t{gridDim.x} * blockDim.x; }

/// Two values from one number of the SplitMix64 sequence that starts at `key`.
template <class Value>
__global__ void dropout_mask_kernel(Value* out, std::size_t count, MaskKey from, std::uint32_t dropped_below,
                                    Value kept) {
  const std::uint64_t key = from.pass == nullptr ? from.key : derive(derive(*from.pass, from.layer), from.draw);
  for (std::size_t pair = first_of_thread(); 2 * pair < count; pair += threads_of_grid()) {
    const std::uint64_t bits = mix64(key + pair * 0x9e3779b97f4a7c15ULL);
    out[2 * pair] = static_cast<std::uint32_t>(bits) >= dropped_below ? kept : Value{0};
    if (2 * pair + 1 < count)
      out[2 * pair + 1] = static_cast<std::uint32_t>(bits >> 32) >= dropped_below ? kept : Value{0};
  }
}

template <class Value>
cudaError_t launch_mask(Value* out, std::size_t count, const MaskKey& key, double p, Value kept, cudaStream_t stream) {
  if (count == 0) return cudaSuccess;
  const auto dropped_below = static_cast<std::uint32_t>(std::min(p * 0x1.0p32, 0x1.0p32 - 1));
  dropout_mask_kernel<<<blocks_for((count + 1) / 2), kThreads, 0, stream>>>(out, count, key, dropped_below, kept);
  return cudaGetLastError();
}

float kept_value(double p) { return static_cast<float>(1 / (1 - p)); }

std::uint32_t bits_of(float value) {
  std::uint32_t bits;
  static_assert(sizeof bits == sizeof value);
  std::memcpy(&bits, &value, sizeof bits);
  return bits;
}

/// As squared_norm() adds: chunks of 2^15 values, in each of them eight lanes, lane l the values l, l + 8, …
constexpr std::size_t kChunk = 1 << 15, kLanes = 8, kUnrolled = 16;

/// One thread for each lane of each chunk. The squares are exact in double, so a fused multiply-add gives the same
/// bits.
__global__ void lane_squares_kernel(const float* values, std::size_t count, double* lanes, std::size_t lane_count) {
  for (std::size_t lane = first_of_thread(); lane < lane_count; lane += threads_of_grid()) {
    const std::size_t begin = lane / kLanes * kChunk;
    const std::size_t end = count - begin < kChunk ? count : begin + kChunk;
    std::size_t i = begin + lane % kLanes;
    double sum = 0;
    for (; i + (kUnrolled - 1) * kLanes < end; i += kUnrolled * kLanes) {
      float read[kUnrolled];
#pragma unroll
      for (std::size_t k = 0; k < kUnrolled; ++k) read[k] = values[i + k * kLanes];
#pragma unroll
      for (std::size_t k = 0; k < kUnrolled; ++k) sum = fma(double{read[k]}, double{read[k]}, sum);
    }
    for (; i < end; i += kLanes) sum = fma(double{values[i]}, double{values[i]}, sum);
    lanes[lane] = sum;
  }
}

/// One block: each thread adds the lanes of one chunk, then the first adds those sums in the order of the chunks.
__global__ void sum_lanes_kernel(const double* lanes, std::size_t chunks, double* sum) {
  __shared__ double chunk_sums[kThreads];
  double total = 0;
  for (std::size_t begin = 0; begin < chunks; begin += kThreads) {
    const std::size_t chunk = begin + threadIdx.x;
    double of_chunk = 0;
    if (chunk < chunks)
      for (std::size_t lane = 0; lane < kLanes; ++lane) of_chunk += lanes[chunk * kLanes + lane];
    chunk_sums[threadIdx.x] = of_chunk;
    __syncthreads();
    if (threadIdx.x == 0) {
      const std::size_t here = chunks - begin < kThreads ? chunks - begin : kThreads;
#pragma unroll 8
      for (std::size_t k = 0; k < here; ++k) total += chunk_sums[k];
    }
    __syncthreads();
  }
  if (threadIdx.x == 0) *sum = total;
}

std::size_t chunk_count(std::size_t count) { return (count + kChunk - 1) / kChunk; }

}  // namespace

cudaError_t launch_dropout_mask(float* out, std::size_t count, const MaskKey& key, double p, cudaStream_t stream) {
  return launch_mask(out, count, key, p, kept_value(p), stream);
}

cudaError_t launch_dropout_mask_bf16(std::uint16_t* out, std::size_t count, const MaskKey& key, double p,
                                     cudaStream_t stream) {
  return launch_mask(out, count, key, p, bf16_bits(bits_of(kept_value(p))), stream);
}

cudaError_t launch_dropout_mask_fp16(std::uint16_t* out, std::size_t count, const MaskKey& key, double p,
                                     cudaStream_t stream) {
  const __half_raw kept = __float2half_rn(kept_value(p));
  return launch_mask(out, count, key, p, std::uint16_t{kept.x}, stream);
}

std::size_t squared_norm_scratch(std::size_t count) { return chunk_count(count) * kLanes; }

cudaError_t launch_squared_norm(const float* values, std::size_t count, double* scratch, double* sum,
                                cudaStream_t stream) {
  const std::size_t lanes = squared_norm_scratch(count);
  if (lanes > 0) lane_squares_kernel<<<blocks_for(lanes), kThreads, 0, stream>>>(values, count, scratch, lanes);
  sum_lanes_kernel<<<1, kThreads, 0, stream>>>(scratch, chunk_count(count), sum);
  return cudaGetLastError();
}

}  // namespace hopyard
