#include "runtime/workbench.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"
#include "cuda/cuda_devices.h"
#include "cuda/nccl_transport.h"
#include "device/tf32.h"
#include "pipeline/batches.h"
#include "pipeline/simulator.h"
#include "runtime/simulated_trial.h"
#include "spill/disk_tier.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kStandIns = 8;  // planned where others will ask for trials, and nobody says how many
constexpr double kVisitSeconds = 60;    // what a sub-epoch lasts when the config does not say how many partitions
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

/// With what only the machine knows of cuda devices filled in.
std::vector<DeviceSpec> resolved_devices(std::vector<DeviceSpec> devices, std::uint32_t local_rank) {
  if (devices.front().type != DeviceSpec::Type::cuda) return devices;  // all are of one type
  std::uint32_t card = first_card_of(local_rank, device_count(devices), cuda_card_count());
  for (auto& device : devices) {
    device = resolve_cuda_device(device, card);
    card += device.count;
  }
  return devices;
}

void hold_for_links(DeviceSpec& device, Bytes held) {
  const Bytes others = device.overhead;
  device.overhead += held;
  if (device.overhead >= device.memory)
    fail(ExitCode::capacity, "resources.devices: ", device.memory,
         " bytes of the card are granted, and libtorch takes ", others, " of them and workers.links: nccl ", held);
}

}  // namespace

Bytes held_by_links(const ExperimentConfig& config, const WorkerPlace& place) {
  return config.workers.links == WorkersSpec::Links::nccl && place.several() ? kNcclStagingBytes : 0;
}

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
  allow_tf32(config.tf32);  // before anything is measured or trained
  check_alike(*training_.data, *valid_.data);
  config_.search.row_groups = row_groups_of(training_, valid_);
  config_.data.partitions = training_.partitions;
  if (training_.cut) rotations_.emplace(config.seed, training_.partitions, std::move(start.rotations));
  if (start.trials)
    specs_ = *std::move(start.trials);
  else
    for (auto& order : orders_before_scores(config_)) specs_.push_back(std::move(order.trial));
  PlannerInputs inputs;
  inputs.devices = config_.devices = resolved_devices(config.devices, place_.local_rank);
  if (const DeviceSpec& first = inputs.devices.front(); first.type == DeviceSpec::Type::cuda)
    inputs.measure = [first] { return make_cuda_device(first, first.first_card, nullptr); };
  inputs.host_memory = config.host_memory;
  inputs.disk_capacity = config.disk_capacity;
  inputs.staging = kIoThreads * kDiskStagingBytes;
  if (const Bytes held = held_by_links(config, place_); held > 0) {
    inputs.staging += held;
    hold_for_links(inputs.devices.front(), held);
    config_.devices = inputs.devices;
  }
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
             first.train.data_parallel == setups[i].train.data_parallel &&
             first.train.precision == setups[i].train.precision && first.train.update == setups[i].train.update;
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
  const WrittenAnew anew = written_anew(forecasts, view.tiers.active_trials);
  view.predicted_peak_disk = view.tiers.disk_need - anew.least + anew.most;
  view.sharing = describe_sharing(setups);
  view.group_by = config_.data.group_by;
  view.row_groups = describe_row_groups();
  if (!sharing_note_.empty()) view.notes.push_back(sharing_note_);
  if (const auto warning = disk_warning(view)) view.notes.push_back(*warning);
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
    trials.push_back(simulated_trial(setups[i], epochs[i], commit_s));
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
  options.choose_early = planner_->inputs().devices.front().type != DeviceSpec::Type::cuda;
  options.active_trials = active;
  return estimate_makespan(std::move(trials), options, kSimulatedTasksMax);
}

}  // namespace hopyard
