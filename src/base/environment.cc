#include "base/environment.h"

#include <cstdlib>

namespace hopyard {

std::optional<std::string> environment_variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

void set_environment_variable(const char* name, const char* value) { ::setenv(name, value, /*overwrite=*/0); }

}  // namespace hopyard
