#include "pipeline/frozen_store.h"

#include <algorithm>

#include "base/failure.h"
#include "pipeline/host_copies.h"

namespace hopyard {

std::string content_key(const ModelSource& source, std::uint32_t layer, std::uint64_t trial_seed) {
  const ModelSpec& spec = source.spec();
  const LayerDescription& description = source.description().layers[layer];
  std::string key = text::cat(spec.checkpoint, "#", to_string(spec.task), "#", description.name);
  for (const auto& [name, value] : spec.overrides)
    if (name != "dropout") key += text::cat("#", name, "=", value);  // frozen layers run in eval mode
  for (const auto& parameter : description.parameters)
    if (parameter.frozen) key += "#" + parameter.name;
  return source.from_checkpoint(layer, Part::shared) ? key : text::cat(key, "#seed=", trial_seed);
}

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
                                                    std::uint64_t trial_seed, FrozenForm form) {
  const std::lock_guard lock(mutex_);
  return get_locked(source, layer, trial_seed, form);
}

std::shared_ptr<const std::vector<ParameterDigest>> FrozenStore::digests(const ModelSource& source, std::uint32_t layer,
                                                                         std::uint64_t trial_seed) {
  const std::lock_guard lock(mutex_);
  const auto& known = known_[content_key(source, layer, trial_seed)];
  if (!known.digests) get_locked(source, layer, trial_seed, FrozenForm::whole);
  return known.digests;
}

std::shared_ptr<const FrozenLayer> FrozenStore::get_locked(const ModelSource& source, std::uint32_t layer,
                                                           std::uint64_t trial_seed, FrozenForm form) {
  auto& known = known_[content_key(source, layer, trial_seed)];
  if (auto held = known.in(form).lock()) return held;
  std::shared_ptr<const FrozenLayer> made;
  if (form == FrozenForm::whole) {
    made = read(source, layer, trial_seed, known);
  } else {
    auto whole = known.in(FrozenForm::whole).lock();
    if (whole == nullptr) whole = read(source, layer, trial_seed, known);
    if (whole != nullptr) made = rounded(*whole, form);
  }
  known.in(form) = made;
  return made;
}

std::shared_ptr<const FrozenLayer> FrozenStore::read(const ModelSource& source, std::uint32_t layer,
                                                     std::uint64_t trial_seed, Known& known) {
  const auto& description = source.description().layers[layer];
  const LayerLayout layout = layout_of(description, Part::shared);
  auto reservation = host_.reserve(HostBuffer::rounded(layout.bytes));
  if (!reservation) return nullptr;
  auto made = std::make_shared<FrozenLayer>();
  made->bytes = HostBuffer(std::move(*reservation), layout.bytes);
  source.initialise(layer, Part::shared, trial_seed, made->bytes.span());
  if (!known.digests)
    known.digests = std::make_shared<const std::vector<ParameterDigest>>(
        parameter_digests(description, layout, made->bytes.span()));
  made->digests = known.digests;
  return made;
}

std::shared_ptr<const FrozenLayer> FrozenStore::rounded(const FrozenLayer& whole, FrozenForm form) {
  const Bytes bytes = packed_bytes(whole.bytes.size());
  auto reservation = host_.reserve(HostBuffer::rounded(bytes));
  if (!reservation) return nullptr;
  auto made = std::make_shared<FrozenLayer>();
  made->bytes = HostBuffer(std::move(*reservation), bytes);
  (form == FrozenForm::bf16 ? pack_to_bf16 : pack_to_fp16)(whole.bytes.span(), made->bytes.span());
  made->digests = whole.digests;
  return made;
}

Bytes FrozenStore::missing_bytes(const ModelSource& source, std::span<const std::uint32_t> layers,
                                 std::uint64_t trial_seed, FrozenForm form) {
  const std::lock_guard lock(mutex_);
  Bytes missing = 0, largest = 0;
  for (const auto layer : layers) {
    const auto known = known_.find(content_key(source, layer, trial_seed));
    if (known != known_.end() && !known->second.in(form).expired()) continue;
    const Bytes bytes = layout_of(source.description().layers[layer], Part::shared).bytes;
    missing += HostBuffer::rounded(form == FrozenForm::whole ? bytes : packed_bytes(bytes));
    const bool reads = known == known_.end() || known->second.in(FrozenForm::whole).expired();
    if (form != FrozenForm::whole && reads) largest = std::max(largest, HostBuffer::rounded(bytes));
  }
  return missing + largest;
}

}  // namespace hopyard
