#include "model/config_reader.h"

#include <cmath>

#include "base/failure.h"

namespace hopyard {

const Json* ConfigReader::find(const char* key) {
  keys_.push_back(key);
  const auto found = config_.find(key);
  return found == config_.end() || found->is_null() ? nullptr : &*found;
}

std::int64_t ConfigReader::checked(const Json& value, const char* key, std::int64_t limit) const {
  const bool whole =
      value.is_number_integer() && (!value.is_number_unsigned() || value.get<std::uint64_t>() <= INT64_MAX);
  const std::int64_t number = whole ? value.get<std::int64_t>() : 0;
  if (number < 1 || number > limit)
    fail(ExitCode::input, where_, ": '", key, "' must be a whole number from 1 to ", limit);
  return number;
}

std::int64_t ConfigReader::count(const char* key, std::int64_t otherwise, std::int64_t limit) {
  const Json* value = find(key);
  return value ? checked(*value, key, limit) : otherwise;
}

std::int64_t ConfigReader::count(const char* key, std::int64_t limit) {
  const Json* value = find(key);
  if (!value) fail(ExitCode::input, where_, ": '", key, "' is missing");
  return checked(*value, key, limit);
}

std::int64_t ConfigReader::integer(const char* key, std::int64_t otherwise) {
  const Json* value = find(key);
  return value ? json_get<std::int64_t>(config_, key, where_) : otherwise;
}

double ConfigReader::number(const char* key, double otherwise) {
  const Json* value = find(key);
  if (!value) return otherwise;
  const double number = value->is_number() ? value->get<double>() : NAN;
  if (!std::isfinite(number)) fail(ExitCode::input, where_, ": '", key, "' must be a number");
  return number;
}

double ConfigReader::probability(const char* key, double otherwise) {
  const double p = number(key, otherwise);
  if (p < 0 || p >= 1) fail(ExitCode::input, where_, ": '", key, "' must be in [0, 1), not ", p);
  return p;
}

bool ConfigReader::flag(const char* key, bool otherwise) {
  const Json* value = find(key);
  if (value && !value->is_boolean()) fail(ExitCode::input, where_, ": '", key, "' must be true or false");
  return value ? value->get<bool>() : otherwise;
}

std::string ConfigReader::word(const char* key, const std::string& otherwise) {
  const Json* value = find(key);
  if (value && !value->is_string()) fail(ExitCode::input, where_, ": '", key, "' must be a text");
  return value ? value->get<std::string>() : otherwise;
}

std::vector<std::int64_t> ConfigReader::counts(const char* key, std::int64_t limit) {
  const Json* value = find(key);
  if (!value) fail(ExitCode::input, where_, ": '", key, "' is missing");
  if (!value->is_array() || value->size() > 4096)
    fail(ExitCode::input, where_, ": '", key, "' must be a list of at most 4096 numbers");
  std::vector<std::int64_t> numbers;
  for (const Json& entry : *value) numbers.push_back(checked(entry, key, limit));
  return numbers;
}

}  // namespace hopyard
