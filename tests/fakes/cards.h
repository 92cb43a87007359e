// For tests with the label `gpu`: they run where there is a card, and say why where there is none.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "cuda/cuda_devices.h"

namespace hopyard::fakes {

/// Empty where card 0 can be used. Looks once.
inline const std::string& why_no_card() {
  static const std::string why = [] {
    const CudaCards found = cuda_cards();
    return found.cards.empty() ? found.why_none : found.cards.front().why_unusable;
  }();
  return why;
}

/// Of a fixture's SetUp. ctest knows a skipped program by these words.
#define HOPYARD_SKIP_WITHOUT_CARD() \
  if (!::hopyard::fakes::why_no_card().empty()) GTEST_SKIP() << "needs a card: " << ::hopyard::fakes::why_no_card()

}  // namespace hopyard::fakes
