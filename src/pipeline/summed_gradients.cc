#include "pipeline/summed_gradients.h"

namespace hopyard {

std::vector<std::uint32_t> trained_layers(const TrialRun& trial) {
  std::vector<std::uint32_t> trained;
  for (std::uint32_t l = 0; l < trial.layers().size(); ++l)
    if (trial.layers()[l].gradients) trained.push_back(l);
  return trained;
}

std::span<std::byte> add_tied_uses(TrialRun& trial, std::uint32_t layer) {
  const auto gradient = trial.gradient_piece(layer, 0);
  for (auto& use : trial.tied()) {
    if (!use.trainable || use.owner.layer != layer) continue;
    const auto& place = trial.layers()[layer].own.places[use.owner.parameter];
    const auto to = floats(gradient.subspan(place.offset, place.bytes)), from = floats(use.piece(0));
    for (std::size_t i = 0; i < to.size(); ++i) to[i] += from[i];
  }
  return gradient;
}

}  // namespace hopyard
