// Computing outside of the executor's devices, as they would: for measuring.
#pragma once

#include <functional>
#include <memory>

#include "device/device.h"

namespace hopyard {

/// Makes what one thread computes on.
using DeviceMaker = std::function<std::unique_ptr<Device>()>;
/// The CPU, with as much memory as there is.
DeviceMaker unbounded_cpu(int threads);

/// Runs `work` on a thread of its own with a device of its own, and waits for it and for what it asked for. Rethrows.
void on_compute_thread(const DeviceMaker& maker, const std::function<void(Device&)>& work);

}  // namespace hopyard
