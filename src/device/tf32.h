// TF32: float32 whose products are rounded to 10 bits of mantissa on the way in, where a device has units for it.
#pragma once

namespace hopyard {

/// Whether products of float32 tensors may be computed so. One switch for the process, for all that is computed after
/// it; does nothing to what the CPU computes.
void allow_tf32(bool allowed);

}  // namespace hopyard
