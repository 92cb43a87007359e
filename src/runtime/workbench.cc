#include "runtime/workbench.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "hopper/bounds.h"
#include "partitioner/shard_tasks.h"
#include "pipeline/batches.h"
#include "pipeline/frozen_store.h"
#include "pipeline/simulator.h"
#include "runtime/config_sections.h"
#include "spill/disk_tier.h"
#include "spill/host_tier.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kStandIns = 8;  // planned where others will ask for trials, and nobody says how many
constexpr double kVisitSeconds = 60;    // what a sub-epoch lasts when the config does not say how many partitions
constexpr std::uint32_t kSimulatedVisitsMax = 32;      // of an epoch
constexpr std::uint64_t kSimulatedTasksMax = 200'000;  // of all trials: a plan takes a moment, however long it trains

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

/// Of each shard, what its frozen bytes are, where trials share them.
std::vector<std::uint64_t> frozen_contents(const TrialSetup& setup) {
  std::vector<std::uint64_t> contents;
  const auto shared = shared_layers(setup);
  for (const auto& shard : setup.plan.shards) {
    std::string keys;
    for (const auto layer : shared)
      if (shard.holds(layer)) keys += content_key(*setup.source, layer, setup.seed) + "\n";
    contents.push_back(keys.empty() ? 0 : std::max<std::uint64_t>(1, std::hash<std::string>()(keys)));
  }
  return contents;
}

/// What the visits of a trial are made of, for the simulator.
struct SimVisits {
  const TrialSetup& setup;
  std::vector<SimTask> training, evaluation;
  double commit_s = 0;

  /// The first `end` visits of an epoch, and an evaluation. Where there are many, some follow each other as one, with
  /// all their commits.
  void add_to(SimTrial& trial, std::uint32_t end) const;
};

void SimVisits::add_to(SimTrial& trial, std::uint32_t end) const {
  const std::uint32_t batch_size = setup.train.batch_size, phases = std::min(end, kSimulatedVisitsMax);
  for (std::uint32_t phase = 0; phase < phases; ++phase) {
    const auto from = static_cast<std::uint32_t>(std::uint64_t{phase} * end / phases);
    const auto to = static_cast<std::uint32_t>((std::uint64_t{phase} + 1) * end / phases);
    std::uint64_t steps = 0;
    for (std::uint32_t visit = from; visit < to; ++visit)
      steps += batch_count(setup.partitions->rows(setup.partitions->to_visit()[visit]), batch_size);
    trial.phases.push_back({training, steps, true, (to - from) * commit_s});
  }
  if (setup.valid_rows == 0) return;
  SimPhase& last = trial.phases.back();
  last.ends_visit = false;
  std::uint64_t batches = 0;
  for (const auto p : setup.valid_partitions->to_visit())
    batches += batch_count(setup.valid_partitions->rows(p), batch_size);
  trial.phases.push_back({evaluation, batches, true, last.commit_s});
}

SimTrial simulated(const TrialSetup& setup, const Epochs& epochs, double commit_s) {
  const auto frozen = frozen_contents(setup);
  auto training = training_step(setup.plan, setup.limits, frozen);
  auto evaluation = evaluation_pass(setup.plan, setup.limits, frozen);
  if (setup.first_layer > 0)
    for (auto* tasks : {&training, &evaluation}) {
      const double read_s = feature_row_s(setup, setup.first_layer) * setup.train.batch_size;
      (has_link(setup.limits) ? tasks->front().load_s : tasks->front().compute_s) += read_s;
    }
  const SimVisits visits{setup, std::move(training), std::move(evaluation), commit_s};
  const auto count = static_cast<std::uint32_t>(setup.partitions->to_visit().size());
  const std::uint32_t all = epochs.visits(count), rest = all % count;
  SimTrial trial;
  trial.rounds = rest == 0 ? all / count : 1;
  for (std::uint32_t epoch = 0; epoch < (rest == 0 ? 1 : all / count); ++epoch) visits.add_to(trial, count);
  if (rest > 0) visits.add_to(trial, rest);
  return trial;
}

/// That the trial computes.
double device_seconds(const SimTrial& trial) {
  double seconds = 0;
  for (const auto& phase : trial.phases)
    for (const auto& task : phase.tasks) seconds += task.compute_s * static_cast<double>(phase.repeats);
  return seconds * static_cast<double>(trial.rounds);
}

