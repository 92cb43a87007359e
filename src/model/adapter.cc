#include "model/adapter.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {
namespace {

/// The targets that a user may name: each module's path and its ends that are not another word for too many modules.
void check_target(const std::string& target, const AdapterTargets& family) {
  std::vector<std::string> known = family.all;
  known.insert(known.end(), family.products.begin(), family.products.end());
  if (std::find(known.begin(), known.end(), target) != known.end()) return;
  std::sort(known.begin(), known.end());
  known.erase(std::unique(known.begin(), known.end()), known.end());
  fail(ExitCode::usage, "model.adapter.targets: '", target,
       "' names no module of the blocks; choose from: ", text::join(known, ", "), "; or one word: attention, all");
}

}  // namespace

bool is_target(const std::string& path, const std::vector<std::string>& targets) {
  return std::any_of(targets.begin(), targets.end(),
                     [&](const std::string& target) { return path == target || path.ends_with("." + target); });
}

BlockAdapter resolve_adapter(const ModelSpec& spec, const AdapterTargets& family) {
  const AdapterSpec& adapter = spec.adapter;
  BlockAdapter out;
  out.kind = adapter.kind;
  out.first_block = std::max<std::int64_t>(0, spec.freeze - 1);
  if (adapter.kind == AdapterSpec::Kind::none) return out;
  out.rank = adapter.rank.value_or(kAdapterRank);
  out.size = adapter.size;
  for (const std::int64_t width : {out.rank, out.size})
    if (width < 1 || width > kAdapterWidthMax)
      fail(ExitCode::usage, "model.adapter: a width of ", width, " is not from 1 to ", kAdapterWidthMax);
  out.scale = adapter.alpha.value_or(kAdapterAlpha) / static_cast<double>(out.rank);
  out.dropout = adapter.dropout.value_or(0);
  out.targets = adapter.targets.empty() ? family.usual : adapter.targets;
  if (out.targets == std::vector<std::string>{"attention"}) out.targets = family.attention;
  if (out.targets == std::vector<std::string>{"all"}) out.targets = family.all;
  for (const std::string& target : out.targets) check_target(target, family);
  return out;
}

}  // namespace hopyard
