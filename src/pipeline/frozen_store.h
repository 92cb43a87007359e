// Frozen parameters in host memory: content-addressed, so that all trials with the same frozen part of a layer hold one
// copy, whatever else the layer has that each of them trains.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "formats/digest.h"
#include "model/model.h"
#include "spill/host_tier.h"

namespace hopyard {

/// How frozen parameters are kept: as they are, or rounded once for all that compute in the type.
enum class FrozenForm : std::uint8_t { whole, bf16, fp16 };

/// The flat buffer of a layer's shared part, in one of the forms, and the digests of its parameters as they are.
/// Constant while it is shared.
struct FrozenLayer {
  HostBuffer bytes;
  std::shared_ptr<const std::vector<ParameterDigest>> digests;
};

/// Keeps a layer as long as somebody holds it. Thread-safe. The checkpoint itself is its disk tier: a layer that nobody
/// holds is read from there again.
class FrozenStore {
 public:
  explicit FrozenStore(HostTier& host) : host_(host) {}
  /// Null when the host tier has no room for a layer that is not there yet, which to round takes room for it whole,
  /// unless somebody holds it whole.
  std::shared_ptr<const FrozenLayer> get(const ModelSource& source, std::uint32_t layer, std::uint64_t trial_seed,
                                         FrozenForm form = FrozenForm::whole);
  /// What get() of these layers of the model would newly take from the host tier, one after the other.
  Bytes missing_bytes(const ModelSource& source, std::span<const std::uint32_t> layers, std::uint64_t trial_seed,
                      FrozenForm form = FrozenForm::whole);
  /// The digests of frozen parameters that need not be there, only have been once. Null when they never were and there
  /// is no room for them now.
  std::shared_ptr<const std::vector<ParameterDigest>> digests(const ModelSource& source, std::uint32_t layer,
                                                              std::uint64_t trial_seed);

 private:
  HostTier& host_;
  struct Known {
    std::weak_ptr<const FrozenLayer> forms[3];
    std::weak_ptr<const FrozenLayer>& in(FrozenForm form) { return forms[static_cast<std::size_t>(form)]; }
    std::shared_ptr<const std::vector<ParameterDigest>> digests;
  };
  std::shared_ptr<const FrozenLayer> get_locked(const ModelSource& source, std::uint32_t layer,
                                                std::uint64_t trial_seed, FrozenForm form);
  /// Null where there is no room, both.
  std::shared_ptr<const FrozenLayer> read(const ModelSource& source, std::uint32_t layer, std::uint64_t trial_seed,
                                          Known& known);
  std::shared_ptr<const FrozenLayer> rounded(const FrozenLayer& whole, FrozenForm form);
  std::mutex mutex_;  // guards known_
  std::map<std::string, Known> known_;
};

/// Equal for layers whose shared parts hold the same bytes, as far as can be told without reading them, and that
/// compute the same when nothing of them is trained.
std::string content_key(const ModelSource& source, std::uint32_t layer, std::uint64_t trial_seed);

/// The digests of those parameters of a layer that have a place in this layout, in a flat buffer of it.
std::vector<ParameterDigest> parameter_digests(const LayerDescription& layer, const LayerLayout& layout,
                                               std::span<const std::byte> flat);

}  // namespace hopyard
