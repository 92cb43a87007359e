#include "planner/sharing.h"

#include <algorithm>
#include <limits>
#include <map>
#include <numeric>

#include "base/failure.h"
#include "partitioner/shard_tasks.h"
#include "pipeline/features.h"
#include "pipeline/frozen_store.h"

namespace hopyard {

namespace {

constexpr double kHostCopyBytesPerS = 4e9;  // one thread, from memory to memory

/// What a segment's file takes of the disk tier beside its bytes: less than this.
constexpr Bytes kSegmentFileBytes = 64 * KiB, kChunkOverheadShare = 4096;

/// The trials of one prefix: what each depth costs and gives.
class PrefixCosts {
 public:
  /// `by_visits`: trials visit the same rows in the same order.
  PrefixCosts(const std::vector<const SharingTrial*>& trials, const SharingBudget& speeds, bool by_visits)
      : trials_(trials), speeds_(speeds), by_visits_(by_visits && !trials.front()->partitions.empty()) {
    for (const auto* trial : trials) {
      const auto depth = static_cast<std::uint32_t>(trial->frozen.size());
      if (std::find(depths_.begin(), depths_.end(), depth) == depths_.end()) depths_.push_back(depth);
      if (trial->frozen.size() > layers_.size()) layers_ = trial->frozen;
    }
    std::sort(depths_.begin(), depths_.end());
    for (const auto& layer : layers_) row_bytes_ = std::max(row_bytes_, layer.output_bytes);
  }

  /// Where some trial stops being frozen, ascending.
  const std::vector<std::uint32_t>& depths() const { return depths_; }
  bool has(FeatureTier tier) const { return tier == FeatureTier::host || by_visits_; }

  Bytes host_bytes(FeatureTier tier) const {
    if (tier == FeatureTier::host) return 2 * kHostGranule + any().rows * row_bytes_;  // two data sets, rounded up
    const std::uint64_t largest = *std::max_element(any().partitions.begin(), any().partitions.end());
    const std::uint64_t slots = std::min<std::uint64_t>(kFeatureSlots, any().partitions.size());
    return (1 + slots) * kHostGranule + (any().valid_rows + slots * largest) * row_bytes_;
  }
  Bytes disk_bytes(FeatureTier tier) const {
    if (tier != FeatureTier::disk) return 0;
    const Bytes bytes = train_rows() * row_bytes_;
    return bytes + bytes / kChunkOverheadShare + any().partitions.size() * kSegmentFileBytes;
  }
  /// Held as long as rows may have to be computed again.
  Bytes layer_bytes(std::uint32_t depth) const {
    Bytes sum = 0, largest = 0;
    for (std::uint32_t l = 0; l < depth; ++l) {
      sum += HostBuffer::rounded(layers_[l].parameter_bytes);
      largest = std::max(largest, HostBuffer::rounded(layers_[l].read_bytes));
    }
    return sum + largest;
  }

  /// How often a row is computed at a depth.
  std::uint32_t passes(std::uint32_t depth) const {
    std::uint32_t most = 1;
    for (const auto* trial : trials_)
      if (trial->frozen.size() >= depth) most = std::max(most, trial->epochs_left);
    return most;
  }
  /// Rows computed at a depth, in all passes.
  double rows_computed(std::uint32_t depth, FeatureTier tier) const {
    const double rows = static_cast<double>(any().rows);
    return tier == FeatureTier::fused ? rows + (passes(depth) - 1.0) * static_cast<double>(train_rows()) : rows;
  }
  /// Of reading, computing and writing them.
  double materialise_s(std::uint32_t from, std::uint32_t to, FeatureTier tier) const {
    double row_s = layers_[to - 1].read_s + (from > 0 ? layers_[from - 1].read_s : 0);
    for (std::uint32_t l = from; l < to; ++l) row_s += layers_[l].pass_s;
    return row_s * rows_computed(to, tier);
  }
  double disk_s(std::uint32_t depth, FeatureTier tier) const {
    if (tier != FeatureTier::disk) return 0;
    const double bytes = static_cast<double>(train_rows() * row_bytes_);
    return bytes / speeds_.disk_write_bytes_per_s + (passes(depth) - 1) * bytes / speeds_.disk_read_bytes_per_s;
  }
  double saved_s(const SharingTrial& trial, std::uint32_t depth) const {
    double row_s = -layers_[depth - 1].read_s;
    for (std::uint32_t l = 0; l < depth; ++l) row_s += layers_[l].pass_s;
    return row_s * static_cast<double>(trial.rows_left);
  }
  /// By trials that are at least as deep as the depth, and not as deep as the later one (0: none is later), when they
  /// begin there.
  double saved_by(std::uint32_t depth, std::uint32_t later) const {
    double sum = 0;
    for (const auto* trial : trials_)
      if (trial->frozen.size() >= depth && (later == 0 || trial->frozen.size() < later)) sum += saved_s(*trial, depth);
    return sum;
  }
  double flops(std::uint32_t depth) const {
    return std::accumulate(layers_.begin(), layers_.begin() + depth, 0.0,
                           [](double sum, const auto& layer) { return sum + layer.flops; });
  }
  const std::vector<const SharingTrial*>& trials() const { return trials_; }

