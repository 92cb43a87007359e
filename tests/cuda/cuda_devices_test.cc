// What a config that names cuda devices is told, with cards and without.
#include "cuda/cuda_devices.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using ::testing::HasSubstr;

DeviceSpec cards(std::uint32_t count, Bytes memory) { return {DeviceSpec::Type::cuda, count, memory, 0, 0, 1}; }

TEST(CudaDevicesTest, ThereAreCardsOrAReasonWhyNot) {
  const CudaCards found = cuda_cards();
  EXPECT_EQ(found.cards.empty(), !found.why_none.empty());
  for (const auto& card : found.cards) {
    EXPECT_FALSE(card.name.empty());
    EXPECT_GE(card.memory, card.free);
  }
}

TEST(CudaDevicesTest, MoreCardsThanThereAreAreAMistakeOfTheConfig) {
  const CudaCards found = cuda_cards();
  const auto count = static_cast<std::uint32_t>(found.cards.size());
  const std::string said = fakes::failure_of(ExitCode::usage, [&] { resolve_cuda_device(cards(count + 1, 0), 0); });
  EXPECT_THAT(said, HasSubstr("resources.devices"));
  EXPECT_THAT(said, HasSubstr(count == 0 ? found.why_none : text::cat("there is no cuda:", count)));
}

}  // namespace
}  // namespace hopyard
