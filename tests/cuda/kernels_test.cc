// Kernels of the card against what the CPU does, to the bit.
#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "base/rng.h"
#include "cuda/bf16_bits.h"
#include "device/device_kernels.h"
#include "fakes/cards.h"
#include "model/layer.h"
#include "optim/optimizer.h"

namespace hopyard {
namespace {

constexpr std::int64_t kSizes[] = {0, 1, 2, 3, 7, 8, 9, 255, 1000, 32'767, 32'768, 32'769, 1'000'003};

class KernelsTest : public ::testing::Test {
 protected:
  static constexpr std::uint64_t kSeed = 17;

  void SetUp() override {
    HOPYARD_SKIP_WITHOUT_CARD();
    device = make_cuda_device({DeviceSpec::Type::cuda, 1, 512 * MiB, 0, 0, 1}, 0, nullptr);
    device->enter_compute();
  }
  /// On the card, `offset` values behind a multiple of 256 bytes.
  at::Tensor on_card(const at::Tensor& host, std::int64_t offset) {
    at::Tensor whole = at::empty({host.numel() + offset}, host.options().device(device->place()));
    at::Tensor part = whole.narrow(0, offset, host.numel());
    part.copy_(host);
    return part;
  }
  static at::Tensor bits_of(const at::Tensor& values) {
    return values.cpu().contiguous().view(values.element_size() == 2 ? at::kShort : at::kInt);
  }
  /// Every kind of float32, drawn as bits; without NaN and infinities if so wished.
  static at::Tensor drawn(std::int64_t count, bool finite) {
    at::Tensor values = at::empty({count}, at::kFloat);
    KeyedStream stream(derive(kSeed, static_cast<std::uint64_t>(count)));
    auto* const out = static_cast<std::uint32_t*>(values.data_ptr());
    for (std::int64_t i = 0; i < count; ++i) {
      out[i] = static_cast<std::uint32_t>(stream.next());
      if (finite && (out[i] & 0x7f80'0000u) == 0x7f80'0000u) out[i] &= ~0x4000'0000u;
    }
    return values;
  }

  std::unique_ptr<Device> device;
};

TEST_F(KernelsTest, DropoutMasksHaveTheBitsOfTheCpu) {
  const Pass pass{true, 99, 3, {}};
  for (const std::int64_t count : kSizes)
    for (const double p : {0.1, 0.5, 0.999999, 1e-12}) {
      const at::Tensor expected = dropout_mask(at::empty({count}, at::kFloat), p, pass, 2);
      const at::Tensor got = dropout_mask(at::empty({count}, at::TensorOptions(device->place())), p, pass, 2);
      EXPECT_TRUE(at::equal(bits_of(got), bits_of(expected))) << count << " values, p = " << p;
      for (const auto type : {at::kBFloat16, at::kHalf}) {
        const at::Tensor halved =
            dropout_mask(at::empty({count}, at::TensorOptions(device->place()).dtype(type)), p, pass, 2);
        EXPECT_TRUE(at::equal(bits_of(halved), bits_of(expected.to(type)))) << count << " values, p = " << p;
      }
    }
}

TEST_F(KernelsTest, DropoutMasksMayStartAnywhere) {
  const Pass pass{true, 99, 3, {}};
  const std::uint64_t key = derive(derive(pass.key, pass.layer), 0);
  const at::Tensor expected = dropout_mask(at::empty({1001}, at::kFloat), 0.3, pass, 0);
  for (const auto type : {at::kFloat, at::kBFloat16}) {
    at::Tensor out = on_card(at::full({1001}, NAN, type), 1);
    kernels_of(at::kCUDA).dropout_mask(out, key, 0.3);
    EXPECT_TRUE(at::equal(bits_of(out), bits_of(expected.to(type))));
  }
}

TEST_F(KernelsTest, DropoutMasksTakeTheirKeyFromTheCardToo) {
  const at::Tensor key = at::zeros({}, at::TensorOptions(device->place()).dtype(at::kLong));
  for (const std::uint64_t pass_key : {std::uint64_t{1}, ~std::uint64_t{0}, derive(kSeed, 5)}) {
    at::Tensor(key).fill_(static_cast<std::int64_t>(pass_key));
    const Pass there{true, 0, 3, {}, key}, here{true, pass_key, 3, {}};
    for (const auto type : {at::kFloat, at::kBFloat16, at::kHalf}) {
      const at::Tensor got =
          dropout_mask(at::empty({1001}, at::TensorOptions(device->place()).dtype(type)), 0.3, there, 2);
      EXPECT_TRUE(at::equal(bits_of(got), bits_of(dropout_mask(at::empty({1001}, type), 0.3, here, 2)))) << type;
    }
  }
}

TEST_F(KernelsTest, SquaredNormsHaveTheBitsOfTheCpuEachTime) {
  for (const std::int64_t count : kSizes)
    for (const std::int64_t offset : {0, 1, 3}) {
      const at::Tensor host = drawn(count, true);
      const at::Tensor values = on_card(host, offset);
      const at::Tensor sum = kernels_of(at::kCUDA).squared_norm(values);
      EXPECT_EQ(sum.device(), device->place());
      EXPECT_EQ(sum.item<double>(), squared_norm(host)) << count << " values from " << offset;
      EXPECT_TRUE(std::isfinite(sum.item<double>()));
    }
  const at::Tensor large = at::empty({50'000'001}, at::kFloat).fill_(1e-3f);
  const double expected = squared_norm(large);
  const at::Tensor values = on_card(large, 0);
  for (int i = 0; i < 3; ++i) EXPECT_EQ(kernels_of(at::kCUDA).squared_norm(values).item<double>(), expected);
}

TEST_F(KernelsTest, ASquaredNormIsFiniteExactlyWhenAllValuesAre) {
  const at::Tensor largest = at::full({100'000}, std::numeric_limits<float>::max(), at::kFloat);
  EXPECT_TRUE(std::isfinite(kernels_of(at::kCUDA).squared_norm(on_card(largest, 0)).item<double>()));
  for (const float bad : {NAN, INFINITY, -INFINITY})
    for (const std::int64_t place : {0, 32'768, 99'999}) {
      const at::Tensor host = at::ones({100'000}, at::kFloat);
      host.data_ptr<float>()[place] = bad;
      EXPECT_FALSE(std::isfinite(kernels_of(at::kCUDA).squared_norm(on_card(host, 0)).item<double>()));
    }
}

/// Parameters are rounded on either side, as it comes.
TEST_F(KernelsTest, CastsRoundAsTheHostDoes) {
  for (const std::int64_t count : kSizes) {
    const at::Tensor host = drawn(count, true);
    const at::Tensor cast = bits_of(on_card(host, 0).to(at::kBFloat16));
    const auto* const from = static_cast<const std::uint32_t*>(host.const_data_ptr());
    for (std::int64_t i = 0; i < count; ++i)
      ASSERT_EQ(static_cast<std::uint16_t>(cast.const_data_ptr<std::int16_t>()[i]), bf16_bits(from[i])) << i;
  }
}

}  // namespace
}  // namespace hopyard
