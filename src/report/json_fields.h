// Reading back what report itself has written, and writing text whatever it holds.
#pragma once

#include <cmath>
#include <limits>
#include <string>
#include <vector>

#include "base/failure.h"
#include "base/trial.h"
#include "formats/json.h"

namespace hopyard {

/// A number; null, which is how JSON text shows what is not finite, reads as NaN.
inline double read_number(const Json& object, const char* key, const char* where) {
  if (object.is_object() && object.contains(key) && object.at(key).is_null())
    return std::numeric_limits<double>::quiet_NaN();
  return json_get<double>(object, key, where);
}

template <class T>
std::vector<T> read_list(const Json& object, const char* key, const char* where) {
  if (!object.is_object() || !object.contains(key) || !object.at(key).is_array())
    fail(ExitCode::input, where, ": '", key, "' must be a list");
  std::vector<T> list;
  for (const Json& item : object.at(key)) list.push_back(item.get<T>());
  return list;
}

inline std::vector<std::string> read_texts(const Json& object, const char* key, const char* where) {
  std::vector<std::string> list;
  for (const Json& item : read_list<Json>(object, key, where)) {
    if (!item.is_string()) fail(ExitCode::input, where, ": '", key, "' must be a list of text");
    list.push_back(item.get<std::string>());
  }
  return list;
}

inline std::uint32_t read_small(const Json& object, const char* key, const char* where) {
  const auto value = json_get<std::uint64_t>(object, key, where);
  if (value > std::numeric_limits<std::uint32_t>::max()) fail(ExitCode::input, where, ": '", key, "' is too large");
  return static_cast<std::uint32_t>(value);
}

/// 3 or 0.25.
inline void to_json(Json& json, const Epochs& epochs) {
  json = epochs.parts() == 1 ? Json(epochs.count()) : Json(epochs.value());
}
inline Epochs read_epochs(const Json& object, const char* key, const char* where) {
  const auto epochs = Epochs::nearest(json_get<double>(object, key, where));
  if (!epochs) fail(ExitCode::input, where, ": '", key, "' must be a number of epochs");
  return *epochs;
}

/// {path: value}, in their order.
inline Json settings_json(const std::vector<Setting>& settings) {
  Json json = Json::object();
  for (const auto& setting : settings)
    json[setting.path] = std::visit([](const auto& value) { return Json(value); }, setting.value);
  return json;
}

/// JSON text; bytes that are no UTF-8 become U+FFFD. `indent` −1: one line.
inline std::string dump_json(const Json& json, int indent = -1) {
  return json.dump(indent, ' ', false, Json::error_handler_t::replace);
}

}  // namespace hopyard
