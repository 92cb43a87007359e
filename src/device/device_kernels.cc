#include "device/device_kernels.h"

#include <array>

#include "base/failure.h"

namespace hopyard {

namespace {

std::array<DeviceKernels, at::COMPILE_TIME_MAX_DEVICE_TYPES>& registered() {
  static std::array<DeviceKernels, at::COMPILE_TIME_MAX_DEVICE_TYPES> all;
  return all;
}

}  // namespace

void register_kernels(at::DeviceType type, const DeviceKernels& kernels) {
  registered()[static_cast<std::size_t>(type)] = kernels;
}

const DeviceKernels& kernels_of(at::DeviceType type) {
  const DeviceKernels& kernels = registered()[static_cast<std::size_t>(type)];
  require(kernels.dropout_mask != nullptr, "no kernels for tensors on ", c10::DeviceTypeName(type, true));
  return kernels;
}

}  // namespace hopyard
