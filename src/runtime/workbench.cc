#include "runtime/workbench.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "base/failure.h"
#include "pipeline/batches.h"
#include "pipeline/row_probe.h"
#include "pipeline/simulator.h"
#include "spill/disk_tier.h"
#include "spill/host_tier.h"

namespace hopyard {

namespace {

constexpr double kVisitSeconds = 60;  // what a sub-epoch lasts when the config does not say how many partitions
constexpr std::uint32_t kSimulatedVisitsMax = 32;      // of an epoch
constexpr std::uint64_t kSimulatedTasksMax = 200'000;  // of all trials: a plan takes a moment, however long it trains

std::uint32_t rows_to_use(const Dataset& data, std::uint32_t wanted, const char* key) {
  if (wanted > data.rows())
    fail(ExitCode::usage, key, ": ", wanted, " rows are asked for and ", data.folder(), " has ", data.rows());
  return wanted == 0 ? data.rows() : wanted;
}

void check_columns(const Dataset& data, std::uint32_t rows, const ModelSource& source, const DataShape& shape) {
  if (data.find("labels") != nullptr && shape.classes > 1) data.check_range("labels", rows, 0, shape.classes);
  if (source.vocabulary() > 0) data.check_range("input_ids", rows, 0, source.vocabulary());
}

void check_alike(const Dataset& train, const Dataset& valid) {
  for (const auto& column : train.columns()) {
    const auto* other = valid.find(column.name);
    if (other == nullptr || other->shape != column.shape)
      fail(ExitCode::input, valid.folder(), "/dataset.json: column '", column.name, "' is not as in ", train.folder(),
           "; prepare both with the same options");
  }
  if (train.label_names() != valid.label_names())
    fail(ExitCode::input, valid.folder(), "/dataset.json: its labels are not those of ", train.folder(),
         "; prepare both together");
}

/// So many epochs of a trial. Where there are many visits, some follow each other as one, with all their commits.
SimTrial simulated(const TrialSetup& setup, std::uint32_t epochs, const Partitions& partitions, double commit_s) {
  const auto training = training_step(setup.plan, setup.limits);
  const std::uint32_t count = partitions.count(), visits = std::min(count, kSimulatedVisitsMax);
  const std::uint32_t batch_size = setup.train.batch_size;
  SimTrial trial;
  trial.rounds = epochs;
  for (std::uint32_t visit = 0; visit < visits; ++visit) {
    const auto first = static_cast<std::uint32_t>(std::uint64_t{visit} * count / visits);
    const auto end = static_cast<std::uint32_t>((std::uint64_t{visit} + 1) * count / visits);
    std::uint64_t steps = 0;
    for (std::uint32_t p = first; p < end; ++p) steps += batch_count(partitions.rows(p), batch_size);
    trial.phases.push_back({training, steps, true, (end - first) * commit_s});
  }
  if (setup.valid_rows == 0) return trial;
  SimPhase& last = trial.phases.back();
  last.ends_visit = false;
  trial.phases.push_back(
      {evaluation_pass(setup.plan, setup.limits), batch_count(setup.valid_rows, batch_size), true, last.commit_s});
  return trial;
}

/// One of the trials that begin there.
const TrialSetup& user_of(const SharedDepth& depth, const std::vector<TrialSetup>& setups) {
  return *std::find_if(setups.begin(), setups.end(),
                       [&](const auto& setup) { return setup.id == depth.trials.front(); });
}

std::vector<std::string> names(const std::vector<TrialSetup>& setups, const std::vector<std::size_t>& members) {
  std::vector<std::string> ids;
  for (const auto i : members) ids.push_back(setups[i].id);
  return ids;
}

}  // namespace

std::vector<TrialOrder> orders_before_scores(const ExperimentConfig& config) {
  SearchSpec search = config.search;
  search.deterministic = false;  // it would wait for scores
  const auto searcher = make_searcher(search, config.space, config.seed);
  std::vector<TrialOrder> orders;
  while (auto order = searcher->ask()) orders.push_back(std::move(*order));
  return orders;
}

Workbench::Workbench(const ExperimentConfig& config, double disk_read_bytes_per_s, double disk_write_bytes_per_s,
                     std::optional<std::vector<TrialSpec>> trials)
    : config_(config) {
  train_ = std::make_shared<Dataset>(config.data.train);
  valid_ = std::make_shared<Dataset>(config.data.valid);
  check_alike(*train_, *valid_);
  train_rows_ = rows_to_use(*train_, config.data.train_rows, "data.train_rows");
  valid_rows_ = rows_to_use(*valid_, config.data.valid_rows, "data.valid_rows");
  if (trials)
    specs_ = *std::move(trials);
  else
    for (auto& order : orders_before_scores(config)) specs_.push_back(std::move(order.trial));
  PlannerInputs inputs;
  inputs.devices = config.devices;
  inputs.host_memory = config.host_memory;
  inputs.disk_capacity = config.disk_capacity;
  inputs.staging = kIoThreads * kDiskStagingBytes;
  inputs.execute = config.execute;
  inputs.trials = static_cast<std::uint32_t>(specs_.size());
  inputs.disk_read_bytes_per_s = disk_read_bytes_per_s;
  inputs.disk_write_bytes_per_s = disk_write_bytes_per_s;
  planner_ = std::make_unique<Planner>(std::move(inputs));
  if (config.data.partitions > 0) decide_partitions(0, 1);
}

void Workbench::decide_partitions(double step_s, std::uint32_t batch_size) {
  std::uint32_t count = config_.data.partitions;
  if (count == 0) {
    const double seconds = step_s * static_cast<double>(batch_count(train_rows_, batch_size));
    count = static_cast<std::uint32_t>(std::clamp(std::ceil(seconds / kVisitSeconds), 1.0, double(train_rows_)));
    config_.data.partitions = count;
  }
  partitions_ = std::make_unique<Partitions>(train_rows_, count, config_.seed);
}

std::shared_ptr<const ModelSource> Workbench::source(const ModelSpec& spec) {
  for (const auto& [known, source] : sources_)
    if (known == spec) return source;
  const DataShape shape = data_shape(*train_, spec.task);
  data_shape(*valid_, spec.task);  // it may have columns that the training data lack
  auto made = std::make_shared<const ModelSource>(spec, shape);
  check_columns(*train_, train_rows_, *made, shape);
  check_columns(*valid_, valid_rows_, *made, shape);
  sources_.emplace_back(spec, made);
  return made;
}

std::shared_ptr<const Dataset> Workbench::open_test(const TrialSetup& setup, const std::string& folder) const {
  auto data = std::make_shared<Dataset>(folder);
  check_alike(*train_, *data);
  const ModelTask task = setup.source->spec().task;
  data_shape(*data, task);
  check_columns(*data, data->rows(), *setup.source, data_shape(*train_, task));
  return data;
}

TrialSetup Workbench::describe(const TrialSpec& spec, std::uint32_t number) {
  const TrialConfig trial = resolve_trial(config_, spec);
  TrialSetup setup;
  setup.number = number;
  setup.id = spec.id;
  setup.seed = spec.seed;
  setup.source = source(trial.model);
  setup.train_data = train_;
  setup.valid_data = valid_;
  setup.train_rows = train_rows_;
  setup.valid_rows = valid_rows_;
  setup.train = trial.train;
  return setup;
}

TrialSetup Workbench::resolve(const TrialSpec& spec, std::uint32_t number) {
  const auto planned =
      std::find_if(planned_.begin(), planned_.end(), [&](const auto& trial) { return trial.spec == spec; });
  TrialSetup setup = planned != planned_.end() ? planned->setup : plan(spec).setup;
  setup.number = number;
  return setup;
}

/// A trial that the search asked for later begins where a planned one of the same model and batches does.
std::uint32_t Workbench::first_layer(const TrialSetup& setup) const {
  if (const std::uint32_t planned = sharing_.first_layer(setup.id)) return planned;
  for (const auto& known : planned_)
    if (known.setup.first_layer > 0 && known.setup.source == setup.source &&
        known.setup.train.batch_size == setup.train.batch_size && prefix_key(known.setup) == prefix_key(setup))
      return known.setup.first_layer;
  return 0;
}

Workbench::PlannedTrial Workbench::plan(const TrialSpec& spec) {
  PlannedTrial trial{spec, describe(spec, spec.index), {}, planner_->cpu_workspace()};
  TrialSetup& setup = trial.setup;
  setup.first_layer = first_layer(setup);
  trial.forecast = planner_->plan(setup);
  if (!partitions_) decide_partitions(setup.plan.step_s, setup.train.batch_size);
  std::uint64_t steps = 0;
  for (std::uint32_t p = 0; p < partitions_->count(); ++p)
    steps += batch_count(partitions_->rows(p), setup.train.batch_size);
  setup.total_steps = steps * setup.train.epochs;
  return trial;
}

void Workbench::plan_trials() {
  planned_.clear();
  for (const auto& spec : specs_) planned_.push_back(plan(spec));
  // What cpu devices need is known when all trials are planned, and all windows must leave room for it.
  for (bool settled = false; !settled;) {
    settled = true;
    for (auto& trial : planned_) {
      if (trial.cpu_workspace == planner_->cpu_workspace()) continue;
      trial = plan(trial.spec);
      settled = false;
    }
  }
}

bool Workbench::rows_may_be_shared(const TrialSetup& setup) const {
  const TrainSpec& train = setup.train;
  std::set<std::uint32_t> sizes;
  const auto add = [&](std::uint64_t rows, std::uint32_t batch_size) {
    for (const auto size : partial_sizes(rows, batch_size, train.micro_batch_size)) sizes.insert(size);
  };
  for (std::uint32_t p = 0; p < partitions_->count(); ++p) add(partitions_->rows(p), train.batch_size);
  add(valid_rows_, train.batch_size);
  for (const auto rows : {train_rows_, valid_rows_}) add(rows, train.micro_batch_size);  // as materialising cuts them
  return rows_are_independent(*setup.source, *train_, setup.source->frozen_layers(), train.micro_batch_size,
                              {sizes.begin(), sizes.end()}, config_.devices.front().threads);
}

std::vector<SharingTrial> Workbench::sharing_trials(const std::map<std::string, std::uint32_t>& visits_done) const {
  std::vector<SharingTrial> trials;
  std::vector<std::string> keys;  // of each trial: its prefix and batch
  std::map<std::string, const TrialSetup*> deepest;
  for (const auto& planned : planned_) {
    const TrialSetup& setup = planned.setup;
    const double visits = double(setup.train.epochs) * partitions_->count();
    const auto done = visits_done.find(setup.id);
    const double left = done == visits_done.end() ? 1 : 1 - std::min(visits, double(done->second)) / visits;
    const double rows = double(setup.train.epochs) * (double(train_rows_) + valid_rows_);
    trials.push_back(sharing_trial(setup, static_cast<std::uint64_t>(left * rows)));
    keys.push_back(text::cat(trials.back().prefix, "|", setup.train.batch_size));
    if (trials.back().frozen.empty()) continue;
    const TrialSetup*& known = deepest[keys.back()];
    if (known == nullptr || known->source->frozen_layers() < setup.source->frozen_layers()) known = &setup;
  }
  std::map<std::string, bool> may_share;
  for (const auto& [key, setup] : deepest) may_share[key] = rows_may_be_shared(*setup);
  for (std::size_t i = 0; i < trials.size(); ++i)
    if (!may_share[keys[i]]) trials[i].frozen.clear();
  return trials;
}

void Workbench::share(const std::map<std::string, std::uint32_t>& visits_done) {
  Bytes largest = 0, frozen = 0;
  for (const auto& trial : planned_) {
    largest = std::max(largest, trial.forecast.host);
    frozen = std::max(frozen, trial.forecast.frozen);
  }
  // Features must fit beside as many of the largest trials as there are devices.
  const Bytes together = std::min<Bytes>(planner_->device_count(), planned_.size()) * largest + frozen;
  const Bytes available = planner_->host_for_trials();
  sharing_ = plan_sharing(sharing_trials(visits_done), available - std::min(available, together));
  if (sharing_.prefixes.empty()) return;
  planner_->leave_to_features(sharing_.bytes());
  plan_trials();
}

PlanView Workbench::plan_all(const std::map<std::string, std::uint32_t>& visits_done) {
  plan_trials();
  if (config_.execute.share_frozen) share(visits_done);
  std::vector<TrialSetup> setups;
  std::vector<TrialForecast> forecasts;
  for (const auto& trial : planned_) {
    setups.push_back(trial.setup);
    forecasts.push_back(trial.forecast);
  }
  PlanView view;
  view.name = config_.name;
  view.trials = static_cast<std::uint32_t>(setups.size());
  std::vector<std::pair<std::size_t, std::vector<std::size_t>>> groups;
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const auto same = std::find_if(groups.begin(), groups.end(), [&](const auto& group) {
      const auto& first = setups[group.first];
      return first.plan == setups[i].plan && first.source == setups[i].source;
    });
    if (same != groups.end())
      same->second.push_back(i);
    else
      groups.push_back({i, {i}});
  }
  for (const auto& [first, members] : groups) {
    PlanGroup group = describe_group(setups[first], forecasts[first]);
    group.trials = names(setups, members);
    view.predicted_peak_device = std::max(view.predicted_peak_device, group.peak_device);
    view.groups.push_back(std::move(group));
  }
  view.tiers = describe_tiers(setups, forecasts);
  view.predicted_peak_host = view.tiers.host_need;
  view.predicted_peak_disk = view.tiers.disk_need;
  view.sharing = describe_sharing(setups);
  view.predicted_s = predict_seconds(setups, forecasts, view.tiers.active_trials) +
                     sharing_.materialise_s() / planner_->device_count();
  view.notes.push_back("Times are predicted from one measured micro-batch of each kind of layer on an idle machine.");
  return view;
}

