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

/// The trials of one prefix, and which depths of theirs are worth their bytes.
class DepthChoice {
 public:
  explicit DepthChoice(const std::vector<const SharingTrial*>& trials) : trials_(trials) {
    for (const auto* trial : trials) {
      const auto depth = static_cast<std::uint32_t>(trial->frozen.size());
      if (std::find(depths_.begin(), depths_.end(), depth) == depths_.end()) depths_.push_back(depth);
      if (trial->frozen.size() > layers_.size()) layers_ = trial->frozen;
    }
    std::sort(depths_.begin(), depths_.end());
  }

  /// Nothing when computing is cheaper, or nothing fits.
  SharedPrefix best(Bytes budget) const {
    const std::size_t slots = static_cast<std::size_t>(std::min<Bytes>(budget / depth_bytes(), depths_.size()));
    // gain[count][d]: the most that trials shallower than depth d save, less what materialising as far as there takes,
    // with `count` depths, the last of them d.
    constexpr double kNever = -std::numeric_limits<double>::infinity();
    std::vector<std::vector<double>> gain(slots + 1, std::vector<double>(depths_.size(), kNever));
    std::vector<std::vector<std::size_t>> before(slots + 1, std::vector<std::size_t>(depths_.size(), depths_.size()));
    double best = 0;
    std::size_t best_count = 0, best_last = 0;
    for (std::size_t count = 1; count <= slots; ++count)
      for (std::size_t d = 0; d < depths_.size(); ++d) {
        if (count == 1) gain[count][d] = -materialise_s(0, depths_[d]);
        for (std::size_t earlier = 0; count > 1 && earlier < d; ++earlier) {
          const double with =
              gain[count - 1][earlier] + saved_by(earlier, d) - materialise_s(depths_[earlier], depths_[d]);
          if (with > gain[count][d]) gain[count][d] = with, before[count][d] = earlier;
        }
        const double whole = gain[count][d] + saved_by(d, depths_.size());
        if (whole > best) best = whole, best_count = count, best_last = d;
      }
    std::vector<std::uint32_t> chosen;
    for (std::size_t count = best_count, d = best_last; count > 0; d = before[count--][d])
      chosen.insert(chosen.begin(), depths_[d]);
    return describe(chosen);
  }

 private:
  Bytes depth_bytes() const {
    Bytes widest = 0;
    for (const auto& layer : layers_) widest = std::max(widest, layer.output_bytes);
    return 2 * kHostGranule + trials_.front()->rows * widest;  // two data sets, each rounded up
  }

  double rows() const { return static_cast<double>(trials_.front()->rows); }

  /// Of reading, computing and writing all rows once.
  double materialise_s(std::uint32_t from, std::uint32_t to) const {
    double row_s = layers_[to - 1].read_s + (from > 0 ? layers_[from - 1].read_s : 0);
    for (std::uint32_t l = from; l < to; ++l) row_s += layers_[l].pass_s;
    return row_s * rows();
  }

  double saved_s(const SharingTrial& trial, std::uint32_t depth) const {
    double row_s = -layers_[depth - 1].read_s;
    for (std::uint32_t l = 0; l < depth; ++l) row_s += layers_[l].pass_s;
    return row_s * static_cast<double>(trial.rows_left);
  }

  /// By trials that are at least as deep as the depth, and not as deep as the later one, when they begin there.
  double saved_by(std::size_t depth, std::size_t later) const {
    double sum = 0;
    for (const auto* trial : trials_)
      if (trial->frozen.size() >= depths_[depth] && (later == depths_.size() || trial->frozen.size() < depths_[later]))
        sum += saved_s(*trial, depths_[depth]);
    return sum;
  }

  SharedPrefix describe(const std::vector<std::uint32_t>& chosen) const {
    SharedPrefix prefix;
    prefix.prefix = trials_.front()->prefix;
    prefix.rows = trials_.front()->rows;
    std::uint32_t from = 0;
    for (const auto to : chosen) {
      prefix.depths.push_back(
          {to, {}, depth_bytes(), 0, 0, materialise_s(from, to), (flops(to) - flops(from)) * rows()});
      from = to;
    }
    for (const auto* trial : trials_) {
      const auto deeper = std::find_if(prefix.depths.begin(), prefix.depths.end(),
                                       [&](const auto& depth) { return depth.end_layer > trial->frozen.size(); });
      if (deeper == prefix.depths.begin()) continue;
      SharedDepth& depth = *(deeper - 1);
      depth.trials.push_back(trial->id);
      depth.saved_s += saved_s(*trial, depth.end_layer);
      depth.saved_flops += flops(depth.end_layer) * static_cast<double>(trial->rows_left);
    }
    return prefix;
  }

  double flops(std::uint32_t depth) const {
    return std::accumulate(layers_.begin(), layers_.begin() + depth, 0.0,
                           [](double sum, const auto& layer) { return sum + layer.flops; });
  }

  std::vector<const SharingTrial*> trials_;
  std::vector<std::uint32_t> depths_;  // where some trial stops being frozen, ascending
  std::vector<SharingTrial::FrozenLayer> layers_;
};

