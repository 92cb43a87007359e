// What the trials of a sweep share: which may, within what budget, and how `hopyard plan` shows it.
#include <algorithm>
#include <set>

#include "base/failure.h"
#include "pipeline/row_probe.h"
#include "runtime/workbench.h"
#include "spill/host_tier.h"

namespace hopyard {

namespace {

/// One of the trials that begin there.
const TrialSetup& user_of(const SharedDepth& depth, const std::vector<TrialSetup>& setups) {
  return *std::find_if(setups.begin(), setups.end(),
                       [&](const auto& setup) { return setup.id == depth.trials.front(); });
}

}  // namespace

/// A trial that the search asked for later begins where a planned one of the same model and batches does.
void Workbench::begin_where_planned(const TrialSpec& spec, TrialSetup& setup) const {
  const bool is_planned = std::find(specs_.begin(), specs_.end(), spec) != specs_.end();  // its id alone says little
  if (const SharedDepth* planned = is_planned ? sharing_.find(setup.id) : nullptr) {
    setup.first_layer = planned->end_layer;
    setup.feature_tier = planned->tier;
    return;
  }
  for (const auto& known : planned_) {
    if (known.setup.first_layer == 0 || known.setup.source != setup.source ||
        known.setup.train.batch_size != setup.train.batch_size || prefix_key(known.setup) != prefix_key(setup))
      continue;
    if (known.setup.feature_tier != FeatureTier::host && train_rows(known.spec) != train_rows(spec)) continue;
    setup.first_layer = known.setup.first_layer;
    setup.feature_tier = known.setup.feature_tier;
    return;
  }
}

bool Workbench::rows_may_be_shared(const TrialSetup& setup) const {
  const TrainSpec& train = setup.train;
  std::set<std::uint32_t> sizes;
  const auto add = [&](std::uint64_t rows, std::uint32_t batch_size) {
    for (const auto size : partial_sizes(rows, batch_size, train.micro_batch_size)) sizes.insert(size);
  };
  // As training cuts them, and as materialising does: whole data sets, or by partitions.
  for (const auto& [rows, partitions] : training_rows_.made())
    for (std::uint32_t p = 0; p < partitions->count(); ++p)
      for (const auto batch : {train.batch_size, train.micro_batch_size}) add(partitions->rows(p), batch);
  for (const auto& [group, partitions] : valid_.partitions)
    for (const auto p : partitions->to_visit()) add(partitions->rows(p), train.batch_size);
  for (const auto rows : {training_.rows, valid_.rows}) add(rows, train.micro_batch_size);
  return rows_are_independent(*setup.source, *training_.data, setup.source->frozen_layers(), train.micro_batch_size,
                              {sizes.begin(), sizes.end()}, train.precision, planner_->measuring());
}

/// Of a trial whose partitions have no row twice: those that features can come and go by.
void Workbench::note_partitions(const TrialSetup& setup, SharingTrial& trial) const {
  const auto& made = training_rows_.made();
  const auto own =
      std::find_if(made.begin(), made.end(), [&](const auto& one) { return one.second == setup.partitions; });
  trial.order = static_cast<std::uint64_t>(std::distance(made.begin(), own));
  if (training_.cut) return;  // trials visit them in orders of their own
  std::set<std::uint32_t> seen;
  for (const auto& rows : setup.partitions->members()) {
    trial.partitions.push_back(rows.size());
    seen.insert(rows.begin(), rows.end());
  }
  if (seen.size() != setup.partitions->rows()) trial.partitions.clear();
}

std::vector<SharingTrial> Workbench::sharing_trials(const std::map<std::string, std::uint32_t>& visits_done) const {
  std::vector<SharingTrial> trials;
  std::vector<std::string> keys;  // of each trial: its prefix and batch
  std::map<std::string, const TrialSetup*> deepest;
  for (const auto& planned : planned_) {
    const TrialSetup& setup = planned.setup;
    const double visits = double(setup.train.epochs) * double(setup.partitions->to_visit().size());
    const auto done = visits_done.find(setup.id);
    const double left = done == visits_done.end() ? 1 : 1 - std::min(visits, double(done->second)) / visits;
    const double rows = double(setup.train.epochs) * (double(setup.partitions->rows()) + judged_rows(setup));
    trials.push_back(sharing_trial(setup, static_cast<std::uint64_t>(left * rows)));
    note_partitions(setup, trials.back());
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
  if (!may_share_features()) {
    if (has_frozen_layers()) sharing_note_ = "Nothing is shared: each worker has the rows of its own partitions alone.";
    return;
  }
  const auto trials = sharing_trials(visits_done);
  const SharingBudget budget = sharing_budget();
  sharing_ = plan_sharing(trials, budget);
  if (sharing_.prefixes.empty()) {
    sharing_note_ = why_nothing_is_shared(trials, budget);
    return;
  }
  planner_->leave_to_features(sharing_.bytes());
  plan_trials();
}

/// What there is beside trials: on the host as many of the largest as there are devices; on disk the states of all,
/// what may lie there anew as it is now, and what may once features narrow the windows of as many as there are devices.
SharingBudget Workbench::sharing_budget() const {
  Bytes largest = 0, states = 0, largest_state = 0, spilled = 0;
  HostTogether all;
  std::vector<TrialForecast> forecasts;
  for (const auto& trial : planned_) {
    largest = std::max(largest, trial.forecast.host);
    all.add(trial.forecast);
    largest_state = std::max(largest_state, trial.forecast.state);
    states += trial.forecast.disk;
    spilled = std::max(spilled, trial_state_bytes(trial.setup) - committed_bytes(trial.setup));
    forecasts.push_back(trial.forecast);
  }
  const Bytes together = std::min<Bytes>(planner_->device_count(), planned_.size()) * largest + all.frozen();
  const Bytes narrowed = (1 + planner_->device_count()) * largest_state + planner_->device_count() * spilled;
  const Bytes committing = clones_expected(config_.search) * largest_state +
                           std::max(narrowed, written_anew(forecasts, active_trials(forecasts)).most);
  const auto rest = [](Bytes all, Bytes taken) { return all - std::min(all, taken); };
  const auto granted = [](const char* key, const std::optional<Bytes>& wanted, Bytes there, const char* tier) {
    if (!wanted || *wanted <= there) return wanted.value_or(there);
    fail(ExitCode::capacity, "execute.", key, ": ", *wanted, " bytes (", text::format_bytes(*wanted),
         ") are asked for and ", tier, " leaves ", there, " (", text::format_bytes(there),
         ") beside the trials; lower it, write auto, or raise ", tier);
  };
  SharingBudget budget;
  budget.host = granted("sharing_host", config_.execute.sharing_host, rest(planner_->host_for_trials(), together),
                        "resources.host_memory");
  budget.disk = granted("sharing_disk", config_.execute.sharing_disk, rest(config_.disk_capacity, states + committing),
                        "resources.disk.capacity");
  budget.disk_read_bytes_per_s = planner_->inputs().disk_read_bytes_per_s;
  budget.disk_write_bytes_per_s = planner_->inputs().disk_write_bytes_per_s;
  return budget;
}

bool Workbench::has_frozen_layers() const {
  return std::any_of(planned_.begin(), planned_.end(),
                     [](const auto& planned) { return planned.setup.source->frozen_layers() > 0; });
}

std::string Workbench::why_nothing_is_shared(const std::vector<SharingTrial>& trials,
                                             const SharingBudget& budget) const {
  if (!has_frozen_layers()) return "";
  if (std::all_of(trials.begin(), trials.end(), [](const auto& trial) { return trial.frozen.empty(); }))
    return "Nothing is shared: frozen layers have dropout, or give other bits for a row in other company.";
  const auto least = least_host_bytes(trials, budget);
  if (!least) return "Nothing is shared: computing frozen layers again takes less time than keeping what they give.";
  return text::cat(
      "Nothing is shared: the least that is worth it takes ", text::format_bytes(*least), " and ",
      text::format_bytes(budget.host), " of host memory are there beside the trials; raise ",
      "resources.host_memory or execute.sharing_host, or data.partitions, by which features are brought in.");
}

/// Of the host tier, with nothing else in it yet: features, and the layers of the largest run that computes them.
Bytes Workbench::materialising_bytes(const std::vector<TrialSetup>& setups) const {
  const Bytes free = planner_->host_for_trials(), taken = planner_->inputs().host_memory - free;
  Bytes largest = 0;
  for (const auto& prefix : sharing_.prefixes) {
    std::uint32_t from = 0;
    for (const auto& depth : prefix.depths) {
      if (depth.tier != FeatureTier::host) continue;  // their layers are held with their features
      for (const auto& run : materialising_runs(user_of(depth, setups), from, depth.end_layer, free)) {
        largest = std::max(largest, shared_layer_bytes(run));
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
                     to_string(depth.tier), depth.bytes, depth.disk_bytes, depth.saved_flops, depth.saved_s,
                     depth.materialise_flops, depth.materialise_s, depth.disk_s});
    }
  return all;
}

}  // namespace hopyard