/// Of the host tier, with nothing else in it yet: features, and the layers of the largest run that computes them.
Bytes Workbench::materialising_bytes(const std::vector<TrialSetup>& setups) const {
  const Bytes free = planner_->host_for_trials(), taken = planner_->inputs().host_memory - free;
  Bytes largest = 0;
  for (const auto& prefix : sharing_.prefixes) {
    std::uint32_t from = 0;
    for (const auto& depth : prefix.depths) {
      for (const auto& run : materialising_runs(user_of(depth, setups), from, depth.end_layer, free)) {
        Bytes bytes = 0;
        for (const auto layer : shared_layers(run)) bytes += HostBuffer::rounded(run.costs[layer].parameter_bytes);
        largest = std::max(largest, bytes);
      }
      from = depth.end_layer;
    }
  }
  return largest == 0 ? 0 : taken + largest;
}

std::vector<PlanSharing> Workbench::describe_sharing(const std::vector<TrialSetup>& setups) const {
  std::vector<PlanSharing> all;
  for (const auto& prefix : sharing_.prefixes)
    for (const auto& depth : prefix.depths) {
      const auto& layers = user_of(depth, setups).source->description().layers;
      all.push_back({layers.front().name, layers[depth.end_layer - 1].name, depth.end_layer, depth.trials, prefix.rows,
                     depth.bytes, depth.saved_flops, depth.saved_s, depth.materialise_flops, depth.materialise_s});
    }
  return all;
}