 private:
  const SharingTrial& any() const { return *trials_.front(); }
  std::uint64_t train_rows() const { return any().rows - any().valid_rows; }

  std::vector<const SharingTrial*> trials_;
  SharingBudget speeds_;
  bool by_visits_;
  std::vector<std::uint32_t> depths_;
  std::vector<SharingTrial::FrozenLayer> layers_;
  Bytes row_bytes_ = 0;  // of the widest
};

/// One way to come to a depth: what was chosen before, and what it takes and gives.
struct Choice {
  std::vector<std::pair<std::uint32_t, FeatureTier>> depths;  // ascending
  std::uint32_t last = 0, last_whole = 0;                     // of any tier; of the host tier
  Bytes host = 0, layers = 0, disk = 0;
  double gain = 0;  // of trials before the last depth, less what materialising takes
};

bool at_least_as_good(const Choice& a, const Choice& b) {
  return a.last == b.last && a.last_whole == b.last_whole && a.host <= b.host && a.layers <= b.layers &&
         a.disk <= b.disk && a.gain >= b.gain;
}

/// Best first; none that another is at least as good as.
void keep_the_best(std::vector<Choice>& choices) {
  std::stable_sort(choices.begin(), choices.end(), [](const auto& a, const auto& b) { return a.gain > b.gain; });
  std::vector<Choice> kept;
  for (auto& choice : choices) {
    if (kept.size() == kChoicesMax) break;
    const auto better = [&](const Choice& other) { return at_least_as_good(other, choice); };
    if (std::none_of(kept.begin(), kept.end(), better)) kept.push_back(std::move(choice));
  }
  choices = std::move(kept);
}

/// Which depths of a prefix are worth their bytes, and where.
class DepthChoice {
 public:
  DepthChoice(const std::vector<const SharingTrial*>& trials, const SharingBudget& budget, bool by_visits)
      : costs_(trials, budget, by_visits) {}

  /// Nothing when computing is cheaper, or nothing fits.
  SharedPrefix best(const SharingBudget& budget) const {
    std::vector<Choice> choices{Choice()};
    for (const auto depth : costs_.depths()) {
      std::vector<Choice> with = choices;
      for (const auto& choice : choices)
        for (const auto tier : kFeatureTiers)
          if (costs_.has(tier))
            if (auto next = extended(choice, depth, tier); fits(next, budget)) with.push_back(std::move(next));
      keep_the_best(with);
      choices = std::move(with);
    }
    const Choice* best = nullptr;
    double most = 0;
    for (const auto& choice : choices) {
      const double gain = choice.gain + (choice.last > 0 ? costs_.saved_by(choice.last, 0) : 0);
      if (gain > most) most = gain, best = &choice;
    }
    return describe(best ? best->depths : Choice().depths);
  }

  /// Of the host tier, for one depth that saves time.
  std::optional<Bytes> least_host_bytes(const SharingBudget& budget) const {
    std::optional<Bytes> least;
    for (const auto depth : costs_.depths())
      for (const auto tier : kFeatureTiers) {
        if (!costs_.has(tier)) continue;
        const Choice one = extended(Choice(), depth, tier);
        const Bytes bytes = one.host + one.layers;
        const bool pays = one.gain + costs_.saved_by(depth, 0) > 0 && one.disk <= budget.disk;
        if (pays && (!least || bytes < *least)) least = bytes;
      }
    return least;
  }

