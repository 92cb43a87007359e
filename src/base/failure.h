// Errors that end in a sentence for the user and in a documented exit code.
#pragma once

#include <stdexcept>
#include <string>

#include "base/text.h"

namespace hopyard {

/// What the process returns; docs/CONFIG.md lists them.
enum class ExitCode : int { done = 0, internal = 1, usage = 2, input = 3, capacity = 4, interrupted = 5 };

/// Something that a user can put right. `what()` is one sentence that names the thing and the way out. Thrown anywhere,
/// caught once, in cli/main.cc. A broken contract inside Hopyard throws std::logic_error instead (exit code 1).
class Failure : public std::runtime_error {
 public:
  Failure(ExitCode code, const std::string& sentence) : std::runtime_error(sentence), code_(code) {}
  ExitCode code() const { return code_; }

 private:
  ExitCode code_;
};

/// Throws a Failure whose sentence is the parts put together: fail(ExitCode::input, path, ": is empty").
template <class... Parts>
[[noreturn]] void fail(ExitCode code, const Parts&... parts) {
  throw Failure(code, text::cat(parts...));
}

/// Throws std::logic_error when a contract of our own is broken; the parts name both operands.
template <class... Parts>
void require(bool holds, const Parts&... parts) {
  if (!holds) throw std::logic_error(text::cat(parts...));
}

}  // namespace hopyard