PlanGroup Workbench::describe_group(const TrialSetup& setup, const TrialForecast& forecast) const {
  PlanGroup group;
  const auto& description = setup.source->description();
  group.title = text::cat(description.family, ", freeze ", setup.source->spec().freeze);
  for (std::size_t l = 0; l < description.layers.size(); ++l) {
    PlanLayer layer;
    layer.name = description.layers[l].name;
    layer.parameters = static_cast<std::uint64_t>(description.layers[l].parameter_count());
    layer.bytes = setup.costs[l].parameter_bytes;
    layer.forward_flops = description.layers[l].forward_flops_per_row * setup.train.batch_size;
    layer.trainable = setup.costs[l].trainable;
    group.layers.push_back(std::move(layer));
  }
  for (const auto& shard : setup.plan.shards)
    group.shards.push_back({description.layers[shard.begin].name, description.layers[shard.end - 1].name,
                            shard.end - shard.begin, shard.forward_load_bytes, shard.backward_load_bytes,
                            shard.store_bytes, std::max(shard.forward_workspace, shard.backward_workspace),
                            shard.forward_s, shard.backward ? shard.backward_s : 0});
  group.resident = setup.plan.shards.size() == 1;
  group.state_bytes = forecast.state;
  group.frozen_bytes = forecast.frozen;
  group.peak_device = setup.plan.peak_bytes;
  group.compute_s = setup.plan.compute_s;
  group.transfer_s = setup.plan.transfer_s;
  group.step_s = setup.plan.step_s;
  return group;
}

