#include "runtime/search_space.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <set>

#include "base/failure.h"
#include "base/operation.h"
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
    searched.probes.push_back({{searched.dimension.path, value.node()}});
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

double read_step(const ValueReader& value, const Dimension& range) {
  const double step = range.kind == Kind::integer ? static_cast<double>(value.whole(1, kWholeMax))
                                                  : value.number([](double x) { return x > 0; }, "a number above 0");
  if (step > range.high - range.low) value.refuse("must fit between the ends");
  return step;
}

void read_range(const ValueReader& range, const YamlNode* step, const std::string& file, SearchedValue& searched) {
  Dimension& dimension = searched.dimension;
  const auto ends = range.list();
  if (ends.size() != 2) range.refuse("must be a list of two numbers: [low, high]");
  dimension.low = read_end(ends[0], dimension.kind);
  dimension.high = read_end(ends[1], dimension.kind);
  if (dimension.low >= dimension.high) range.refuse("must have its low end first: [low, high]");
  if (step != nullptr) dimension.step = read_step(ValueReader(file, *step, dimension.path + ".step"), dimension);
  for (const auto& end : ends) searched.probes.push_back({{dimension.path, end.node()}});
  if (dimension.kind == Kind::integer) return;
  constexpr double kGoldenShare = 0.38196601125010515;  // irrational, so that whole ends do not give a whole number
  const double between = dimension.step > 0 ? dimension.step : (dimension.high - dimension.low) * kGoldenShare;
  YamlNode node = to_node(dimension.low + between);
  node.mark = range.node().mark;
  searched.probes.push_back({{dimension.path, std::move(node)}});
}

/// `when: {train.optimizer.type: sgd}`, or a list of values.
Condition read_condition(const ValueReader& when) {
  if (when.node().kind != YamlNode::Kind::map || when.node().members.size() != 1)
    when.refuse("must be a map of one searched path and its value or values: {train.optimizer.type: sgd}");
  const auto& [path, value, mark] = when.node().members[0];
  Condition condition{path, {}};
  if (value.kind == YamlNode::Kind::scalar) condition.values.push_back(to_setting(value));
  for (const auto& item : value.items) {
    if (item.kind != YamlNode::Kind::scalar) when.refuse("must name single values");
    condition.values.push_back(to_setting(item));
  }
  if (condition.values.empty()) when.refuse("needs at least one value");
  return condition;
}

/// The one member that says how the value is searched; nothing when the map is none of ours.
const YamlMember* search_member(const YamlNode& node) {
  const YamlMember* found = nullptr;
  for (const auto& member : node.members) {
    if (member.key == "step" || member.key == "when") continue;
    if (found != nullptr || !kind_of(member.key)) return nullptr;
    found = &member;
  }
  return found;
}

void find_below(const std::string& file, const YamlNode& node, const std::string& path,
                std::vector<SearchedValue>& found) {
  const YamlMember* member = search_member(node);
  if (member == nullptr) {
    for (const auto& [key, value, mark] : node.members) {
      if (key.empty() || key.find('.') != key.npos)
        ValueReader(file, value, path + "." + key).refuse("is no known key");
      find_below(file, value, path + "." + key, found);
    }
    return;
  }
  SearchedValue searched{.dimension = {.path = path, .kind = *kind_of(member->key)}};
  searched.dimension.changes_in_flight = changes_in_flight(path);
  const ValueReader reader(file, member->value, path + "." + member->key);
  const YamlNode *step = node.find("step"), *when = node.find("when");
  const bool listed = searched.dimension.kind == Kind::grid || searched.dimension.kind == Kind::choice;
  if (listed && step != nullptr) ValueReader(file, *step, path + ".step").refuse("belongs to a range");
  if (listed)
    read_values(reader, searched);
  else
    read_range(reader, step, file, searched);
  if (when != nullptr) searched.dimension.when = read_condition(ValueReader(file, *when, path + ".when"));
  found.push_back(std::move(searched));
}

/// The scalars of a partial config.
void flatten(const std::string& file, const YamlNode& node, const std::string& path, Probe& flat) {
  if (node.kind == YamlNode::Kind::scalar) return flat.emplace_back(path, node), void();
  if (node.kind != YamlNode::Kind::map)
    ValueReader(file, node, path).refuse("must be a single value, which joint settings put in its place");
  for (const auto& [key, value, mark] : node.members) flatten(file, value, path.empty() ? key : path + "." + key, flat);
}

