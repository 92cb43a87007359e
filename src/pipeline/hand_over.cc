#include "pipeline/hand_over.h"

#include <cstring>

namespace hopyard {

void Executor::HandOver::losses(std::span<const MicroBatchLoss> losses) {
  const std::lock_guard lock(executor_.mutex_);
  trial_.note_losses({losses.begin(), losses.end()});
}

void Executor::HandOver::layer(std::size_t place, std::span<const LayerGradients> pieces) {
  const std::uint32_t layer = layers_[place].index;
  Active* active = nullptr;
  bool is_home = false;  // a backward before this one ran out of memory after it had handed the layer over
  {
    const std::lock_guard lock(executor_.mutex_);
    active = &executor_.active_.at(trial_.setup().number);
    is_home = active->exchanging->home[layer];
  }
  handed_[place] = true;
  if (is_home) return;
  for (std::uint32_t piece = 0; piece < pieces.size(); ++piece) copy_home(place, piece, pieces[piece]);
  const std::lock_guard lock(executor_.mutex_);
  executor_.note_home(*active, layer, layer + 1);
  executor_.begin_exchange_if_due(*active);
}

void Executor::HandOver::copy_home(std::size_t place, std::uint32_t piece, const LayerGradients& gradients) {
  const LoadedLayer& loaded = layers_[place];
  const auto copy = [](std::span<std::byte> to, const at::Tensor& gradient) {
    std::memcpy(to.data(), gradient.contiguous().data_ptr(), to.size());
  };
  for (auto& use : trial_.tied())
    if (use.trainable && use.layer == loaded.index) copy(use.piece(piece), gradients[use.parameter]);
  if (!loaded.trainable) return;
  const auto to = trial_.gradient_piece(loaded.index, piece);
  const auto& places = loaded.own->places;
  for (std::size_t p = 0; p < places.size(); ++p)
    if (places[p].bytes > 0) copy(to.subspan(places[p].offset, places[p].bytes), gradients[p]);
}

std::unique_ptr<Executor::HandOver> Executor::hand_over(const Slot& slot, std::span<LoadedLayer> layers) {
  if (devices_[slot.device]->device->has_own_memory()) return nullptr;
  const std::lock_guard lock(mutex_);
  const Active& active = active_.at(slot.trial->setup().number);
  if (!active.exchanging || !active.exchanging->early) return nullptr;
  return std::make_unique<HandOver>(*this, *slot.trial, layers);
}

}  // namespace hopyard
