// JSON in and out. nlohmann::json stays the value type; reading goes through our own strict, bounded parser.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>

namespace hopyard {

/// Keeps the order of keys, so that what we print can be compared with golden files.
using Json = nlohmann::ordered_json;

/// Bounds on what a foreign file may contain.
struct JsonLimits {
  std::size_t depth = 64;
  std::size_t values = 4'000'000;
};

/// Parses foreign text with SAX: a duplicate key, an integer outside 64 bits, NaN, trailing text, nesting or size
/// beyond the limits is a Failure(input) that names `where` and the line or byte. Never recurses.
Json parse_json(std::string_view text, const std::string& where, const JsonLimits& limits = {});
/// read_file + parse_json.
Json read_json(const std::string& path, const JsonLimits& limits = {});

/// Checked member access for foreign JSON: Failure(input) "<where>: 'rows' is missing" / "… must be a whole number".
/// T: bool, std::int64_t, std::uint32_t, std::uint64_t, double, std::string.
template <class T>
T json_get(const Json& object, const char* key, const std::string& where);
template <class T>
T json_get_or(const Json& object, const char* key, const T& otherwise, const std::string& where);
/// The same for a list: "<where>: 'files' must be a list".
const Json& json_list(const Json& object, const char* key, const std::string& where);

}  // namespace hopyard
