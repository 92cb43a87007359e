// The one door to terminals: whether there is one, and how large it is.
#pragma once

#include <cstddef>
#include <optional>

namespace hopyard {

struct TerminalSize {
  std::size_t columns = 80, rows = 24;
};

/// The size of the terminal behind a file descriptor; nothing when it is none or cannot move its cursor (TERM=dumb).
std::optional<TerminalSize> terminal_size(int descriptor);

}  // namespace hopyard