 private:
  static bool fits(const Choice& choice, const SharingBudget& budget) {
    return choice.host + choice.layers <= budget.host && choice.disk <= budget.disk;
  }

  /// What is in memory by visits is computed from whatever is behind an earlier layer; what is there as a whole, from
  /// what is there as a whole.
  Choice extended(Choice choice, std::uint32_t depth, FeatureTier tier) const {
    const bool whole = tier == FeatureTier::host;
    if (choice.last > 0) choice.gain += costs_.saved_by(choice.last, depth);
    choice.gain -= costs_.materialise_s(whole ? choice.last_whole : choice.last, depth, tier);
    choice.gain -= costs_.disk_s(depth, tier);
    choice.host += costs_.host_bytes(tier);
    choice.disk += costs_.disk_bytes(tier);
    if (!whole) choice.layers = costs_.layer_bytes(depth);
    choice.last = depth;
    if (whole) choice.last_whole = depth;
    choice.depths.emplace_back(depth, tier);
    return choice;
  }

  SharedPrefix describe(const std::vector<std::pair<std::uint32_t, FeatureTier>>& chosen) const {
    SharedPrefix prefix;
    prefix.prefix = costs_.trials().front()->prefix;
    prefix.rows = costs_.trials().front()->rows;
    std::uint32_t last = 0, last_whole = 0;
    Bytes layers = 0;
    for (const auto& [to, tier] : chosen) {
      const bool whole = tier == FeatureTier::host;
      const std::uint32_t from = whole ? last_whole : last;
      SharedDepth depth;
      depth.end_layer = to;
      depth.tier = tier;
      depth.bytes = costs_.host_bytes(tier) + (whole ? 0 : costs_.layer_bytes(to) - layers);
      depth.disk_bytes = costs_.disk_bytes(tier);
      depth.materialise_s = costs_.materialise_s(from, to, tier);
      depth.materialise_flops = (costs_.flops(to) - costs_.flops(from)) * costs_.rows_computed(to, tier);
      depth.disk_s = costs_.disk_s(to, tier);
      prefix.depths.push_back(std::move(depth));
      last = to;
      if (whole) last_whole = to;
      if (!whole) layers = costs_.layer_bytes(to);
    }
    for (const auto* trial : costs_.trials()) {
      const auto deeper = std::find_if(prefix.depths.begin(), prefix.depths.end(),
                                       [&](const auto& depth) { return depth.end_layer > trial->frozen.size(); });
      if (deeper == prefix.depths.begin()) continue;
      SharedDepth& depth = *(deeper - 1);
      depth.trials.push_back(trial->id);
      depth.saved_s += costs_.saved_s(*trial, depth.end_layer);
      depth.saved_flops += costs_.flops(depth.end_layer) * static_cast<double>(trial->rows_left);
    }
    return prefix;
  }

