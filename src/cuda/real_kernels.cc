#include "cuda/real_kernels.h"

#include <ATen/Functions.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "base/failure.h"
#include "cuda/kernels.h"
#include "cuda/real_calls.h"
#include "device/device_kernels.h"

namespace hopyard {

namespace {

/// The card of a tensor, current while it lives, and its stream.
struct Where {
  explicit Where(const at::Tensor& tensor)
      : card(tensor.device()), stream(c10::cuda::getCurrentCUDAStream(tensor.device().index())) {}
  const c10::cuda::CUDAGuard card;
  const cudaStream_t stream;
};

void check_launch(cudaError_t error, const char* kernel) {
  if (error != cudaSuccess) throw CudaFailure(fault_of(error), text::cat(kernel, ": ", cudaGetErrorString(error)));
}

std::size_t count_of(const at::Tensor& tensor, at::ScalarType type, const char* kernel) {
  require(tensor.is_contiguous() && tensor.scalar_type() == type, kernel, ": not contiguous ", type);
  return static_cast<std::size_t>(tensor.numel());
}

std::uint16_t* half_data(at::Tensor& tensor) { return static_cast<std::uint16_t*>(tensor.mutable_data_ptr()); }

void fill_mask(at::Tensor& out, const MaskKey& key, double p) {
  const Where where(out);
  constexpr const char* kName = "dropout_mask";
  if (out.scalar_type() == at::kBFloat16)
    check_launch(launch_dropout_mask_bf16(half_data(out), count_of(out, at::kBFloat16, kName), key, p, where.stream),
                 kName);
  else if (out.scalar_type() == at::kHalf)
    check_launch(launch_dropout_mask_fp16(half_data(out), count_of(out, at::kHalf, kName), key, p, where.stream),
                 kName);
  else
    check_launch(
        launch_dropout_mask(out.mutable_data_ptr<float>(), count_of(out, at::kFloat, kName), key, p, where.stream),
        kName);
}

void fill_dropout_mask(at::Tensor& out, std::uint64_t key, double p) { fill_mask(out, {.key = key}, p); }

void fill_dropout_mask_from(at::Tensor& out, const at::Tensor& pass_key, std::uint32_t layer, std::uint32_t draw,
                            double p) {
  static_assert(sizeof(std::int64_t) == sizeof(std::uint64_t));
  const void* const key = pass_key.const_data_ptr();
  fill_mask(out, {.pass = static_cast<const std::uint64_t*>(key), .layer = layer, .draw = draw}, p);
}

at::Tensor sum_squares(const at::Tensor& values) {
  const Where where(values);
  const std::size_t count = count_of(values, at::kFloat, "squared_norm");
  const auto options = values.options().dtype(at::kDouble).requires_grad(false);
  at::Tensor sum = at::empty({}, options);
  const at::Tensor scratch = at::empty({static_cast<std::int64_t>(squared_norm_scratch(count))}, options);
  check_launch(launch_squared_norm(values.const_data_ptr<float>(), count, scratch.data_ptr<double>(),
                                   sum.data_ptr<double>(), where.stream),
               "squared_norm");
  return sum;
}

}  // namespace

void register_cuda_kernels() {
  DeviceKernels kernels;
  kernels.dropout_mask = fill_dropout_mask;
  kernels.dropout_mask_from = fill_dropout_mask_from;
  kernels.squared_norm = sum_squares;
  register_kernels(at::kCUDA, kernels);
}

}  // namespace hopyard
