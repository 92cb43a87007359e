#include <cstdio>
#include <string_view>

#include "formats/yaml.h"

namespace hopyard {

namespace {

constexpr std::size_t kFlowWidthMax = 100;
constexpr const char* kPlainCharacters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_./+-%";

/// Text that means the same without quotes, in block and in flow form. Stricter than YAML needs.
bool is_plain(std::string_view text) {
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return false;
  if (text.find_first_not_of(kPlainCharacters) != text.npos) return false;
  const bool indicator = text[0] == '%' || (text[0] == '-' && (text.size() == 1 || text[1] == '-'));
  return !indicator && text != "...";
}

std::string quote(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte == 0x7f) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  return out + '"';
}

std::string scalar(const YamlNode& node) {
  if (node.kind == YamlNode::Kind::null) return "null";
  return node.quoted || !is_plain(node.text) ? quote(node.text) : node.text;
}

std::string key_text(const std::string& key) { return is_plain(key) ? key : quote(key); }

std::string flow(const YamlNode& node) {
  std::string out;
  switch (node.kind) {
    case YamlNode::Kind::null:
    case YamlNode::Kind::scalar:
      return scalar(node);
    case YamlNode::Kind::list:
      for (const auto& item : node.items) out += (out.empty() ? "[" : ", ") + flow(item);
      return out.empty() ? "[]" : out + "]";
    case YamlNode::Kind::map:
      for (const auto& [key, value, mark] : node.members)
        out += (out.empty() ? "{" : ", ") + key_text(key) + ": " + flow(value);
      return out.empty() ? "{}" : out + "}";
  }
  return out;
}

bool fits_one_line(const YamlNode& node, std::size_t indent) {
  const bool leaf = node.items.empty() && node.members.empty();
  return leaf || indent + flow(node).size() <= kFlowWidthMax;
}

void write_block(const YamlNode& node, std::size_t indent, std::string& out);

/// After "key:" or "-": on the same line when short, else as a block below.
void write_value(const YamlNode& node, std::size_t indent, std::string& out) {
  if (fits_one_line(node, indent)) {
    out += " " + flow(node) + "\n";
  } else {
    out += "\n";
    write_block(node, indent + 2, out);
  }
}

void write_block(const YamlNode& node, std::size_t indent, std::string& out) {
  const std::string margin(indent, ' ');
  for (const auto& item : node.items) {
    out += margin + "-";
    write_value(item, indent, out);
  }
  for (const auto& [key, value, mark] : node.members) {
    out += margin + key_text(key) + ":";
    write_value(value, indent, out);
  }
}

}  // namespace

std::string to_yaml(const YamlNode& root) {
  if (root.items.empty() && root.members.empty()) return flow(root) + "\n";
  std::string out;
  write_block(root, 0, out);
  return out;
}

}  // namespace hopyard
