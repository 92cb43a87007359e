#include "optim/loss_scale.h"

#include <bit>
#include <cmath>
#include <cstring>
#include <limits>

#include "base/failure.h"

namespace hopyard {

namespace {

struct Stored {
  std::uint64_t scale_bits = 0, good_steps = 0, updates = 0, skipped = 0;
};
static_assert(sizeof(Stored) <= kLossScaleBytes);

}  // namespace

void LossScale::note(bool finite, const LossScaleSpec& spec) {
  if (!finite) {
    scale /= 2;
    good_steps = 0;
    ++skipped;
    return;
  }
  ++updates;
  if (++good_steps < spec.growth_steps) return;
  good_steps = 0;
  if (2 * scale <= std::numeric_limits<float>::max()) scale *= 2;
}

void write_loss_scale(const LossScale& scale, std::span<std::byte> out) {
  require(out.size() == kLossScaleBytes, "a loss scale in ", out.size(), " bytes");
  const Stored stored{std::bit_cast<std::uint64_t>(scale.scale), scale.good_steps, scale.updates, scale.skipped};
  std::memset(out.data(), 0, out.size());
  std::memcpy(out.data(), &stored, sizeof stored);
}

LossScale read_loss_scale(std::span<const std::byte> in) {
  require(in.size() == kLossScaleBytes, "a loss scale in ", in.size(), " bytes");
  Stored stored;
  std::memcpy(&stored, in.data(), sizeof stored);
  const LossScale scale{std::bit_cast<double>(stored.scale_bits), stored.good_steps, stored.updates, stored.skipped};
  int exponent = 0;
  require(std::frexp(scale.scale, &exponent) == 0.5 && scale.scale >= kLossScaleMin, "a loss scale of ", scale.scale);
  return scale;
}

}  // namespace hopyard
