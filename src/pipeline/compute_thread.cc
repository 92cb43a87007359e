#include "pipeline/compute_thread.h"

#include <exception>
#include <limits>
#include <thread>

namespace hopyard {

DeviceMaker unbounded_cpu(int threads) {
  return [threads] {
    DeviceSpec spec;
    spec.threads = threads;
    return make_cpu_device(spec, 0, std::numeric_limits<Bytes>::max());
  };
}

void on_compute_thread(const DeviceMaker& maker, const std::function<void(Device&)>& work) {
  std::exception_ptr error;
  std::thread thread([&] {
    try {
      const auto device = maker();
      device->enter_compute();
      work(*device);
      device->finish_compute();
    } catch (...) {
      error = std::current_exception();
    }
  });
  thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace hopyard
