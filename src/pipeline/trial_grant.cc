// What a trial holds in host memory while it is active.
#include "pipeline/trial_run.h"

namespace hopyard {

std::optional<TrialGrant> grant_trial(const TrialSetup& setup, HostTier& host, FrozenStore& frozen,
                                      TrialFeatures features) {
  auto bytes = host.reserve(setup.window + trial_overhead_bytes(setup));
  if (!bytes) return std::nullopt;
  TrialGrant grant{std::move(*bytes), {}, {}, std::move(features)};
  const auto layers = setup.source->description().layers.size();
  grant.frozen.resize(layers);
  grant.unused.resize(layers);
  for (const auto l : shared_layers(setup)) {
    grant.frozen[l] = frozen.get(*setup.source, l, setup.seed, frozen_form(setup));
    if (grant.frozen[l] == nullptr) return std::nullopt;
  }
  for (std::uint32_t l = 0; l < setup.first_layer; ++l) {
    if (uses_layer(setup, l)) continue;
    grant.unused[l] = frozen.digests(*setup.source, l, setup.seed);
    if (grant.unused[l] == nullptr) return std::nullopt;
  }
  return grant;
}

}  // namespace hopyard
