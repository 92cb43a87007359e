// Reading a foreign config.json: every number is checked, and the keys that a family understands are remembered.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "formats/json.h"

namespace hopyard {

class ConfigReader {
 public:
  /// `where` is named in errors. Keeps a reference to `config`.
  ConfigReader(const Json& config, std::string where) : config_(config), where_(std::move(where)) {}

  /// A missing key or null gives `otherwise`. Failure(input) when the value is no whole number of [1, limit].
  std::int64_t count(const char* key, std::int64_t otherwise, std::int64_t limit);
  /// The same for a key that must be there.
  std::int64_t count(const char* key, std::int64_t limit);
  std::int64_t integer(const char* key, std::int64_t otherwise);
  double number(const char* key, double otherwise);
  /// In [0, 1).
  double probability(const char* key, double otherwise);
  bool flag(const char* key, bool otherwise);
  std::string word(const char* key, const std::string& otherwise);
  /// A list of counts.
  std::vector<std::int64_t> counts(const char* key, std::int64_t limit);

  const std::string& where() const { return where_; }
  const std::vector<std::string>& keys() const { return keys_; }

 private:
  /// Null when the key is missing or null.
  const Json* find(const char* key);
  std::int64_t checked(const Json& value, const char* key, std::int64_t limit) const;

  const Json& config_;
  std::string where_;
  std::vector<std::string> keys_;
};

}  // namespace hopyard
