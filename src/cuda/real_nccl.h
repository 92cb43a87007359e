// NCCL itself.
#pragma once

#include <memory>
#include <string>

#include "cuda/nccl_calls.h"

namespace hopyard {

/// libnccl.so.2 is loaded when it is first asked for: it comes with CUDA toolkits and with libtorch's wheels. Null, and
/// why not, where it is not to be had or older than what this program was built with.
std::unique_ptr<NcclCalls> make_real_nccl(std::uint32_t card, std::string& why_not);

}  // namespace hopyard