PlanTiers Workbench::describe_tiers(const std::vector<TrialSetup>& setups,
                                    const std::vector<TrialForecast>& forecasts) const {
  PlanTiers tiers;
  std::vector<std::string> kinds;
  for (const auto& device : config_.devices) {
    const bool emulated = device.type == DeviceSpec::Type::emulated;
    tiers.emulated |= emulated;
    kinds.push_back(emulated ? text::cat(device.count, " × emulated, ", text::format_bytes(device.memory), ", link ",
                                         text::format_bytes(static_cast<Bytes>(device.link_bytes_per_s)), "/s")
                             : text::cat(device.count, " × cpu, ", device.threads, " threads each"));
  }
  tiers.device = text::join(kinds, "; ");
  tiers.device_budget = config_.devices.front().memory;
  tiers.host_budget = config_.host_memory;
  tiers.disk_budget = config_.disk_capacity;
  tiers.active_trials = active_at_once(forecasts, planner_->host_for_trials());
  if (config_.execute.active_trials)
    tiers.active_trials = std::min(tiers.active_trials, *config_.execute.active_trials);
  tiers.active_trials = std::max(1u, tiers.active_trials);
  Bytes host = planner_->inputs().host_memory - planner_->host_for_trials(), frozen = 0, largest = 0;
  std::uint32_t counted = 0;
  const auto epochs = epochs_of(setups);
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const std::uint64_t visits = std::uint64_t{epochs[i]} * config_.data.partitions;
    const std::uint64_t steps = setups[i].total_steps * epochs[i] / setups[i].train.epochs;
    tiers.disk_written += forecasts[i].state * visits + forecasts[i].spilled_per_step * steps;
    tiers.disk_need += forecasts[i].state;
    largest = std::max(largest, forecasts[i].state);
    if (counted < tiers.active_trials &&
        host + forecasts[i].host + std::max(frozen, forecasts[i].frozen) <= tiers.host_budget) {
      host += forecasts[i].host;
      frozen = std::max(frozen, forecasts[i].frozen);
      ++counted;
    }
  }
  tiers.host_need = std::max(host + frozen, materialising_bytes(setups));
  tiers.disk_need += largest * clones_expected(config_.search);
  tiers.disk_need += largest;  // a commit writes the new version before it drops the old one
  if (tiers.disk_need > tiers.disk_budget)
    fail(ExitCode::capacity, "resources.disk.capacity: the states of ", setups.size(), " trials and one commit need ",
         tiers.disk_need, " bytes (", text::format_bytes(tiers.disk_need), ") and ", tiers.disk_budget, " (",
         text::format_bytes(tiers.disk_budget), ") are granted; raise it or run fewer trials");
  return tiers;
}

