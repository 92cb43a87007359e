#include "runtime/yaml_reader.h"

#include <algorithm>
#include <charconv>
#include <cmath>

#include "base/failure.h"
#include "formats/printable.h"

namespace hopyard {

namespace {

std::string place(const std::string& file, const Mark& mark) {
  return mark.line == 0 ? "--set" : text::cat(file, ":", mark.line, ":", mark.column);
}

std::string describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "nothing";
    case YamlNode::Kind::scalar:
      return printable(node.text);
    case YamlNode::Kind::list:
      return "a list";
    case YamlNode::Kind::map:
      return "a map";
  }
  return "?";
}

template <class T>
std::optional<T> parse_number(const YamlNode& node) {
  if (node.kind != YamlNode::Kind::scalar || node.quoted) return std::nullopt;
  std::string_view text = node.text;
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

bool is_search(const YamlNode& node) {
  for (const char* key : {"grid", "choice", "uniform", "loguniform", "int"})
    if (node.find(key) != nullptr) return true;
  return false;
}

bool is_bare(const YamlNode& node, std::string_view word) {
  return node.kind == YamlNode::Kind::scalar && !node.quoted && node.text == word;
}

}  // namespace

void ValueReader::refuse(const std::string& sentence) const {
  fail(ExitCode::usage, place(file_, node_.mark), ": ", path_, path_.empty() ? "" : " ", sentence);
}

void ValueReader::refuse_type(const std::string& expected) const {
  const bool searchable = path_.starts_with("model.") || path_.starts_with("train.");
  const char* hint = "";
  if (node_.kind == YamlNode::Kind::map && searchable)
    hint =
        "; what is searched is written {grid: […]}, {choice: […]}, {uniform: [low, high]}, {loguniform: [low, high]} "
        "or "
        "{int: [low, high]}";
  else if (node_.kind == YamlNode::Kind::map && is_search(node_))
    hint = "; only values of model and train can be searched";
  refuse("must be " + expected + ", found " + describe(node_) + hint);
}

const std::string& ValueReader::scalar(const char* expected) const {
  if (node_.kind != YamlNode::Kind::scalar) refuse_type(expected);
  return node_.text;
}

std::string ValueReader::text() const {
  const std::string& text = scalar("text");
  if (parse_number<double>(node_) || is_bare(node_, "true") || is_bare(node_, "false"))
    refuse("must be text, found " + printable(text) + "; put it in quotes if it is a name");
  if (text.empty()) refuse("must not be empty");
  return text;
}

bool ValueReader::boolean() const {
  if (is_bare(node_, "true")) return true;
  if (is_bare(node_, "false")) return false;
  refuse_type("true or false");
}

std::int64_t ValueReader::whole(std::int64_t low, std::int64_t high) const {
  const auto value = parse_number<std::int64_t>(node_);
  if (!value || *value < low || *value > high) refuse_type(text::cat("a whole number from ", low, " to ", high));
  return *value;
}

double ValueReader::number(bool (*fits)(double), const char* words) const {
  const auto value = parse_number<double>(node_);
  if (!value || !std::isfinite(*value) || !fits(*value)) refuse_type(words);
  return *value;
}

Bytes ValueReader::bytes() const {
  const std::string& text = scalar("a size such as 256MiB");
  const auto bytes = text::parse_bytes(text);
  if (!bytes && parse_number<double>(node_)) refuse("= " + text + ": write a unit, for example 256MiB");
  if (!bytes || *bytes == 0) refuse_type("a size above 0 such as 256MiB (B, KB, MB, GB, TB, KiB, MiB, GiB, TiB)");
  return *bytes;
}

double ValueReader::rate() const {
  const std::string& text = scalar("a rate such as 4GiB/s");
  const auto rate = text::parse_rate(text);
  if (!rate && (parse_number<double>(node_) || text::parse_bytes(text)))
    refuse("= " + text + ": write a unit, for example 4GiB/s");
  if (!rate || *rate <= 0) refuse_type("a rate above 0 such as 4GiB/s");
  return *rate;
}

double ValueReader::duration() const {
  const std::string& text = scalar("a time such as 10ms");
  const auto seconds = text::parse_duration(text);
  if (!seconds && parse_number<double>(node_)) refuse("= " + text + ": write a unit, for example 10ms");
  if (!seconds) refuse_type("a time such as 10ms (ms, s, min, h)");
  return *seconds;
}

std::size_t ValueReader::word_index(const std::vector<std::string>& words) const {
  const std::string expected = words.size() == 1 ? words[0] : "one of " + text::join(words, ", ");
  const std::string& word = scalar(expected.c_str());
  const auto found = std::find(words.begin(), words.end(), word);
  if (found == words.end()) refuse_type(expected);
  return static_cast<std::size_t>(found - words.begin());
}

std::vector<ValueReader> ValueReader::list() const {
  if (node_.kind != YamlNode::Kind::list) refuse_type("a list");
  std::vector<ValueReader> values;
  for (std::size_t i = 0; i < node_.items.size(); ++i)
    values.emplace_back(file_, node_.items[i], text::cat(path_, "[", i, "]"));
  return values;
}

MapReader ValueReader::map() const {
  if (node_.kind != YamlNode::Kind::map) refuse_type("a map of keys and values");
  return {file_, node_, path_};
}

bool ValueReader::is_word(std::string_view word) const { return is_bare(node_, word); }

MapReader::MapReader(const std::string& file, const YamlNode& node, std::string path)
    : file_(file), node_(node), path_(std::move(path)) {}

std::optional<ValueReader> MapReader::find(const std::string& key) {
  known_.push_back(key);
  const YamlNode* node = node_.find(key);
  if (node == nullptr) return std::nullopt;
  return ValueReader(file_, *node, path_of(key));
}

ValueReader MapReader::at(const std::string& key) {
  if (auto value = find(key)) return *value;
  fail(ExitCode::usage, place(file_, node_.mark), ": ", path_of(key), " is missing");
}

MapReader MapReader::section(const std::string& key) {
  static const YamlNode empty{.kind = YamlNode::Kind::map};
  const auto value = find(key);
  return value ? value->map() : MapReader(file_, empty, path_of(key));
}

void MapReader::forbid(const std::string& key, const std::string& reason) {
  if (const YamlNode* node = node_.find(key)) ValueReader(file_, *node, path_of(key)).refuse(reason);
}

void MapReader::finish() const {
  for (const auto& [key, value, mark] : node_.members) {
    if (std::find(known_.begin(), known_.end(), key) != known_.end()) continue;
    const std::string nearest = text::nearest(key, known_);
    fail(ExitCode::usage, place(file_, mark), ": unknown key ", printable(key), path_.empty() ? "" : " in " + path_,
         nearest.empty() ? "; known are " + text::join(known_, ", ") : "; did you mean '" + nearest + "'?");
  }
}

}  // namespace hopyard
