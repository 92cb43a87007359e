// Frozen layers in host memory: content-addressed, so that all trials with the same frozen layer hold one copy.
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

/// A frozen layer's flat buffer and the digests of its parameters. Constant while it is shared.
struct FrozenLayer {
  HostBuffer bytes;
  std::shared_ptr<const std::vector<ParameterDigest>> digests;
};

/// Keeps a layer as long as somebody holds it. Thread-safe. The checkpoint itself is its disk tier: a layer that nobody
/// holds is read from there again.
class FrozenStore {
 public:
  explicit FrozenStore(HostTier& host) : host_(host) {}
  /// Null when the host tier has no room for a layer that is not there yet.
  std::shared_ptr<const FrozenLayer> get(const ModelSource& source, std::uint32_t layer, std::uint64_t trial_seed);
  /// What get() of these layers of the model would newly take from the host tier.
  Bytes missing_bytes(const ModelSource& source, std::span<const std::uint32_t> layers, std::uint64_t trial_seed);
  /// The digests of a layer that need not be there, only have been once. Null when it never was and there is no room
  /// for it now.
  std::shared_ptr<const std::vector<ParameterDigest>> digests(const ModelSource& source, std::uint32_t layer,
                                                              std::uint64_t trial_seed);

 private:
  HostTier& host_;
  struct Known {
    std::weak_ptr<const FrozenLayer> layer;
    std::shared_ptr<const std::vector<ParameterDigest>> digests;
  };
  std::shared_ptr<const FrozenLayer> get_locked(const ModelSource& source, std::uint32_t layer,
                                                std::uint64_t trial_seed);
  std::mutex mutex_;  // guards known_
  std::map<std::string, Known> known_;
};

/// Equal for layers that hold the same bytes and compute the same, as far as can be told without reading them.
std::string content_key(const ModelSource& source, std::uint32_t layer, std::uint64_t trial_seed);

/// The digests of a layer's own parameters in a flat buffer.
std::vector<ParameterDigest> parameter_digests(const LayerDescription& layer, const LayerLayout& layout,
                                               std::span<const std::byte> flat);

}  // namespace hopyard