TrialSetup materialising_run(const TrialSetup& trial, std::uint32_t from, std::uint32_t to) {
  TrialSetup run = trial;
  run.first_layer = from;
  run.materialise_to = to;
  run.train.batch_size = trial.train.micro_batch_size;
  run.train.clip_norm.reset();
  run.valid_rows = 0;
  run.window = 0;
  run.frozen_in_window = false;
  for (auto& cost : run.costs) cost.forward_s /= micro_batches_of(trial.train);
  run.limits.micro_batches = 1;
  run.limits.memory = usable_memory(trial.limits.memory);
  run.limits.update_on_host = false;
  return run;
}

/// The first layer that does not fit beside those from `from` on.
std::uint32_t farthest_end(const TrialSetup& run, std::uint32_t from, std::uint32_t to, Bytes host) {
  Bytes bytes = 0;
  std::uint32_t end = from;
  for (; end < to; ++end) {
    bytes += HostBuffer::rounded(run.costs[end].parameter_bytes);
    const bool fits_device = fits(shard_need(make_shard(run.costs, from, end + 1, run.limits), run.limits), run.limits);
    if (end > from && (!fits_device || bytes > host)) break;
  }
  return end;
}

}  // namespace

Bytes SharedPrefix::bytes() const {
  Bytes sum = 0;
  for (const auto& depth : depths) sum += depth.bytes;
  return sum;
}

double SharedPrefix::gain_s() const {
  double sum = 0;
  for (const auto& depth : depths) sum += depth.saved_s - depth.materialise_s;
  return sum;
}

Bytes SharingPlan::bytes() const {
  Bytes sum = 0;
  for (const auto& prefix : prefixes) sum += prefix.bytes();
  return sum;
}

double SharingPlan::materialise_s() const {
  double sum = 0;
  for (const auto& prefix : prefixes)
    for (const auto& depth : prefix.depths) sum += depth.materialise_s;
  return sum;
}

std::uint32_t SharingPlan::first_layer(const std::string& trial) const {
  for (const auto& prefix : prefixes)
    for (const auto& depth : prefix.depths)
      if (std::find(depth.trials.begin(), depth.trials.end(), trial) != depth.trials.end()) return depth.end_layer;
  return 0;
}

SharingPlan plan_sharing(const std::vector<SharingTrial>& trials, Bytes budget) {
  std::map<std::string, std::vector<const SharingTrial*>> by_prefix;
  for (const auto& trial : trials)
    if (!trial.frozen.empty()) by_prefix[trial.prefix].push_back(&trial);
  std::vector<std::pair<double, DepthChoice>> choices;
  for (const auto& [prefix, members] : by_prefix) {
    DepthChoice choice(members);
    choices.emplace_back(choice.best(budget).gain_s(), std::move(choice));
  }
  std::stable_sort(choices.begin(), choices.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  SharingPlan plan;
  for (const auto& [gain, choice] : choices) {
    SharedPrefix prefix = choice.best(budget);
    if (prefix.depths.empty()) continue;
    budget -= prefix.bytes();
    plan.prefixes.push_back(std::move(prefix));
  }
  return plan;
}

std::string prefix_key(const TrialSetup& setup) {
  return text::cat(content_key(*setup.source, 0, setup.seed), "|", setup.train.micro_batch_size, "|",
                   setup.train_data->folder(), ":", setup.train_rows, "|", setup.valid_data->folder(), ":",
                   setup.valid_rows);
}

SharingTrial sharing_trial(const TrialSetup& setup, std::uint64_t rows_left) {
  SharingTrial trial;
  trial.id = setup.id;
  trial.prefix = prefix_key(setup);
  trial.rows = std::uint64_t{setup.train_rows} + setup.valid_rows;
  trial.rows_left = rows_left;
  if (setup.source->spec().frozen_dropout) return trial;
  const double batch = setup.train.batch_size;
  const bool linked = has_link(setup.limits);
  for (std::uint32_t l = 0; l < setup.source->frozen_layers(); ++l) {
    const LayerDescription& layer = setup.source->description().layers[l];
    const LayerCost& cost = setup.costs[l];
    const bool stays = !linked || setup.plan.resident;
    const double load_s = stays ? 0 : static_cast<double>(cost.parameter_bytes) / setup.limits.load_bytes_per_s;
    const double rate = linked ? setup.limits.load_bytes_per_s : kHostCopyBytesPerS;
    trial.frozen.push_back({std::max(cost.forward_s, load_s) / batch, layer.forward_flops_per_row,
                            static_cast<double>(layer.output_bytes_per_row) / rate, layer.output_bytes_per_row});
  }
  return trial;
}

std::vector<TrialSetup> materialising_runs(const TrialSetup& trial, std::uint32_t from, std::uint32_t to, Bytes host) {
  std::vector<TrialSetup> runs;
  while (from < to) {
    TrialSetup run = materialising_run(trial, from, to);
    const std::uint32_t end = farthest_end(run, from, to, host);
    run.materialise_to = end;
    run.plan = plan_cuts(run, {});
    runs.push_back(std::move(run));
    from = end;
  }
  return runs;
}

}  // namespace hopyard
