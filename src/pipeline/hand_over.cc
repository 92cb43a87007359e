#include "pipeline/hand_over.h"

#include <cstring>

namespace hopyard {

Executor::HandOver::HandOver(Executor& executor, Active& active, std::span<LoadedLayer> layers)
    : executor_(executor), active_(active), trial_(*active.trial), layers_(layers) {
  for (const auto& loaded : layers_) handed_.push_back(active.exchanging->home[loaded.index]);
}

void Executor::HandOver::losses(std::span<const MicroBatchLoss> losses) {
  const std::lock_guard lock(executor_.mutex_);
  trial_.note_losses({losses.begin(), losses.end()});
}

void Executor::HandOver::layer(std::size_t place, std::span<const LayerGradients> pieces) {
  if (handed_[place]) return;
  for (std::uint32_t piece = 0; piece < pieces.size(); ++piece) copy_home(place, piece, pieces[piece]);
  handed_[place] = true;
  const std::uint32_t layer = layers_[place].index;
  if (const auto& blob = trial_.layers()[layer].gradients) {  // newer than on disk, also if the task is given up
    const std::uint32_t one[] = {*blob};
    trial_.cache().acquire_blocking(one);
    trial_.cache().release(one, true);
  }
  const std::lock_guard lock(executor_.mutex_);
  executor_.note_home(active_, layer, layer + 1);
  executor_.begin_exchange_if_due(active_);
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
  Active& active = active_.at(slot.trial->setup().number);
  if (!active.exchanging || !active.exchanging->early) return nullptr;
  return std::make_unique<HandOver>(*this, active, layers);
}

}  // namespace hopyard
