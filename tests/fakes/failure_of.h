// What a call throws, as values that a table can compare.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "base/failure.h"

namespace hopyard::fakes {

/// The Failure's sentence; empty, and a failed test, when there is none or its exit code is another.
template <class Call>
std::string failure_of(ExitCode code, Call&& call) {
  try {
    call();
  } catch (const Failure& failure) {
    EXPECT_EQ(static_cast<int>(failure.code()), static_cast<int>(code)) << failure.what();
    return failure.what();
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

}  // namespace hopyard::fakes
