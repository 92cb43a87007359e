// Dynamic loss scaling, for gradients that are computed in float16, whose range is small: the loss is multiplied by a
// scale before its backward pass, and the gradients are divided by it before they are used. (Micikevicius et al., ICLR
// 2018, §3.2; as torch.amp.GradScaler does it.) Scales are powers of two, so that both are exact.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

namespace hopyard {

/// GradScaler's defaults.
struct LossScaleSpec {
  double initial = 65536;             ///< a power of two
  std::uint32_t growth_steps = 2000;  ///< the scale doubles after so many steps in a row that were done
  bool operator==(const LossScaleSpec&) const = default;
};

/// Float16's smallest normal number. Whoever needs a smaller scale has gradients beyond float16's range by themselves.
constexpr double kLossScaleMin = 0x1p-14;
/// The largest to begin with.
constexpr double kLossScaleMax = 0x1p32;

/// State of a trial, as its parameters are.
struct LossScale {
  double scale = 1;
  std::uint64_t good_steps = 0;  ///< in a row, since the scale has changed
  std::uint64_t updates = 0;     ///< steps that were done: the optimizer's own count
  std::uint64_t skipped = 0;     ///< steps that were not

  /// After a step whose gradients were all finite, which was done, or not all, which was skipped.
  void note(bool finite, const LossScaleSpec& spec);
  bool operator==(const LossScale&) const = default;
};

/// What it takes in a flat buffer.
constexpr std::size_t kLossScaleBytes = 64;
/// Both require a buffer of that size.
void write_loss_scale(const LossScale& scale, std::span<std::byte> out);
/// Throws when these bytes are no state of a trial.
LossScale read_loss_scale(std::span<const std::byte> in);

}  // namespace hopyard
