// YAML configs as a tree that remembers where each value stood. Strict: duplicate keys, anchors, aliases, tags and
// several documents are errors with line and column.
#pragma once

#include <string>
#include <vector>

namespace hopyard {

/// Where in the file, from 1; zero when the value did not come from a file (--set).
struct Mark {
  int line = 0;
  int column = 0;
};

struct YamlMember;

/// One node: a scalar (text as written; `quoted` when it stood in quotes), a list or a map in file order.
struct YamlNode {
  enum class Kind { null, scalar, list, map };
  Kind kind = Kind::null;
  Mark mark;
  std::string text;
  bool quoted = false;
  std::vector<YamlNode> items;      ///< of a list
  std::vector<YamlMember> members;  ///< of a map

  const YamlNode* find(const std::string& key) const;
  YamlNode* find(const std::string& key);
};

struct YamlMember {
  std::string key;
  YamlNode value;
  Mark mark;  ///< where the key stood
};

/// Parses one document of at most 1 MiB and 64 levels. Failure(usage) "<name>:LINE:COLUMN: …".
YamlNode parse_yaml(const std::string& text, const std::string& name);

/// Sets the value at a dotted path ("train.optimizer.lr" = "1e-5"), creating maps on the way. `value` is parsed as
/// YAML, so it may be a list or a map. Failure(usage) when the path runs into a scalar or a list.
void set_path(YamlNode& root, const std::string& path, const std::string& value);

/// The tree as YAML text that parse_yaml reads back to the same tree (marks aside, and quotes where text needs them).
std::string to_yaml(const YamlNode& root);

}  // namespace hopyard
