#include "formats/yaml.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <sstream>

#include "base/bytes.h"
#include "base/failure.h"
#include "formats/printable.h"

namespace hopyard {

namespace {

constexpr std::size_t kTextBytesMax = MiB;
constexpr std::size_t kDepthMax = 64;

/// Builds the tree from yaml-cpp's events; unlike its Node, events show every duplicate.
class TreeBuilder : public YAML::EventHandler {
 public:
  TreeBuilder(const std::string& text, const std::string& name) : text_(text), name_(name) {}

  YamlNode take() { return std::move(root_); }
  [[noreturn]] void refuse(const YAML::Mark& mark, const std::string& sentence) const {
    fail(ExitCode::usage, name_, ":", mark.line + 1, ":", mark.column + 1, ": ", sentence);
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnAnchor(const YAML::Mark& mark, const std::string&) override {
    refuse(mark, "anchors (&name) are not allowed");
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse(mark, "aliases (*name) are not allowed"); }
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    check(mark, "", anchor);
    if (expects_key()) refuse(mark, "a key is empty");
    YamlNode* node = place(make(YamlNode::Kind::null, mark));
    // yaml-cpp marks what is not there with what comes next, perhaps lines below.
    if (!open_.empty() && open_.back().node->kind == YamlNode::Kind::map)
      node->mark = open_.back().node->members.back().mark;
  }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    check(mark, tag, anchor);
    if (expects_key()) return begin_member(mark, value);
    YamlNode node = make(YamlNode::Kind::scalar, mark);
    node.text = value;
    node.quoted = tag == "!";
    place(std::move(node));
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::list);
  }
  void OnSequenceEnd() override { open_.pop_back(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::map);
  }
  void OnMapEnd() override { open_.pop_back(); }

 private:
  struct Open {
    YamlNode* node;
    bool has_key = false;  // of a map: the next node is the value of its last member
  };

  static YamlNode make(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode node;
    node.kind = kind;
    node.mark = {mark.line + 1, mark.column + 1};
    return node;
  }

  /// yaml-cpp gives "?" for no tag and "!" for quoted text; a '!' in the file itself is a tag.
  void check(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor) const {
    if (anchor != 0) refuse(mark, "anchors (&name) are not allowed");
    const auto at = static_cast<std::size_t>(mark.pos);
    if ((!tag.empty() && tag != "?" && tag != "!") || (at < text_.size() && text_[at] == '!'))
      refuse(mark, "tags (!name) are not allowed");
  }

  bool expects_key() const {
    return !open_.empty() && open_.back().node->kind == YamlNode::Kind::map && !open_.back().has_key;
  }

  void begin_member(const YAML::Mark& mark, const std::string& key) {
    YamlNode& map = *open_.back().node;
    for (const auto& member : map.members)
      if (member.key == key)
        refuse(mark, text::cat("key ", printable(key), " stands here and in line ", member.mark.line));
    map.members.push_back({key, {}, {mark.line + 1, mark.column + 1}});
    open_.back().has_key = true;
  }

  /// Open containers are the last child of their parent, so the pointers on the stack stay valid.
  YamlNode* place(YamlNode node) {
    if (open_.empty()) return &(root_ = std::move(node));
    YamlNode& parent = *open_.back().node;
    if (parent.kind == YamlNode::Kind::list) return &parent.items.emplace_back(std::move(node));
    open_.back().has_key = false;
    return &(parent.members.back().value = std::move(node));
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YamlNode::Kind kind) {
    check(mark, tag, anchor);
    if (expects_key()) refuse(mark, "a key must be a word, not a list or a map (is a bracket left open?)");
    if (open_.size() >= kDepthMax) refuse(mark, text::cat("is nested deeper than the ", kDepthMax, " levels allowed"));
    open_.push_back({place(make(kind, mark))});
  }

  const std::string& text_;
  const std::string& name_;
  YamlNode root_;
  std::vector<Open> open_;
};

void forget_marks(YamlNode& node) {
  node.mark = {};
  for (auto& item : node.items) forget_marks(item);
  for (auto& member : node.members) {
    member.mark = {};
    forget_marks(member.value);
  }
}

YamlNode& member_at(YamlNode& map, const std::string& key) {
  if (YamlNode* found = map.find(key)) return *found;
  map.members.push_back({key, {}, {}});
  return map.members.back().value;
}

}  // namespace

const YamlNode* YamlNode::find(const std::string& key) const {
  for (const auto& member : members)
    if (member.key == key) return &member.value;
  return nullptr;
}

YamlNode* YamlNode::find(const std::string& key) {
  return const_cast<YamlNode*>(static_cast<const YamlNode&>(*this).find(key));
}

YamlNode parse_yaml(const std::string& text, const std::string& name) {
  if (text.size() > kTextBytesMax)
    fail(ExitCode::usage, name, ": has ", text.size(), " bytes, more than the ", kTextBytesMax, " allowed");
  if (text.find('\0') != std::string::npos) fail(ExitCode::usage, name, ": has a NUL byte; write it as UTF-8 text");
  TreeBuilder builder(text, name);
  // yaml-cpp takes a quote that is never closed for closed when a line end follows it, so the last line ends are cut.
  std::istringstream stream(text.substr(0, text.find_last_not_of(" \t\r\n") + 1));
  try {
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) fail(ExitCode::usage, name, ": is empty");
    TreeBuilder second(text, name);
    if (parser.HandleNextDocument(second)) fail(ExitCode::usage, name, ": holds more than one document");
  } catch (const YAML::Exception& error) {
    builder.refuse(error.mark, "is not YAML: " + error.msg);
  }
  return builder.take();
}

void set_path(YamlNode& root, const std::string& path, const std::string& value) {
  const std::string name = "--set " + path;
  YamlNode* node = &root;
  std::string walked;
  for (const auto& key : text::split(path, '.')) {
    if (key.empty()) fail(ExitCode::usage, name, ": is not a path of keys such as train.optimizer.lr");
    if (node->kind == YamlNode::Kind::scalar || node->kind == YamlNode::Kind::list)
      fail(ExitCode::usage, name, ": ", printable(walked), " is a ",
           node->kind == YamlNode::Kind::list ? "list; set it as a whole" : "value, so nothing can be set inside it");
    node->kind = YamlNode::Kind::map;
    node = &member_at(*node, key);
    walked += (walked.empty() ? "" : ".") + key;
  }
  *node = value.find_first_not_of(" \t\n\r") == std::string::npos ? YamlNode{} : parse_yaml(value, name);
  forget_marks(*node);
}

}  // namespace hopyard
