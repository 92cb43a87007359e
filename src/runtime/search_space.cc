#include "runtime/search_space.h"

#include <charconv>
#include <optional>
#include <set>

#include "base/failure.h"
#include "runtime/yaml_reader.h"

namespace hopyard {

namespace {

using Kind = Dimension::Kind;
constexpr std::int64_t kWholeMax = std::int64_t{1} << 53;  // what a double counts exactly

std::optional<Kind> kind_of(const std::string& key) {
  for (const auto& [word, kind] : {std::pair{"grid", Kind::grid},
                                   {"choice", Kind::choice},
                                   {"uniform", Kind::uniform},
                                   {"loguniform", Kind::loguniform},
                                   {"int", Kind::integer}})
    if (key == word) return kind;
  return std::nullopt;
}

void read_values(const ValueReader& values, SearchedValue& searched) {
  std::set<std::string> seen;
  for (const auto& value : values.list()) {
    if (value.node().kind != YamlNode::Kind::scalar) value.refuse("must be a single value");
    searched.dimension.values.push_back(to_setting(value.node()));
    searched.probes.push_back(value.node());
    const std::string written = to_string(searched.dimension.values.back());
    if (!seen.insert(written).second) value.refuse("= " + written + " stands in this list twice");
  }
  if (searched.probes.empty()) values.refuse("needs at least one value");
}

double read_end(const ValueReader& value, Kind kind) {
  if (kind == Kind::integer) return static_cast<double>(value.whole(-kWholeMax, kWholeMax));
  if (kind == Kind::loguniform) return value.number([](double x) { return x > 0; }, "a number above 0");
  return value.number([](double) { return true; }, "a number");
}

void read_range(const ValueReader& range, SearchedValue& searched) {
  Dimension& dimension = searched.dimension;
  const auto ends = range.list();
  if (ends.size() != 2) range.refuse("must be a list of two numbers: [low, high]");
  dimension.low = read_end(ends[0], dimension.kind);
  dimension.high = read_end(ends[1], dimension.kind);
  if (dimension.low >= dimension.high) range.refuse("must have its low end first: [low, high]");
  searched.probes = {ends[0].node(), ends[1].node()};
  if (dimension.kind == Kind::integer) return;
  constexpr double kGoldenShare = 0.38196601125010515;  // irrational, so that whole ends do not give a whole number
  searched.probes.push_back(to_node(dimension.low + (dimension.high - dimension.low) * kGoldenShare));
  searched.probes.back().mark = range.node().mark;
}

void find_below(const std::string& file, const YamlNode& node, const std::string& path,
                std::vector<SearchedValue>& found) {
  const auto kind = node.members.size() == 1 ? kind_of(node.members[0].key) : std::nullopt;
  if (!kind) {
    for (const auto& [key, value, mark] : node.members) {
      if (key.empty() || key.find('.') != key.npos)
        ValueReader(file, value, path + "." + key).refuse("is no known key");
      find_below(file, value, path + "." + key, found);
    }
    return;
  }
  SearchedValue searched{.dimension = {.path = path, .kind = *kind}};
  const auto& [key, value, mark] = node.members[0];
  const ValueReader reader(file, value, path + "." + key);
  if (*kind == Kind::grid || *kind == Kind::choice)
    read_values(reader, searched);
  else
    read_range(reader, searched);
  found.push_back(std::move(searched));
}

template <class T>
std::optional<T> whole_text_as(std::string_view text) {
  T value{};
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

}  // namespace

std::vector<SearchedValue> find_searched_values(const std::string& file, const YamlNode& root) {
  std::vector<SearchedValue> found;
  for (const auto& [key, value, mark] : root.members)
    if (key == "model" || key == "train") find_below(file, value, key, found);
  return found;
}

void put_value(YamlNode& root, const std::string& path, YamlNode value) {
  YamlNode* node = &root;
  for (const auto& key : text::split(path, '.')) {
    node = node->find(key);
    require(node != nullptr, "put_value: the config has no ", path);
  }
  *node = std::move(value);
}

YamlNode to_node(const SettingValue& value) {
  YamlNode node{.kind = YamlNode::Kind::scalar};
  node.text = to_string(value);
  node.quoted = std::holds_alternative<std::string>(value);
  return node;
}

SettingValue to_setting(const YamlNode& scalar) {
  std::string_view text = scalar.text;
  if (scalar.quoted) return scalar.text;
  if (text == "true" || text == "false") return text == "true";
  if (text.size() > 1 && text[0] == '+' && text[1] != '-') text.remove_prefix(1);
  if (const auto whole = whole_text_as<std::int64_t>(text)) return *whole;
  if (const auto real = whole_text_as<double>(text)) return *real;
  return scalar.text;
}

}  // namespace hopyard
