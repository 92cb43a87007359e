#include "device/tf32.h"

#include <ATen/Context.h>

namespace hopyard {

void allow_tf32(bool allowed) { at::globalContext().setAllowTF32CuBLAS(allowed); }

}  // namespace hopyard
