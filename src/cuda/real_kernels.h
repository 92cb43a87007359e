// The kernels over tensors.
#pragma once

#include <ATen/core/Tensor.h>

namespace hopyard {

/// Makes them those of tensors on CUDA cards; again does nothing. They are asked of the current stream of the tensor's
/// card and wait for nothing; a launch that fails throws CudaFailure.
void register_cuda_kernels();

}  // namespace hopyard