std::vector<std::uint32_t> Workbench::epochs_of(const std::vector<TrialSetup>& setups) const {
  if (auto expected = epochs_expected(config_.search, setups.size()); expected && expected->size() == setups.size())
    return *std::move(expected);
  std::vector<std::uint32_t> epochs;
  for (const auto& setup : setups) epochs.push_back(setup.train.epochs);
  return epochs;
}

double Workbench::predict_seconds(const std::vector<TrialSetup>& setups, const std::vector<TrialForecast>& forecasts,
                                  std::uint32_t active) const {
  const auto epochs = epochs_of(setups);
  std::vector<SimTrial> trials;
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const double commit_s = static_cast<double>(forecasts[i].state) / planner_->inputs().disk_write_bytes_per_s;
    trials.push_back(simulated(setups[i], epochs[i], *partitions_, commit_s));
  }
  const DeviceLimits& device = setups.front().limits;
  SimOptions options;
  options.devices = planner_->device_count();
  if (device.load_bytes_per_s > 0) options.memory = usable_memory(device.memory);
  options.scheduler = config_.execute.scheduler;
  options.seed = config_.seed;
  options.double_buffer = config_.execute.double_buffer;
  options.interleave = config_.execute.interleave;
  options.lookahead = config_.execute.lookahead;
  options.active_trials = active;
  return estimate_makespan(std::move(trials), options, kSimulatedTasksMax);
}

}  // namespace hopyard
