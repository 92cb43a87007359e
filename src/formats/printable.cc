#include "formats/printable.h"

namespace hopyard {

std::string printable(std::string_view foreign) {
  constexpr std::size_t kShown = 80;
  std::string out = "'";
  for (const char c : foreign.substr(0, kShown)) {
    const bool control = static_cast<unsigned char>(c) < 0x20 || c == 0x7f;
    out += control ? '?' : c;
  }
  return out + (foreign.size() > kShown ? "…'" : "'");
}

bool is_plain_file_name(std::string_view name) {
  return !name.empty() && name != "." && name != ".." && name.find('/') == name.npos && name.find('\0') == name.npos;
}

}  // namespace hopyard
