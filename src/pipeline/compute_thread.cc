#include "pipeline/compute_thread.h"

#include <ATen/Parallel.h>

#include <exception>
#include <thread>

namespace hopyard {

void on_compute_thread(int threads, const std::function<void()>& work) {
  std::exception_ptr error;
  std::thread thread([&] {
    try {
      at::set_num_threads(threads);
      work();
    } catch (...) {
      error = std::current_exception();
    }
  });
  thread.join();
  if (error) std::rethrow_exception(error);
}

}  // namespace hopyard
