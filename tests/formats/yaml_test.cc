#include "formats/yaml.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using testing::HasSubstr;
using testing::StartsWith;

/// A tree as one line, with marks when asked.
std::string show(const YamlNode& node) {
  std::string out;
  switch (node.kind) {
    case YamlNode::Kind::null:
      return "~";
    case YamlNode::Kind::scalar:
      return node.quoted ? "'" + node.text + "'" : node.text;
    case YamlNode::Kind::list:
      for (const auto& item : node.items) out += (out.empty() ? "" : ",") + show(item);
      return "[" + out + "]";
    case YamlNode::Kind::map:
      for (const auto& [key, value, mark] : node.members) out += (out.empty() ? "" : ",") + key + ":" + show(value);
      return "{" + out + "}";
  }
  return out;
}

TEST(Yaml, ReadsBlocksAndFlow) {
  const YamlNode root =
      parse_yaml("a: 1\nb: {c: [x, 'y', \"z\"], d: ~}\ne:\n  - 2 # two\n  - f: 3e-5\n    g:\n", "c.yaml");
  EXPECT_EQ(show(root), "{a:1,b:{c:[x,'y','z'],d:~},e:[2,{f:3e-5,g:~}]}");
}

TEST(Yaml, RemembersMarks) {
  const YamlNode root = parse_yaml("a: 1\nbcd:\n  e: [5,\n    6]\n", "c.yaml");
  EXPECT_EQ(root.members[1].mark.line, 2);
  EXPECT_EQ(root.members[1].mark.column, 1);
  const YamlNode& list = *root.find("bcd")->find("e");
  EXPECT_EQ(list.mark.line, 3);
  EXPECT_EQ(list.items[1].mark.line, 4);
  EXPECT_EQ(list.items[1].mark.column, 5);
  const YamlNode nothing = parse_yaml("a:\n\n\nb: 1\n", "c.yaml");
  EXPECT_EQ(nothing.find("a")->mark.line, 1);
}

struct Bad {
  std::string text, message;
};