void find_joint(const std::string& file, const YamlNode& joint, std::vector<SearchedValue>& found) {
  SearchedValue searched{.dimension = {.path = "search.joint", .kind = Kind::joint}};
  for (const auto& entry : ValueReader(file, joint, searched.dimension.path).list()) {
    Probe flat;
    if (entry.node().kind == YamlNode::Kind::map) flatten(file, entry.node(), "", flat);
    if (flat.empty()) entry.refuse("must be a part of a config, for example {model: {freeze: 2}}");
    auto& settings = searched.dimension.joint.emplace_back();
    for (const auto& [path, node] : flat) {
      if (!path.starts_with("model.") && !path.starts_with("train."))
        ValueReader(file, node, path).refuse("cannot be a joint setting; only values of model and train can");
      settings.push_back({path, to_setting(node)});
      searched.dimension.changes_in_flight &= changes_in_flight(path);
    }
    searched.probes.push_back(std::move(flat));
  }
  if (searched.probes.empty()) ValueReader(file, joint, searched.dimension.path).refuse("needs at least one entry");
  found.push_back(std::move(searched));
}

bool fulfils(const Chosen& chosen, const Condition& condition) {
  const auto found = chosen.find(condition.path);
  return found != chosen.end() && std::find(condition.values.begin(), condition.values.end(),
                                            to_setting(found->second)) != condition.values.end();
}

using Forced = std::map<std::size_t, Probe>;

/// Gives the dimension this probe, and those that it exists under a value with which it does.
void force(const std::vector<SearchedValue>& space, std::size_t d, const Probe& probe, Forced& forced) {
  if (!forced.emplace(d, probe).second || !space[d].dimension.when) return;
  const Condition& condition = *space[d].dimension.when;
  for (std::size_t other = 0; other < space.size(); ++other) {
    for (const Probe& value : space[other].probes)
      if (fulfils(Chosen(value.begin(), value.end()), condition)) return force(space, other, value, forced);
    // Of a range, another value than those that are tried.
    if (space[other].dimension.path == condition.path)
      return force(space, other, {{condition.path, to_node(condition.values[0])}}, forced);
  }
}

/// Puts a value at a dotted path, making maps on the way.
void put_value(YamlNode& root, const std::string& path, const YamlNode& value) {
  YamlNode* node = &root;
  for (const auto& key : text::split(path, '.')) {
    if (node->kind == YamlNode::Kind::null) node->kind = YamlNode::Kind::map;
    if (node->kind != YamlNode::Kind::map)
      fail(ExitCode::usage, "'", path, "' cannot be set: '", key, "' stands below a single value");
    YamlNode* below = node->find(key);
    if (below == nullptr) {
      node->members.push_back({key, {.kind = YamlNode::Kind::null}, {}});
      below = &node->members.back().value;
    }
    node = below;
  }
  *node = value;
}

void remove_value(YamlNode& root, const std::string& path) {
  const auto dot = path.rfind('.');
  YamlNode* node = &root;
  for (const auto& key : text::split(path.substr(0, dot), '.')) {
    node = node->find(key);
    if (node == nullptr) return;
  }
  std::erase_if(node->members, [&](const YamlMember& member) { return member.key == path.substr(dot + 1); });
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
  const YamlNode* search = root.find("search");
  const YamlNode* joint = search == nullptr ? nullptr : search->find("joint");
  if (joint != nullptr) find_joint(file, *joint, found);
  return found;
}

Chosen probed(const std::vector<SearchedValue>& space, std::optional<std::size_t> dimension, std::size_t probe) {
  Forced forced;
  if (dimension) force(space, *dimension, space[*dimension].probes[probe], forced);
  Chosen chosen;
  std::vector<bool> placed(space.size());
  for (bool more = true; more;) {
    more = false;
    for (std::size_t d = 0; d < space.size(); ++d) {
      const auto& when = space[d].dimension.when;
      if (placed[d] || (when && !fulfils(chosen, *when))) continue;
      more = placed[d] = true;
      const auto found = forced.find(d);
      for (const auto& [path, node] : found == forced.end() ? space[d].probes[0] : found->second) chosen[path] = node;
    }
  }
  return chosen;
}

YamlNode trial_tree(YamlNode tree, const std::vector<Dimension>& space, const Chosen& chosen) {
  for (const Dimension& dimension : space)
    if (dimension.kind != Dimension::Kind::joint && !chosen.contains(dimension.path))
      remove_value(tree, dimension.path);
  for (const auto& [path, node] : chosen) put_value(tree, path, node);
  return tree;
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
