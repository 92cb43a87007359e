// The one door to environment variables.
#pragma once

#include <optional>
#include <string>

namespace hopyard {

std::optional<std::string> environment_variable(const char* name);
/// For libraries that read it later; only before the second thread starts. What the user has set stays.
void set_environment_variable(const char* name, const char* value);

}  // namespace hopyard
