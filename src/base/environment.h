// The one door to environment variables.
#pragma once

#include <optional>
#include <string>

namespace hopyard {

std::optional<std::string> environment_variable(const char* name);

}  // namespace hopyard
