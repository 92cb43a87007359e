// Where materialised activations are kept.
#pragma once

namespace hopyard {

/// Where the features of trials that begin behind a layer are.
enum class FeatureTier {
  host,  ///< all rows, in host memory
  disk,  ///< all rows, in the disk tier; those of a few visits in host memory
  fused  ///< those of a few visits, in host memory, and computed again in the next epoch
};
inline constexpr FeatureTier kFeatureTiers[] = {FeatureTier::host, FeatureTier::disk, FeatureTier::fused};
const char* to_string(FeatureTier tier);

}  // namespace hopyard
