// Names from foreign files as they may appear in a sentence.
#pragma once

#include <string>
#include <string_view>

namespace hopyard {

/// In single quotes; control bytes become '?', and what is longer than 80 bytes is cut.
std::string printable(std::string_view foreign);

/// Whether a file name from a foreign file stays in its folder: one component, not "..", no NUL.
bool is_plain_file_name(std::string_view name);

}  // namespace hopyard
