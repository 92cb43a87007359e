#include "formats/json.h"

#include <algorithm>
#include <iterator>
#include <limits>
#include <vector>

#include "base/failure.h"
#include "base/files.h"
#include "formats/printable.h"

namespace hopyard {

namespace {

constexpr std::size_t kJsonFileBytes = std::size_t{256} << 20;

/// Tells the handler how far the parser has read, which nlohmann's SAX interface does not.
struct CountingIterator {
  using iterator_category = std::input_iterator_tag;
  using value_type = char;
  using difference_type = std::ptrdiff_t;
  using pointer = const char*;
  using reference = const char&;

  const char* at = nullptr;
  const char** read = nullptr;

  reference operator*() const { return *at; }
  CountingIterator& operator++() {
    *read = ++at;
    return *this;
  }
  bool operator==(const CountingIterator& other) const { return at == other.at; }
  bool operator!=(const CountingIterator& other) const { return at != other.at; }
};

/// Builds the value from SAX events. Open containers are always the last element of the one that holds them, so the
/// pointers on the stack stay valid.
class Builder {
 public:
  Builder(std::string_view text, const std::string& where, const JsonLimits& limits)
      : text_(text), where_(where), limits_(limits), read_(text.data()) {}

  CountingIterator begin() { return {text_.data(), &read_}; }
  CountingIterator end() { return {text_.data() + text_.size(), &read_}; }
  Json take() { return std::move(root_); }

  [[noreturn]] void refuse(const std::string& sentence) const { refuse_at(read_ - text_.data(), sentence); }
  [[noreturn]] void refuse_at(std::size_t position, const std::string& sentence) const {
    const std::string_view before = text_.substr(0, std::min(position, text_.size()));
    const auto line_start = before.rfind('\n') + 1;  // npos + 1 is 0
    fail(ExitCode::input, where_, ":", std::count(before.begin(), before.end(), '\n') + 1, ":",
         std::max<std::size_t>(before.size() - line_start, 1), ": ", sentence);
  }

  bool null() { return add(nullptr); }
  bool boolean(bool value) { return add(value); }
  bool number_integer(std::int64_t value) { return add(value); }
  bool number_unsigned(std::uint64_t value) { return add(value); }
  bool number_float(double value, const std::string& written) {
    if (written.find_first_of(".eE") == std::string::npos) refuse(text::cat(written, " does not fit 64 bits"));
    return add(value);
  }
  bool string(std::string& value) { return add(std::move(value)); }
  bool binary(Json::binary_t&) { return false; }

  bool start_object(std::size_t) { return open(Json::object()); }
  bool start_array(std::size_t) { return open(Json::array()); }
  bool key(std::string& name) {
    key_ = std::move(name);
    return true;
  }
  bool end_object() {
    refuse_duplicates(open_.back()->get_ref<const Json::object_t&>());
    return end_array();
  }
  bool end_array() {
    open_.pop_back();
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception& error) {
    refuse_at(position, "is not JSON: " + reason_of(error.what()));
  }

 private:
  /// "[json.exception.parse_error.101] parse error at line 1, column 2: REASON; last read: 'as long as the input'".
  static std::string reason_of(std::string message) {
    for (const char* prefix : {"column ", "] "})
      if (const auto at = message.find(prefix); at != std::string::npos) {
        const auto colon = *prefix == 'c' ? message.find(": ", at) : at;
        if (colon != std::string::npos) message.erase(0, colon + 2);
        break;
      }
    return message.substr(0, std::min(message.find("; last read"), std::size_t{200}));
  }

  Json* place(Json value) {
    if (open_.empty()) {
      root_ = std::move(value);
      return &root_;
    }
    Json& parent = *open_.back();
    if (parent.is_array()) return &parent.get_ref<Json::array_t&>().emplace_back(std::move(value));
    // Not object_t::emplace: it looks for the key one by one, which is quadratic in a foreign file's hands.
    auto& members = static_cast<std::vector<Json::object_t::value_type>&>(parent.get_ref<Json::object_t&>());
    return &members.emplace_back(std::move(key_), std::move(value)).second;
  }

  bool add(Json value) {
    if (++values_ > limits_.values) refuse(text::cat("has more than the ", limits_.values, " values allowed"));
    place(std::move(value));
    return true;
  }