TEST(Yaml, RefusesWithLineAndColumn) {
  const std::vector<Bad> table{
      {"", "c.yaml: is empty"},
      {"# only this\n", "c.yaml: is empty"},
      {"a: 1\nb: 2\na: 3\n", "c.yaml:3:1: key 'a' stands here and in line 1"},
      {"x: {a: 1, b: 2, a: 3}", "c.yaml:1:17: key 'a' stands here and in line 1"},
      {"x: {a: {p: 1}, 'a': 3}", "c.yaml:1:16: key 'a' stands here and in line 1"},
      {"a: &x 1\n", "c.yaml:1:4: anchors (&name) are not allowed"},
      {"a: &x {b: 1}\n", "c.yaml:1:4: anchors (&name) are not allowed"},
      {"a: &x\n", "anchors (&name) are not allowed"},
      {"a: !!int 1\n", "c.yaml:1:4: tags (!name) are not allowed"},
      {"a: ! 1\n", "c.yaml:1:4: tags (!name) are not allowed"},
      {"a: !x [1]\n", "c.yaml:1:4: tags (!name) are not allowed"},
      {"a: !x {b: 1}\n", "c.yaml:1:4: tags (!name) are not allowed"},
      {"a: !!str\n", "tags (!name) are not allowed"},
      {"a: 1\n---\nb: 2\n", "c.yaml: holds more than one document"},
      {"a: 1\n...\n---\n...\n", "c.yaml: holds more than one document"},
      {"[1, 2\n", "a key must be a word, not a list or a map (is a bracket left open?)"},
      {"a: [1, 2\n", "c.yaml:1:1: is not YAML: end of sequence flow not found"},
      {"a: 1\n b: 2\n", "c.yaml:2:3: is not YAML: illegal map value"},
      {"a: *x\n", "is not YAML: the referenced anchor is not defined"},
      {"a: \"x\n", "is not YAML: illegal EOF in scalar"},
      {"[a]: 1\n", "a key must be a word"},
      {"{[a]: 1}\n", "a key must be a word"},
      {"? {a: 1}\n: 2\n", "a key must be a word"},
      {"~: 1\n", "c.yaml:1:1: a key is empty"},
      {"a:\n\t- 1\n", "is not YAML"},
      {std::string("a: 1\0", 5), "c.yaml: has a NUL byte"},
      {std::string(2'000'000, 'a'), "c.yaml: has 2000000 bytes, more than the 1048576 allowed"},
      {"a: 'x\nb: 1\n", "is not YAML: illegal EOF in scalar"},
      {"a: " + std::string(100, '[') + std::string(100, ']'),
       "c.yaml:1:67: is nested deeper than the 64 levels allowed"},
      {"a: " + std::string(20'000, '[') + std::string(20'000, ']'), "is nested deeper than the 64 levels"},
  };
  for (const auto& bad : table) {
    const std::string shown = bad.text.substr(0, 60);
    const std::string message = failure_of(ExitCode::usage, [&] { parse_yaml(bad.text, "c.yaml"); });
    EXPECT_THAT(message, StartsWith("c.yaml:")) << shown;
    EXPECT_THAT(message, HasSubstr(bad.message)) << shown;
  }
}

TEST(Yaml, SetsPaths) {
  YamlNode root = parse_yaml("train: {optimizer: {lr: {grid: [1, 2]}}, none: }\nlist: [1]\n", "c.yaml");
  set_path(root, "train.optimizer.lr", "1e-5");
  set_path(root, "train.none.deep", "{grid: [a, 'b']}");
  set_path(root, "new.key", "x");
  set_path(root, "list", "[3, 4]");
  EXPECT_EQ(show(root), "{train:{optimizer:{lr:1e-5},none:{deep:{grid:[a,'b']}}},list:[3,4],new:{key:x}}");
  EXPECT_EQ(root.find("train")->find("optimizer")->find("lr")->mark.line, 0);
  set_path(root, "list", "");
  EXPECT_EQ(root.find("list")->kind, YamlNode::Kind::null);
}

TEST(Yaml, RefusesBadPaths) {
  YamlNode root = parse_yaml("a: 1\nb: [1]\n", "c.yaml");
  const auto message = [&](const std::string& path, const std::string& value) {
    return failure_of(ExitCode::usage, [&] { set_path(root, path, value); });
  };
  EXPECT_EQ(message("a.x", "1"), "--set a.x: 'a' is a value, so nothing can be set inside it");
  EXPECT_EQ(message("b.0", "1"), "--set b.0: 'b' is a list; set it as a whole");
  EXPECT_THAT(message("a..b", "1"), HasSubstr("is not a path of keys"));
  EXPECT_THAT(message("", "1"), HasSubstr("is not a path of keys"));
  EXPECT_EQ(message("b", "[1"), "--set b:1:1: a key must be a word, not a list or a map (is a bracket left open?)");
}

TEST(Yaml, WritesWhatItReads) {
  const std::string text =
      "name: plain\nlong: [aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa, "
      "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb, "
      "{c: cccccccccccccccccccccccccccccccc}, [1, 2], {x: {y: "
      "ddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddddd"
      "dddddddddddddddddddddddddddddddddddddddddddddddd, z: 1}}]\n"
      "empty: {}\nnone: ~\nempties: [[], {}, ~, '']\n'quoted key: 1': \"a\\n\\\"b\\\" \\\\ é #x\"\nnumber: "
      "-3.5e-05\n'null': 'null'\n";
  const YamlNode root = parse_yaml(text, "c.yaml");
  const std::string written = to_yaml(root);
  EXPECT_EQ(show(parse_yaml(written, "written")), show(root)) << written;
  EXPECT_EQ(to_yaml(parse_yaml(written, "written")), written);
  EXPECT_EQ(to_yaml(parse_yaml("{a: {b: 1, c: [x, y]}, d: 3}", "c")), "a: {b: 1, c: [x, y]}\nd: 3\n");
  EXPECT_EQ(to_yaml(parse_yaml("7", "c")), "7\n");
}

TEST(Yaml, QuotesTextThatWouldReadOtherwise) {
  for (const std::string text : {"",       "~",           "null",  "- x", "a: b", "#c",  "[d", "{e",   "x, y", "*f",
                                 "&g",     "!h",          "%i",    "@j",  "---",  "...", "-",  "?",    ": ",   " lead",
                                 "trail ", "line\nbreak", "tab\t", "'",   "\"",   "\\",  "é",  "\x7f", "a#b"}) {
    YamlNode root = parse_yaml("{k: v, l: [v]}", "c");
    root.find("k")->text = text;
    root.find("l")->items[0].text = text;
    const YamlNode read = parse_yaml(to_yaml(root), "written");
    EXPECT_EQ(read.find("k")->kind, YamlNode::Kind::scalar) << to_yaml(root);
    EXPECT_EQ(read.find("k")->text, text);
    EXPECT_EQ(read.find("l")->items[0].text, text);
  }
}

TEST(Yaml, FlippedBytesReadOrFail) {
  const std::string good = "a: 1\nb: {c: [x, 'y', \"z\"], d: ~}\ne:\n  - 2 # two\n  - f: 3e-5\n    g: |\n      text\n";
  KeyedStream random(3);
  int refused = 0;
  for (int round = 0; round < 5000; ++round) {
    std::string text = good;
    const std::string alphabet = "{}[]:,-?&*!|>'\"%@#\n\t ab\\\xff";
    for (std::uint64_t flips = random.below(4) + 1; flips > 0; --flips)
      text[random.below(text.size())] = alphabet[random.below(alphabet.size())];
    try {
      const YamlNode tree = parse_yaml(text, "c.yaml");
      EXPECT_EQ(show(parse_yaml(to_yaml(tree), "written")).empty(), false);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::usage);
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace hopyard
