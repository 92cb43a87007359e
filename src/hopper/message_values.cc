#include "hopper/message_values.h"

#include <cmath>
#include <limits>

namespace hopyard {

namespace {

constexpr const char* kDigits = "0123456789abcdef";

std::string hex_of(const void* data, std::size_t bytes) {
  std::string text(2 * bytes, '0');
  const auto* from = static_cast<const unsigned char*>(data);
  for (std::size_t i = 0; i < bytes; ++i) {
    text[2 * i] = kDigits[from[i] >> 4];
    text[2 * i + 1] = kDigits[from[i] & 15];
  }
  return text;
}

/// False when the text is not of so many bytes.
bool bytes_of(const std::string& text, void* out, std::size_t bytes) {
  if (text.size() != 2 * bytes || text.find_first_not_of(kDigits) != text.npos) return false;
  const auto value = [](char digit) { return digit <= '9' ? digit - '0' : digit - 'a' + 10; };
  for (std::size_t i = 0; i < bytes; ++i)
    static_cast<unsigned char*>(out)[i] = static_cast<unsigned char>(value(text[2 * i]) << 4 | value(text[2 * i + 1]));
  return true;
}

template <class T>
void read_packed(const Json& json, std::vector<T>& values, const std::string& where) {
  if (json.is_string()) {
    const auto& text = json.get_ref<const std::string&>();
    values.resize(text.size() / (2 * sizeof(T)));
    if (bytes_of(text, values.data(), values.size() * sizeof(T))) return;
  }
  fail(ExitCode::input, where, " must be the bytes of numbers in hexadecimal digits");
}

}  // namespace

Json MessageWriter::write(double& value) {
  return std::isfinite(value) ? Json(value) : Json(hex_of(&value, sizeof value));
}

Json MessageWriter::write(SettingValue& value) {
  constexpr const char* kinds[] = {"flag", "whole", "real", "text"};
  return {{kinds[value.index()], std::visit([](auto& one) { return write(one); }, value)}};
}

Json MessageWriter::write(std::vector<HeldBlob>& blobs) {
  Json all = Json::array();
  for (const auto& blob : blobs) all.push_back({blob.blob, blob.bytes});
  return all;
}

Json MessageWriter::write(std::vector<float>& values) { return hex_of(values.data(), values.size() * sizeof(float)); }

Json MessageWriter::write(std::vector<std::int64_t>& values) {
  return hex_of(values.data(), values.size() * sizeof(std::int64_t));
}

MessageReader::MessageReader(const Json& json, const std::string& where) : json_(json), where_(where) {
  if (!json.is_object()) fail(ExitCode::input, where, ": must be an object");
}

const Json& MessageReader::of(const char* key) const {
  const auto found = json_.find(key);
  if (found == json_.end()) fail(ExitCode::input, where_, ": '", key, "' is missing");
  return *found;
}

void MessageReader::expect_no_more() const {
  if (json_.size() != known_) fail(ExitCode::input, where_, ": has more than the ", known_, " fields known here");
}

const Json& MessageReader::items(const Json& json, const std::string& where) {
  if (!json.is_array()) fail(ExitCode::input, where, " must be a list");
  return json;
}

void MessageReader::read(const Json& json, std::uint32_t& value, const std::string& where) {
  if (!json.is_number_unsigned() || json.get<std::uint64_t>() > std::numeric_limits<std::uint32_t>::max())
    fail(ExitCode::input, where, " must be a whole number below 2^32");
  value = json.get<std::uint32_t>();
}

void MessageReader::read(const Json& json, std::int64_t& value, const std::string& where) {
  if (!json.is_number_integer() || (json.is_number_unsigned() && json.get<std::uint64_t>() > INT64_MAX))
    fail(ExitCode::input, where, " must be a whole number of 64 bits");
  value = json.get<std::int64_t>();
}

void MessageReader::read(const Json& json, double& value, const std::string& where) {
  if (json.is_number())
    value = json.get<double>();
  else if (!json.is_string() || !bytes_of(json.get_ref<const std::string&>(), &value, sizeof value))
    fail(ExitCode::input, where, " must be a number");
}

void MessageReader::read(const Json& json, Epochs& epochs, const std::string& where) {
  std::uint32_t count = 0, parts = 0;
  if (json.is_array() && json.size() == 2) read(json[0], count, where), read(json[1], parts, where);
  if (parts == 0) fail(ExitCode::input, where, " must be a number of parts, and how many an epoch has");
  epochs = Epochs::of_visits(count, parts);
}

void MessageReader::read(const Json& json, ExitCode& code, const std::string& where) {
  std::uint32_t number = 0;
  read(json, number, where);
  if (number > static_cast<std::uint32_t>(ExitCode::interrupted))
    fail(ExitCode::input, where, ": there is no exit code ", number);
  code = static_cast<ExitCode>(number);
}

void MessageReader::read(const Json& json, DataParallelSpec::Sum& sum, const std::string& where) {
  std::uint32_t number = 0;
  read(json, number, where);
  if (number > static_cast<std::uint32_t>(DataParallelSpec::Sum::server))
    fail(ExitCode::input, where, ": there is no sum ", number);
  sum = static_cast<DataParallelSpec::Sum>(number);
}

void MessageReader::read(const Json& json, SettingValue& value, const std::string& where) {
  if (!json.is_object() || json.size() != 1) fail(ExitCode::input, where, " must be one value and its type");
  const auto& type = json.begin().key();
  if (type == "flag")
    value = json_get<bool>(json, "flag", where);
  else if (type == "whole")
    value = json_get<std::int64_t>(json, "whole", where);
  else if (type == "real")
    read(json.begin().value(), value.emplace<double>(), where);
  else if (type == "text")
    value = json_get<std::string>(json, "text", where);
  else
    fail(ExitCode::input, where, " has a type that nobody knows here");
}

void MessageReader::read(const Json& json, std::vector<HeldBlob>& blobs, const std::string& where) {
  constexpr Bytes kBytesMax = std::numeric_limits<std::int64_t>::max();
  Bytes all = 0;
  for (const Json& one : items(json, where)) {
    if (!one.is_array() || one.size() != 2 || !one[1].is_number_unsigned())
      fail(ExitCode::input, where, " must be pairs of a blob and its bytes");
    HeldBlob& blob = blobs.emplace_back();
    read(one[0], blob.blob, where);
    blob.bytes = one[1].get<Bytes>();
    if (blobs.size() > 1 && blobs[blobs.size() - 2].blob >= blob.blob)
      fail(ExitCode::input, where, ": blob ", blob.blob, " is out of order");
    if (blob.bytes > kBytesMax - all) fail(ExitCode::input, where, ": more bytes than there can be");
    all += blob.bytes;
  }
}

void MessageReader::read(const Json& json, std::vector<float>& values, const std::string& where) {
  read_packed(json, values, where);
}

void MessageReader::read(const Json& json, std::vector<std::int64_t>& values, const std::string& where) {
  read_packed(json, values, where);
}

}  // namespace hopyard
