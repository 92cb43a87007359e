// The searched values of a config's tree: finding them and putting a trial's values in their place. Private to this
// folder.
#pragma once

#include <string>
#include <vector>

#include "base/trial.h"
#include "formats/yaml.h"
#include "select/search.h"

namespace hopyard {

/// A dimension, and values that a check of the config tries: all of grid and choice; of ranges both ends and one
/// between that is no whole number unless the dimension is `int`.
struct SearchedValue {
  Dimension dimension;
  std::vector<YamlNode> probes;  ///< scalars with the marks of what they came from
};

/// Those of `model` and `train`, in the order of the tree. Failure(usage) when one is malformed.
std::vector<SearchedValue> find_searched_values(const std::string& file, const YamlNode& root);

/// Replaces the value at a dotted path that exists.
void put_value(YamlNode& root, const std::string& path, YamlNode value);

/// A setting as a scalar of the tree.
YamlNode to_node(const SettingValue& value);
/// What a scalar means: truth value, whole number, number, or text. Requires a scalar.
SettingValue to_setting(const YamlNode& scalar);

}  // namespace hopyard
