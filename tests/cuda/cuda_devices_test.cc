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

TEST(CudaDevicesTest, OfWorkersOnOneMachineAreEachOnesOwn) {
  EXPECT_EQ(first_card_of(0, 2, 8), 0u);
  EXPECT_EQ(first_card_of(3, 2, 8), 6u);
  EXPECT_EQ(first_card_of(4, 2, 8), 8u) << "which is no card, so that resolving it says so";
  EXPECT_EQ(first_card_of(3, 2, 2), 0u) << "it sees no others";
  EXPECT_EQ(first_card_of(1, 1, 0), 0u);
}

}  // namespace
}  // namespace hopyard
