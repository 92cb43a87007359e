// The searched values of a config's tree: finding them and putting a trial's values in their place. Private to this
// folder.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/trial.h"
#include "formats/yaml.h"
#include "select/search.h"

namespace hopyard {

/// What one value of a dimension puts into the tree: paths and scalars, with the marks of what they came from.
using Probe = std::vector<std::pair<std::string, YamlNode>>;

/// A dimension, and values that a check of the config tries: all of grid, choice and joint; of ranges both ends and one
/// between that is no whole number unless the dimension is `int` or has a step.
struct SearchedValue {
  Dimension dimension;
  std::vector<Probe> probes;
};

/// Those of `model` and `train` in the order of the tree, then `search.joint`. Failure(usage) when one is malformed.
std::vector<SearchedValue> find_searched_values(const std::string& file, const YamlNode& root);

/// Scalars by path.
using Chosen = std::map<std::string, YamlNode>;

/// A trial in which the dimension has this probe, and whatever it exists under is there; the others have their first,
/// as far as they exist beside it. Without a dimension, all have their first.
Chosen probed(const std::vector<SearchedValue>& space, std::optional<std::size_t> dimension = std::nullopt,
              std::size_t probe = 0);

/// The tree with what is chosen in place of what is searched, and without the keys that do not exist beside it.
YamlNode trial_tree(YamlNode tree, const std::vector<Dimension>& space, const Chosen& chosen);

/// A setting as a scalar of the tree.
YamlNode to_node(const SettingValue& value);
/// What a scalar means: truth value, whole number, number, or text. Requires a scalar.
SettingValue to_setting(const YamlNode& scalar);

}  // namespace hopyard