/// Of a trial's visit, in whole GFLOP: for keeping trials apart that take as long.
double visit_work(const TrialSetup& setup) {
  double flops = 0;
  const auto& layers = setup.source->description().layers;
  for (std::size_t l = 0; l < layers.size(); ++l)
    flops += (l < setup.source->frozen_layers() ? 1 : 3) * layers[l].forward_flops_per_row;
  return std::ceil(std::max(1.0, flops * setup.train_rows / 1e9));
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
  const bool external = search.method == SearchSpec::Method::external;
  if (external) {
    search.method = SearchSpec::Method::random;
    if (search.trials == 0) search.trials = kStandIns;
  }
  const auto searcher = make_searcher(search, config.space, config.seed);
  std::vector<TrialOrder> orders;
  while (auto order = searcher->ask()) orders.push_back(std::move(*order));
  if (external)  // nobody may take them for those that will be asked for
    for (auto& order : orders) order.trial.id[0] = 'x';
  return orders;
}

Workbench::Workbench(const ExperimentConfig& config, double disk_read_bytes_per_s, double disk_write_bytes_per_s,
                     WorkbenchStart start)
    : config_(config),
      place_(start.place),
      training_(open_training_data(config, place_)),
      valid_(open_validation_data(config, config.data.valid, "data.valid", config.data.valid_rows, place_)),
      training_rows_(config.search, config.seed, training_.cut, training_.groups),
      orders_(std::move(start.orders)) {
  check_alike(*training_.data, *valid_.data);
  config_.search.row_groups = row_groups_of(training_, valid_);
  config_.data.partitions = training_.partitions;
  if (training_.cut) rotations_.emplace(config.seed, training_.partitions, std::move(start.rotations));
  if (start.trials)
    specs_ = *std::move(start.trials);
  else
    for (auto& order : orders_before_scores(config_)) specs_.push_back(std::move(order.trial));
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
  if (training_.partitions == 0) return;
  // Refuses more of them than rows.
  for (const auto& spec : specs_) training_rows_.partitions(train_rows(spec), training_.partitions);
}

TrainRows Workbench::train_rows(const TrialSpec& spec) const {
  const std::uint32_t wanted = resolve_trial(config_, spec).rows;
  if (wanted != 0 && training_.cut)
    fail(ExitCode::usage, "train.rows: ", training_.cut->folder(), " was cut, and trials use all its rows; write all");
  if (wanted > training_.rows)
    fail(ExitCode::usage, "train.rows: ", wanted, " rows are asked for and data.train_rows grants ", training_.rows);
  return train_rows_of(spec, wanted == 0 ? training_.rows : wanted);
}

void Workbench::decide_partitions(double step_s, std::uint32_t batch_size) {
  if (config_.data.partitions > 0) return;
  std::uint32_t rows_min = training_.rows;
  for (const auto& spec : specs_) rows_min = std::min(rows_min, training_rows_.count(train_rows(spec)));
  const double seconds = step_s * static_cast<double>(batch_count(rows_max(), batch_size));
  // A rung ends with a sub-epoch.
  const std::uint32_t parts = config_.search.min_epochs.parts();
  const auto wanted = static_cast<std::uint32_t>(std::clamp(std::ceil(seconds / kVisitSeconds), 1.0, double(rows_min)));
  const std::uint32_t up = (wanted + parts - 1) / parts * parts;
  config_.data.partitions = std::max(parts, up > rows_min ? up - parts : up);
}

std::uint32_t Workbench::rows_max() const {
  if (!training_.groups) return training_.rows;
  std::size_t most = 0;
  for (const auto& group : training_.groups->groups()) most = std::max(most, group.rows.size());
  return static_cast<std::uint32_t>(most);
}

std::shared_ptr<const ModelSource> Workbench::source(const ModelSpec& spec) {
  for (const auto& [known, source] : sources_)
    if (known == spec) return source;
  const DataShape shape = data_shape(*training_.data, spec.task);
  data_shape(*valid_.data, spec.task);  // it may have columns that the training data lack
  auto made = std::make_shared<const ModelSource>(spec, shape);
  check_columns(*training_.data, training_.rows, *made, shape);
  check_columns(*valid_.data, valid_.rows, *made, shape);
  sources_.emplace_back(spec, made);
  return made;
}

