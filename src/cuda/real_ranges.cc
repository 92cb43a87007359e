#include <nvtx3/nvToolsExt.h>

#include "cuda/ranges.h"

namespace hopyard {

ProfilerRange::ProfilerRange(const std::string& name) { nvtxRangePushA(name.c_str()); }
ProfilerRange::~ProfilerRange() { nvtxRangePop(); }

}  // namespace hopyard
