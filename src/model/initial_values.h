// Random first weights, keyed by (trial seed, parameter name).
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "model/family_layer.h"

namespace hopyard {

/// Fills `out` (the parameter's elements in row-major order). Equal bits for equal arguments, whoever calls, and on how
/// many threads.
void fill_initial(const InitialValue& initial, const ParameterDescription& parameter, std::uint64_t trial_seed,
                  std::span<float> out);

}  // namespace hopyard
