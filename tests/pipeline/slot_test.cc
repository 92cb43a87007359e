// The state table of a slot, row by row.
#include <gtest/gtest.h>

#include <set>
#include <utility>

#include "pipeline/slot.h"

namespace hopyard {
namespace {

TEST(SlotTest, StateTable) {
  using enum SlotState;
  const std::set<std::pair<SlotState, SlotState>> legal{
      {empty, reserved},  {reserved, loading}, {reserved, empty},    {loading, ready},   {loading, empty},
      {ready, computing}, {ready, empty},      {computing, storing}, {computing, empty}, {storing, empty}};
  for (const auto from : {empty, reserved, loading, ready, computing, storing})
    for (const auto to : {empty, reserved, loading, ready, computing, storing})
      EXPECT_EQ(may_follow(from, to), legal.contains({from, to})) << to_string(from) << " to " << to_string(to);
}

TEST(SlotTest, AnIllegalStepThrowsAndNamesBothStates) {
  Slot slot;
  try {
    slot.go(SlotState::computing);
    FAIL() << "reserved to computing was allowed";
  } catch (const std::logic_error& error) {
    EXPECT_NE(std::string(error.what()).find("reserved"), std::string::npos);
    EXPECT_NE(std::string(error.what()).find("computing"), std::string::npos);
  }
}

TEST(DeviceBytesTest, TheLedgerGetsItsBytesBack) {
  const auto ledger = std::make_shared<std::atomic<Bytes>>(0);
  {
    const DeviceBytes first(ledger, 100);
    const auto second = std::make_shared<DeviceBytes>(ledger, 28);
    EXPECT_EQ(*ledger, 128u);
  }
  EXPECT_EQ(*ledger, 0u);
}

}  // namespace
}  // namespace hopyard
