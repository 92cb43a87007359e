// Gradients of a whole step in host memory, as those handle them who exchange them with other processes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "pipeline/trial_run.h"

namespace hopyard {

inline std::span<float> floats(std::span<std::byte> bytes) {
  return {reinterpret_cast<float*>(bytes.data()), bytes.size() / sizeof(float)};
}

/// The layers that have gradients, ascending: at least one, of a trial that trains.
std::vector<std::uint32_t> trained_layers(const TrialRun& trial);

/// Adds the gradients of later uses of the layer's parameters to its own, in the order of layers; returns these.
/// Requires that they are pinned.
std::span<std::byte> add_tied_uses(TrialRun& trial, std::uint32_t layer);

}  // namespace hopyard
