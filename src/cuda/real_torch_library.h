// The half of libtorch that computes on GPUs.
#pragma once

#include <string>

namespace hopyard {

/// libtorch_cuda.so is 0.1 s and 340 MiB of relocated code, so a program does not name it among its needs: it is loaded
/// before main() where there is a driver, since libtorch looks for it once, when somebody first asks about GPUs. Empty
/// when it is here; otherwise why not: no driver, or which library lacks.
const std::string& torch_cuda_missing();

}  // namespace hopyard
