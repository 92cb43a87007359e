#include "report/terminal.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include "base/environment.h"

namespace hopyard {

std::optional<TerminalSize> terminal_size(int descriptor) {
  if (isatty(descriptor) == 0) return std::nullopt;
  const auto kind = environment_variable("TERM");
  if (!kind || kind->empty() || *kind == "dumb") return std::nullopt;
  winsize size{};
  TerminalSize found;
  if (ioctl(descriptor, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 && size.ws_row > 0)
    found = {size.ws_col, size.ws_row};
  return found;
}

}  // namespace hopyard