  bool open(Json empty) {
    if (open_.size() >= limits_.depth)
      refuse(text::cat("is nested deeper than the ", limits_.depth, " levels allowed"));
    if (++values_ > limits_.values) refuse(text::cat("has more than the ", limits_.values, " values allowed"));
    open_.push_back(place(std::move(empty)));
    return true;
  }

  void refuse_duplicates(const Json::object_t& members) const {
    std::vector<const std::string*> keys;
    keys.reserve(members.size());
    for (const auto& member : members) keys.push_back(&member.first);
    std::sort(keys.begin(), keys.end(), [](auto* a, auto* b) { return *a < *b; });
    const auto twice = std::adjacent_find(keys.begin(), keys.end(), [](auto* a, auto* b) { return *a == *b; });
    if (twice != keys.end()) refuse("key " + printable(**twice) + " stands twice in the object that ends here");
  }

  std::string_view text_;
  const std::string& where_;
  JsonLimits limits_;
  const char* read_;
  Json root_;
  std::vector<Json*> open_;
  std::string key_;
  std::size_t values_ = 0;
};

template <class T>
struct Expected;
template <>
struct Expected<bool> {
  static constexpr const char* words = "true or false";
  static bool fits(const Json& value) { return value.is_boolean(); }
};
template <>
struct Expected<std::int64_t> {
  static constexpr const char* words = "a whole number";
  static bool fits(const Json& value) {
    constexpr auto most = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
    return value.is_number_integer() && !(value.is_number_unsigned() && value.get<std::uint64_t>() > most);
  }
};
template <>
struct Expected<std::uint32_t> {
  static constexpr const char* words = "a whole number from 0 to 4294967295";
  static bool fits(const Json& value) {
    return value.is_number_unsigned() && value.get<std::uint64_t>() <= std::numeric_limits<std::uint32_t>::max();
  }
};
template <>
struct Expected<std::uint64_t> {
  static constexpr const char* words = "a whole number that is not negative";
  static bool fits(const Json& value) {
    return value.is_number_unsigned() || (value.is_number_integer() && value.get<std::int64_t>() >= 0);
  }
};
template <>
struct Expected<double> {
  static constexpr const char* words = "a number";
  static bool fits(const Json& value) { return value.is_number(); }
};
template <>
struct Expected<std::string> {
  static constexpr const char* words = "text";
  static bool fits(const Json& value) { return value.is_string(); }
};

}  // namespace

Json parse_json(std::string_view text, const std::string& where, const JsonLimits& limits) {
  Builder builder(text, where, limits);
  // nlohmann takes a NUL for the end of the text and would not see what follows it.
  if (const auto nul = text.find('\0'); nul != text.npos) builder.refuse_at(nul + 1, "is not JSON: has a NUL byte");
  Json::sax_parse(builder.begin(), builder.end(), &builder);
  return builder.take();
}

Json read_json(const std::string& path, const JsonLimits& limits) {
  return parse_json(read_file(path, kJsonFileBytes), path, limits);
}

template <class T>
T json_get(const Json& object, const char* key, const std::string& where) {
  if (!object.is_object()) fail(ExitCode::input, where, ": must be an object that has '", key, "'");
  const auto found = object.find(key);
  if (found == object.end()) fail(ExitCode::input, where, ": '", key, "' is missing");
  if (!Expected<T>::fits(*found)) fail(ExitCode::input, where, ": '", key, "' must be ", Expected<T>::words);
  return found->get<T>();
}

template <class T>
T json_get_or(const Json& object, const char* key, const T& otherwise, const std::string& where) {
  if (object.is_object() && !object.contains(key)) return otherwise;
  return json_get<T>(object, key, where);
}

const Json& json_list(const Json& object, const char* key, const std::string& where) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end() || !found->is_array()) fail(ExitCode::input, where, ": '", key, "' must be a list");
  return *found;
}

#define HOPYARD_JSON_TYPE(T)                                            \
  template T json_get<T>(const Json&, const char*, const std::string&); \
  template T json_get_or<T>(const Json&, const char*, const T&, const std::string&);
HOPYARD_JSON_TYPE(bool)
HOPYARD_JSON_TYPE(std::int64_t)
HOPYARD_JSON_TYPE(std::uint32_t)
HOPYARD_JSON_TYPE(std::uint64_t)
HOPYARD_JSON_TYPE(double)
HOPYARD_JSON_TYPE(std::string)
#undef HOPYARD_JSON_TYPE

}  // namespace hopyard
