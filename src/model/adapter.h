// Adapters as the layers of a family know them: which products of which blocks have one.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "model/model_spec.h"

namespace hopyard {

/// Ranks and widths of adapters are at most this.
constexpr std::int64_t kAdapterWidthMax = 1 << 14;

/// An adapter with nothing left open.
struct BlockAdapter {
  AdapterSpec::Kind kind = AdapterSpec::Kind::none;
  std::int64_t rank = 0;  ///< lora
  double scale = 0;       ///< lora: alpha ÷ rank
  double dropout = 0;     ///< lora
  std::vector<std::string> targets;
  std::int64_t size = 0;         ///< bottleneck
  std::int64_t first_block = 0;  ///< the blocks before it are frozen as they are
};

/// What a family's adapters can be put on.
struct AdapterTargets {
  std::vector<std::string> products;   ///< paths of the modules within a block: "attention.self.query"
  std::vector<std::string> usual;      ///< targets unless the config names some
  std::vector<std::string> attention;  ///< what the word "attention" stands for
  std::vector<std::string> all;        ///< what the word "all" stands for
};

/// PEFT's rule: a target names the modules whose path is it or ends with it after a dot.
bool is_target(const std::string& path, const std::vector<std::string>& targets);

/// What a spec means for a family. Failure(usage): a target that is none of the family's modules, or a width outside 1
/// to kAdapterWidthMax.
BlockAdapter resolve_adapter(const ModelSpec& spec, const AdapterTargets& family);

}  // namespace hopyard
