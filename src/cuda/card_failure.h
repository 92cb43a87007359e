// What went wrong with a card, once.
#pragma once

#include <exception>

#include "cuda/first_kept.h"

namespace hopyard {

/// The first call of a card that failed; null while all is well. From then on nothing more is asked of it: what is
/// there can no longer be trusted.
using CardFailure = FirstKept<std::exception_ptr>;

}  // namespace hopyard
