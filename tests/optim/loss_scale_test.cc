#include "optim/loss_scale.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <vector>

#include "base/rng.h"

namespace hopyard {
namespace {

TEST(LossScale, IsGradScalers) {
  for (std::uint64_t seed = 0; seed < 20; ++seed) {
    KeyedStream draw(seed);
    const LossScaleSpec spec{seed < 10 ? 65536 : 0x1p126, static_cast<std::uint32_t>(1 + draw.below(4))};
    LossScale scale{spec.initial};
    at::Tensor known = at::full({1}, spec.initial, at::kFloat), good = at::zeros({1}, at::kInt);
    std::uint64_t updates = 0, skipped = 0;
    for (int step = 0; step < 60; ++step) {
      const bool finite = draw.below(5) != 0;
      ++(finite ? updates : skipped);
      scale.note(finite, spec);
      at::_amp_update_scale_(known, good, at::full({1}, finite ? 0 : 1, at::kFloat), 2, 0.5, spec.growth_steps);
      EXPECT_EQ(scale.scale, known.item<double>()) << seed << " " << step;
      EXPECT_EQ(scale.good_steps, static_cast<std::uint64_t>(good.item<int>())) << seed << " " << step;
    }
    EXPECT_EQ(scale.updates, updates);
    EXPECT_EQ(scale.skipped, skipped);
  }
}

TEST(LossScale, BytesHoldAllOfIt) {
  std::vector<std::byte> bytes(kLossScaleBytes, std::byte{0xff});
  const LossScale scale{0x1p-3, 1999, 123456789012345, 17};
  write_loss_scale(scale, bytes);
  EXPECT_EQ(read_loss_scale(bytes), scale);
  EXPECT_THROW(read_loss_scale(std::span(bytes).first(32)), std::logic_error);
}

TEST(LossScale, OtherBytesAreNone) {
  std::vector<std::byte> bytes(kLossScaleBytes);
  EXPECT_THROW(read_loss_scale(bytes), std::logic_error) << "a scale of 0";
  for (const double bad : {3.0, kLossScaleMin / 2, -1.0}) {
    write_loss_scale({bad, 0, 0, 0}, bytes);
    EXPECT_THROW(read_loss_scale(bytes), std::logic_error) << bad;
  }
}

}  // namespace
}  // namespace hopyard
