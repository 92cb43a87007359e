// The values of messages as JSON: what JSON has no word for, to the last bit, and strict when read. A struct takes part
// by `list(form, value)` in its namespace, which names each field to the form once, for both directions.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/epochs.h"
#include "base/failure.h"
#include "base/text.h"
#include "base/trial.h"
#include "formats/json.h"
#include "hopper/state_book.h"
#include "pipeline/train_spec.h"

namespace hopyard {

/// As JSON has them.
template <class T>
constexpr bool kPlainValue = std::is_same_v<T, bool> || std::is_same_v<T, std::int64_t> ||
                             std::is_same_v<T, std::uint64_t> || std::is_same_v<T, std::string>;

/// The form that `list` goes through to write.
class MessageWriter {
 public:
  template <class T>
  void operator()(const char* key, T& value) {
    json_[key] = write(value);
  }

  template <class T>
  static Json write(T& value) {
    if constexpr (kPlainValue<T> || std::is_same_v<T, std::uint32_t>) {
      return value;
    } else {
      MessageWriter fields;
      list(fields, value);
      return std::move(fields.json_);
    }
  }
  static Json write(double& value);  ///< its bits where JSON has no word for it
  static Json write(Epochs& epochs) { return Json::array({epochs.count(), epochs.parts()}); }
  static Json write(ExitCode& code) { return static_cast<int>(code); }
  static Json write(DataParallelSpec::Sum& sum) { return static_cast<int>(sum); }
  static Json write(SettingValue& value);
  static Json write(std::vector<HeldBlob>& blobs);
  static Json write(std::vector<float>& values);  ///< long lists of numbers are their bytes
  static Json write(std::vector<std::int64_t>& values);
  template <class T>
  static Json write(std::vector<T>& values) {
    Json all = Json::array();
    for (auto& value : values) all.push_back(write(value));
    return all;
  }
  template <class T>
  static Json write(std::optional<T>& value) {
    return value ? write(*value) : Json();
  }

 private:
  Json json_ = Json::object();
};

/// The form that `list` goes through to read. All that is wrong is Failure(input), which says where.
class MessageReader {
 public:
  template <class T>
  void operator()(const char* key, T& value) {
    if constexpr (kPlainValue<T>)
      value = json_get<T>(json_, key, where_);
    else
      read(of(key), value, text::cat(where_, ": '", key, "'"));
    ++known_;
  }

  /// All fields of the struct, and no others.
  template <class T>
  static void read(const Json& json, T& value, const std::string& where) {
    MessageReader fields(json, where);
    list(fields, value);
    fields.expect_no_more();
  }
  static void read(const Json& json, std::uint32_t& value, const std::string& where);
  static void read(const Json& json, std::int64_t& value, const std::string& where);
  static void read(const Json& json, double& value, const std::string& where);
  static void read(const Json& json, Epochs& epochs, const std::string& where);
  static void read(const Json& json, ExitCode& code, const std::string& where);
  static void read(const Json& json, DataParallelSpec::Sum& sum, const std::string& where);
  static void read(const Json& json, SettingValue& value, const std::string& where);
  static void read(const Json& json, std::vector<HeldBlob>& blobs, const std::string& where);
  static void read(const Json& json, std::vector<float>& values, const std::string& where);
  static void read(const Json& json, std::vector<std::int64_t>& values, const std::string& where);
  template <class T>
  static void read(const Json& json, std::vector<T>& values, const std::string& where) {
    for (const Json& one : items(json, where)) read(one, values.emplace_back(), where);
  }
  template <class T>
  static void read(const Json& json, std::optional<T>& value, const std::string& where) {
    if (!json.is_null()) read(json, value.emplace(), where);
  }

 private:
  MessageReader(const Json& json, const std::string& where);
  const Json& of(const char* key) const;
  void expect_no_more() const;
  static const Json& items(const Json& json, const std::string& where);

  const Json& json_;
  const std::string& where_;
  std::size_t known_ = 0;
};

}  // namespace hopyard
