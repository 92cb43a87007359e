// What a build without NCCL's header says.
#include "base/log.h"
#include "cuda/nccl_end.h"
#include "cuda/nccl_transport.h"

namespace hopyard {

std::unique_ptr<WorkerEnd> make_cuda_end(std::unique_ptr<WorkerEnd> inner, std::uint32_t, Bytes) {
  NcclParts none;
  none.why_not = "this program was built without NCCL: build it where there is an nccl.h";
  return make_nccl_end(std::move(inner), none, [](const std::string& warning) { HOPYARD_WARN << warning; });
}

}  // namespace hopyard