  PrefixCosts costs_;
};

}  // namespace

namespace {

template <class List, class Value>
auto sum_of(const List& list, Value value) {
  decltype(value(*list.begin())) sum{};
  for (const auto& one : list) sum += value(one);
  return sum;
}

}  // namespace

Bytes SharedPrefix::bytes() const {
  return sum_of(depths, [](const auto& depth) { return depth.bytes; });
}

Bytes SharedPrefix::disk_bytes() const {
  return sum_of(depths, [](const auto& depth) { return depth.disk_bytes; });
}

double SharedPrefix::gain_s() const {
  return sum_of(depths, [](const auto& depth) { return depth.saved_s - depth.materialise_s - depth.disk_s; });
}

Bytes SharingPlan::bytes() const {
  return sum_of(prefixes, [](const auto& prefix) { return prefix.bytes(); });
}

Bytes SharingPlan::disk_bytes() const {
  return sum_of(prefixes, [](const auto& prefix) { return prefix.disk_bytes(); });
}

double SharingPlan::materialise_s() const {
  return sum_of(prefixes, [](const auto& prefix) {
    return sum_of(prefix.depths, [](const auto& depth) { return depth.materialise_s; });
  });
}

const SharedDepth* SharingPlan::find(const std::string& trial) const {
  for (const auto& prefix : prefixes)
    for (const auto& depth : prefix.depths)
      if (std::find(depth.trials.begin(), depth.trials.end(), trial) != depth.trials.end()) return &depth;
  return nullptr;
}

std::uint32_t SharingPlan::first_layer(const std::string& trial) const {
  const SharedDepth* depth = find(trial);
  return depth == nullptr ? 0 : depth->end_layer;
}

namespace {

using Members = std::vector<const SharingTrial*>;

/// Each with trials that can share by visits, or only whole data sets.
std::vector<DepthChoice> choices_of(const std::vector<SharingTrial>& trials, const SharingBudget& budget) {
  std::map<std::string, std::map<std::uint64_t, Members>> by_prefix;
  for (const auto& trial : trials)
    if (!trial.frozen.empty()) by_prefix[trial.prefix][trial.order].push_back(&trial);
  std::vector<DepthChoice> choices;
  for (const auto& [prefix, orders] : by_prefix) {
    Members all;
    for (const auto& [order, members] : orders) all.insert(all.end(), members.begin(), members.end());
    DepthChoice together(all, budget, orders.size() == 1);
    if (orders.size() == 1 || !together.best(budget).depths.empty())
      choices.push_back(std::move(together));
    else
      for (const auto& [order, members] : orders) choices.emplace_back(members, budget, true);
  }
  return choices;
}

}  // namespace

SharingPlan plan_sharing(const std::vector<SharingTrial>& trials, const SharingBudget& budget) {
  SharingBudget left = budget;
  std::vector<std::pair<double, DepthChoice>> choices;
  for (auto& choice : choices_of(trials, budget)) {
    const double gain = choice.best(budget).gain_s();
    choices.emplace_back(gain, std::move(choice));
  }
  std::stable_sort(choices.begin(), choices.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  SharingPlan plan;
  for (const auto& [gain, choice] : choices) {
    SharedPrefix prefix = choice.best(left);
    if (prefix.depths.empty()) continue;
    left.host -= prefix.bytes();
    left.disk -= prefix.disk_bytes();
    plan.prefixes.push_back(std::move(prefix));
  }
  return plan;
}

std::optional<Bytes> least_host_bytes(const std::vector<SharingTrial>& trials, const SharingBudget& budget) {
  std::optional<Bytes> least;
  for (const auto& choice : choices_of(trials, budget))
    if (const auto bytes = choice.least_host_bytes(budget); bytes && (!least || *bytes < *least)) least = bytes;
  return least;
}

std::string prefix_key(const TrialSetup& setup) {
  return text::cat(content_key(*setup.source, 0, setup.seed), "|", setup.train.micro_batch_size, "|",
                   to_string(setup.train.precision), "|", setup.train_data->folder(), ":", setup.train_rows, "|",
                   setup.valid_data->folder(), ":", setup.valid_rows);
}

double feature_row_s(const TrialSetup& setup, std::uint32_t end_layer) {
  const double rate = has_link(setup.limits) ? setup.limits.load_bytes_per_s : kHostCopyBytesPerS;
  return static_cast<double>(row_bytes(setup.source->description().layers[end_layer - 1], setup.train.precision)) /
         rate;
}

SharingTrial sharing_trial(const TrialSetup& setup, std::uint64_t rows_left) {
  SharingTrial trial;
  trial.id = setup.id;
  trial.prefix = prefix_key(setup);
  trial.rows = std::uint64_t{setup.train_rows} + setup.valid_rows;
  trial.rows_left = rows_left;
  trial.valid_rows = setup.valid_rows;
  trial.epochs_left = static_cast<std::uint32_t>((rows_left + trial.rows - 1) / trial.rows);
  if (setup.source->spec().frozen_dropout) return trial;
  const double batch = setup.train.batch_size;
  const bool linked = has_link(setup.limits);
  for (std::uint32_t l = 0; l < setup.source->frozen_layers(); ++l) {
    const LayerDescription& layer = setup.source->description().layers[l];
    const LayerCost& cost = setup.costs[l];
    const bool stays = !linked || setup.plan.resident;
    const bool copies = setup.limits.frozen_copies;
    const Bytes bytes = copies ? cost.copy_bytes : cost.parameter_bytes;
    const double load_s = stays ? 0 : static_cast<double>(bytes) / setup.limits.load_bytes_per_s;
    trial.frozen.push_back({std::max(cost.forward_s, load_s) / batch, layer.forward_flops_per_row,
                            feature_row_s(setup, l + 1), row_bytes(layer, setup.train.precision), bytes,
                            copies ? cost.parameter_bytes : 0});
  }
  return trial;
}

}  // namespace hopyard