void Workbench::judge_on_test(const TrialSpec& spec, TrialSetup& setup, const std::string& folder) const {
  const ValidationData test = open_validation_data(config_, folder, "data.test", 0, {});
  check_alike(*training_.data, *test.data);
  const ModelTask task = setup.source->spec().task;
  data_shape(*test.data, task);
  check_columns(*test.data, test.rows, *setup.source, data_shape(*training_.data, task));
  setup.valid_data = test.data;
  setup.valid_rows = test.rows;
  setup.valid_partitions = test.of(spec);
}

TrialSetup Workbench::describe(const TrialSpec& spec, std::uint32_t number) {
  const TrialConfig trial = resolve_trial(config_, spec);
  TrialSetup setup;
  setup.number = number;
  setup.id = spec.id;
  setup.seed = spec.seed;
  setup.source = source(trial.model);
  setup.train_data = training_.data;
  setup.valid_data = valid_.data;
  setup.train_rows = training_.rows;
  setup.valid_rows = valid_.rows;
  setup.valid_partitions = valid_.of(spec);
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

Workbench::PlannedTrial Workbench::plan(const TrialSpec& spec) {
  PlannedTrial trial{spec, describe(spec, spec.index), {}, planner_->cpu_workspace()};
  TrialSetup& setup = trial.setup;
  begin_where_planned(spec, setup);
  trial.forecast = planner_->plan(setup);
  decide_partitions(setup.plan.step_s, setup.train.batch_size);
  setup.partitions = training_rows_.partitions(train_rows(spec), config_.data.partitions);
  give_order(spec, setup);
  std::uint64_t steps = 0;
  for (std::uint32_t p = 0; p < setup.partitions->count(); ++p)
    steps += batch_count(setup.partitions->rows(p), setup.train.batch_size);
  setup.total_steps = steps * setup.train.epochs;
  return trial;
}

bool Workbench::rotate(const TrialSpec& spec) {
  return rotations_ && rotations_->give({{spec.id, visit_work(describe(spec, spec.index))}});
}

void Workbench::rotate_all() {
  if (!rotations_) return;
  std::vector<TrialRotations::Trial> trials;
  for (const auto& spec : specs_) trials.push_back({spec.id, visit_work(describe(spec, spec.index))});
  rotations_->give(trials);
}

/// The trials of one seed number visit data that were not cut in the same order.
std::uint32_t Workbench::rotation_of(const TrialSpec& spec) {
  if (!rotations_) return seed_rotation(training_rows_.order_seed(train_rows(spec)), config_.data.partitions);
  rotate(spec);
  return rotations_->of(spec.id);
}

void Workbench::give_order(const TrialSpec& spec, TrialSetup& setup) {
  setup.rotation = rotation_of(spec);
  const auto known = orders_.find(spec.id);
  if (known == orders_.end()) return;
  setup.listed_visits = std::make_shared<const std::vector<std::uint32_t>>(
      listed_visits(known->second, setup.rotation, setup.partitions->to_visit(), "the record of " + spec.id));
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

PlanView Workbench::plan_all(const std::map<std::string, std::uint32_t>& visits_done) {
  rotate_all();
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
      return first.plan == setups[i].plan && first.source == setups[i].source &&
             first.train.data_parallel == setups[i].train.data_parallel;
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
  view.group_by = config_.data.group_by;
  view.row_groups = describe_row_groups();
  if (!sharing_note_.empty()) view.notes.push_back(sharing_note_);
  auto simulated = simulated_trials(setups, forecasts);
  const auto epochs = epochs_of(setups);
  for (std::size_t i = 0; i < setups.size(); ++i)
    view.times.push_back({setups[i].id, epochs[i], device_seconds(simulated[i])});
  view.predicted_s = predict_seconds(std::move(simulated), setups.front().limits, view.tiers.active_trials) +
                     sharing_.materialise_s() / planner_->device_count();
  if (place_.several()) {
    view.predicted_s /= place_.workers;
    view.notes.push_back(text::cat("Memory is that of each of ", place_.workers,
                                   " workers; the time is that of one, divided among them."));
  }
  if (config_.teams.degree_max > 1) view.notes.push_back(describe_teams());
  if (config_.search.method == SearchSpec::Method::external)
    view.notes.push_back(
        "Trials will be asked for from outside (`hopyard ask`): planned are as many, drawn at random from what is "
        "searched.");
  view.notes.push_back(
      "Times are predicted from each kind of layer, measured on as many threads at a time as there are devices, and "
      "count no wait for commits beyond their bytes.");
  return view;
}

std::vector<PlanRowGroup> Workbench::describe_row_groups() const {
  std::vector<PlanRowGroup> all;
  for (const auto& group : config_.search.row_groups) {
    all.push_back({group.value, group.train_rows, group.valid_rows, std::nullopt});
    if (training_.cut) all.back().partition = training_.groups->find(group.value)->partition;
  }
  return all;
}

std::string Workbench::describe_teams() const {
  if (place_.several()) {
    const Placement placement =
        placement_of(config_, training_.all_partitions(), place_.workers, training_.cut != nullptr);
    return text::cat("Who trains a step together is decided visit by visit, among the ", placement.homes[0].size(),
                     " workers that have its partition.");
  }
  if (config_.teams.exact)
    return text::cat("Here is one worker, which trains alone what up to ", config_.teams.degree_max,
                     " may train together, to the same bits.");
  return text::cat("What several workers train together takes as many: tools/workers ", config_.teams.degree_max,
                   " CONFIG.yaml.");
}

PlanGroup Workbench::describe_group(const TrialSetup& setup, const TrialForecast& forecast) const {
  PlanGroup group;
  const auto& description = setup.source->description();
  group.title = text::cat(description.family, ", ", training_text(setup.source->spec()));
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
  const DataParallelSpec& team = setup.train.data_parallel;
  group.degree = team.degree;
  if (team.degree > 1) {
    group.sum = to_string(team.sum);
    group.step_bytes = step_bytes(team.degree, summed_bytes(setup));
  }
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
    const std::uint64_t visits = epochs[i].visits(config_.data.partitions);
    const std::uint64_t steps =
        setups[i].total_steps * visits / (std::uint64_t{setups[i].train.epochs} * config_.data.partitions);
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
  tiers.disk_need += sharing_.disk_bytes();
  for (const auto& prefix : sharing_.prefixes)
    for (const auto& depth : prefix.depths) tiers.disk_written += depth.disk_bytes;
  tiers.disk_need += largest;  // a commit writes the new version before it drops the old one
  if (tiers.disk_need > tiers.disk_budget)
    fail(ExitCode::capacity, "resources.disk.capacity: the states of ", setups.size(), " trials and one commit need ",
         tiers.disk_need, " bytes (", text::format_bytes(tiers.disk_need), ") and ", tiers.disk_budget, " (",
         text::format_bytes(tiers.disk_budget), ") are granted; raise it or run fewer trials");
  return tiers;
}

std::vector<Epochs> Workbench::epochs_of(const std::vector<TrialSetup>& setups) const {
  if (auto expected = epochs_expected(config_.search, setups.size()); expected && expected->size() == setups.size())
    return *std::move(expected);
  std::vector<Epochs> epochs;
  for (const auto& setup : setups) epochs.push_back(setup.train.epochs);
  return epochs;
}

std::vector<SimTrial> Workbench::simulated_trials(const std::vector<TrialSetup>& setups,
                                                  const std::vector<TrialForecast>& forecasts) const {
  const auto epochs = epochs_of(setups);
  std::vector<SimTrial> trials;
  for (std::size_t i = 0; i < setups.size(); ++i) {
    const double commit_s = static_cast<double>(forecasts[i].state) / planner_->inputs().disk_write_bytes_per_s;
    trials.push_back(simulated(setups[i], epochs[i], commit_s));
  }
  return trials;
}

double Workbench::predict_seconds(std::vector<SimTrial> trials, const DeviceLimits& device,
                                  std::uint32_t active) const {
  SimOptions options;
  options.devices = planner_->device_count();
  if (device.load_bytes_per_s > 0) options.memory = usable_memory(device.memory);
  options.scheduler = config_.execute.scheduler.value_or(SchedulerKind::lrtf);
  options.seed = config_.seed;
  options.double_buffer = config_.execute.double_buffer;
  options.interleave = config_.execute.interleave;
  options.lookahead = config_.execute.lookahead;
  options.active_trials = active;
  return estimate_makespan(std::move(trials), options, kSimulatedTasksMax);
}

}  // namespace hopyard
