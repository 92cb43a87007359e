#include "pipeline/frozen_store.h"

#include "base/failure.h"

namespace hopyard {

namespace {

std::string key_of(const ModelSource& source, std::uint32_t layer, std::uint64_t trial_seed) {
  const auto& name = source.description().layers[layer].name;
  return source.from_checkpoint(layer) ? text::cat(source.spec().checkpoint, "#", name)
                                       : text::cat(source.spec().checkpoint, "#", name, "#", trial_seed);
}

}  // namespace

std::vector<ParameterDigest> parameter_digests(const LayerDescription& layer, const LayerLayout& layout,
                                               std::span<const std::byte> flat) {
  std::vector<ParameterDigest> digests;
  for (std::size_t i = 0; i < layer.parameters.size(); ++i) {
    const auto& place = layout.places[i];
    if (place.bytes == 0) continue;
    digests.push_back({layer.parameters[i].name, "F32", layer.parameters[i].shape,
                       digest_bytes(flat.subspan(place.offset, place.bytes))});
  }
  return digests;
}

std::shared_ptr<const FrozenLayer> FrozenStore::get(const ModelSource& source, std::uint32_t layer,
                                                    std::uint64_t trial_seed) {
  const std::lock_guard lock(mutex_);
  auto& known = layers_[key_of(source, layer, trial_seed)];
  if (auto held = known.lock()) return held;
  const auto& description = source.description().layers[layer];
  const LayerLayout layout = layout_of(description);
  auto reservation = host_.reserve(HostBuffer::rounded(layout.bytes));
  if (!reservation) return nullptr;
  auto made = std::make_shared<FrozenLayer>();
  made->bytes = HostBuffer(std::move(*reservation), layout.bytes);
  source.initialise(layer, trial_seed, made->bytes.span());
  made->digests = parameter_digests(description, layout, made->bytes.span());
  known = made;
  return made;
}

Bytes FrozenStore::missing_bytes(const ModelSource& source, std::uint64_t trial_seed) {
  const std::lock_guard lock(mutex_);
  Bytes missing = 0;
  for (std::uint32_t layer = 0; layer < source.frozen_layers(); ++layer) {
    const auto known = layers_.find(key_of(source, layer, trial_seed));
    if (known == layers_.end() || known->second.expired())
      missing += HostBuffer::rounded(layout_of(source.description().layers[layer]).bytes);
  }
  return missing;
}

}  // namespace hopyard
