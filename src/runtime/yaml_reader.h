// Strict, typed reading of a YAML tree: every mistake names the place, the key and what would be right.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "formats/yaml.h"

namespace hopyard {

class MapReader;

/// One value of the tree and where it stands. Refers to the tree and to the file's name, which must outlive it. All
/// readers throw Failure(usage): "<file>:LINE:COLUMN: <path> must be …, found …".
class ValueReader {
 public:
  ValueReader(const std::string& file, const YamlNode& node, std::string path)
      : file_(file), node_(node), path_(std::move(path)) {}

  std::string text() const;  ///< not a bare number or truth value: those need quotes
  bool boolean() const;
  /// A whole number from `low` to `high`.
  std::int64_t whole(std::int64_t low, std::int64_t high) const;
  /// A finite number that `fits`; `words` says which do: "a number above 0".
  double number(bool (*fits)(double), const char* words) const;
  Bytes bytes() const;      ///< "256MiB", above 0
  double rate() const;      ///< "4GiB/s", above 0
  double duration() const;  ///< "10ms", 0 or more
  /// The value that goes with the word; the sentence lists all words.
  template <class T>
  T word(const std::vector<std::pair<std::string, T>>& known) const {
    std::vector<std::string> words;
    for (const auto& entry : known) words.push_back(entry.first);
    return known[word_index(words)].second;
  }
  std::vector<ValueReader> list() const;
  MapReader map() const;

  /// Whether it is this bare word, for values such as `none` that stand beside numbers.
  bool is_word(std::string_view word) const;
  const YamlNode& node() const { return node_; }
  const std::string& path() const { return path_; }
  /// "<file>:LINE:COLUMN: <path> <sentence>".
  [[noreturn]] void refuse(const std::string& sentence) const;

 private:
  [[noreturn]] void refuse_type(const std::string& expected) const;
  const std::string& scalar(const char* expected) const;
  std::size_t word_index(const std::vector<std::string>& words) const;

  const std::string& file_;
  const YamlNode& node_;
  std::string path_;
};

/// A map of the tree. Remembers which keys were asked for, so that finish() can refuse the others.
class MapReader {
 public:
  MapReader(const std::string& file, const YamlNode& node, std::string path);

  std::optional<ValueReader> find(const std::string& key);
  /// Refuses the map when the key is missing.
  ValueReader at(const std::string& key);
  /// A map below; an empty one when the key is missing.
  MapReader section(const std::string& key);
  /// Refuses a key that is there but does not belong, with the reason.
  void forbid(const std::string& key, const std::string& reason);
  /// Call last: refuses keys that nobody asked for, with the nearest of those that somebody did.
  void finish() const;
  [[noreturn]] void refuse(const std::string& sentence) const { ValueReader(file_, node_, path_).refuse(sentence); }

 private:
  std::string path_of(const std::string& key) const { return path_.empty() ? key : path_ + "." + key; }

  const std::string& file_;
  const YamlNode& node_;
  std::string path_;
  std::vector<std::string> known_;
};

}  // namespace hopyard
