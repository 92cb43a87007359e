#include "experiment/experiment.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/failure.h"

namespace hopyard {

namespace {

constexpr double kWaitSeconds = 0.1;

std::string skipped_text(const VisitCommit& commit) {
  return commit.skipped_steps == 0 ? "" : text::cat(", ", commit.skipped_steps, " of its steps skipped");
}

}  // namespace

ExperimentEnd Experiment::run() {
  parts_.trainer.open(parts_.journal);
  take_up_journal();
  double last_progress = 0;
  while (true) {
    if (parts_.interrupted) {
      parts_.trainer.finish();
      return ExperimentEnd::interrupted;
    }
    if (!paused_ || search_.requests() != nullptr) ask();
    if (parts_.requests) parts_.requests(*this);
    apply_operations();
    parts_.trainer.start_visits(entries_, paused_);
    if (all_ended() && search_.finished()) break;
    if (monotonic_seconds() - last_progress >= kProgressSeconds) {
      last_progress = monotonic_seconds();
      parts_.progress();
    }
    for (auto& one : parts_.trainer.wait(kWaitSeconds)) ended(std::move(one));
  }
  parts_.trainer.finish();
  parts_.progress();
  return ExperimentEnd::finished;
}

void Experiment::take_stops() {
  while (const auto one = search_.take_stop()) stop(*one);
}

void Experiment::ask() {
  take_stops();
  auto working = static_cast<std::uint32_t>(std::count_if(
      entries_.begin(), entries_.end(), [](const auto& entry) { return entry->has_work() && !entry->beside_search; }));
  const bool bounded = search_.reacts() && search_.requests() == nullptr;
  for (; !bounded || working < parts_.orders_max; ++working) {
    const auto order = search_.ask();
    if (!order) break;
    accept(*order);
    fail_if_refused(entry_of(order->trial.id));
  }
  // What a person holds, or what waits for a trial that a person holds, goes on some time.
  const auto open = [](const auto& entry) { return entry->wanted(); };
  if (working > 0 || std::any_of(entries_.begin(), entries_.end(), open)) return;
  if (!search_.finished() && search_.requests() != nullptr) return;  // it waits for whoever asks
  require(search_.finished(), "the search waits for scores while no trial trains");
  for (auto& entry : entries_)
    if (!entry->ended()) close(*entry, TrialState::stopped, "the search ended without it");
}

void Experiment::accept(const TrialOrder& order) {
  if (find_entry(order.trial.id) == nullptr) {
    parts_.journal.add_trial(order.trial);
    parts_.trainer.want(add(order.trial, order.trial.settings));
  }
  Entry& entry = entry_of(order.trial.id);
  require(entry.status.spec == order.trial, "the search asks for trial ", order.trial.id,
          " with other settings than the journal has");
  const Epochs epochs = std::min(order.until_epoch.value_or(entry.status.epochs), Epochs(entry.status.epochs));
  entry.visits_wanted = epochs.visits(entry.status.visits_per_epoch);
  if (!entry.waits_for_parent() || !entry.refusal.empty()) return;
  if (may_begin_at_parent(entry))
    begin_at_parent(entry);
  else
    entry.refusal = text::cat("it was to begin after epoch ", order.trial.lineage->epochs, " of ",
                              order.trial.lineage->parent, ", which a person let go on");
}

bool Experiment::may_begin_at_parent(const Entry& clone) {
  const Lineage& lineage = *clone.status.spec.lineage;
  const Entry& parent = entry_of(lineage.parent);
  return parent.status.visits_done == lineage.epochs * clone.status.visits_per_epoch && !parent.under_way &&
         !parent.digest.empty();
}

/// From here on the clone's record names its parent's versions, so that neither a crash nor the parent drops them.
void Experiment::begin_at_parent(Entry& clone) {
  const Lineage& lineage = *clone.status.spec.lineage;
  const Entry& parent = entry_of(lineage.parent);
  const std::uint32_t per_epoch = clone.status.visits_per_epoch;
  parts_.trainer.share(parent, clone);
  VisitCommit start;
  start.trial = clone.status.spec.id;
  start.epoch = lineage.epochs - 1;
  start.visit = per_epoch - 1;
  start.partition = clone.partition_after(parent.status.visits_done - 1);
  start.steps = parent.steps;
  start.digest = parent.digest;
  start.state = parent.state;
  parts_.journal.commit(start, {});
  clone.state = parent.state;
  clone.digest = parent.digest;
  clone.steps = parent.steps;
  clone.status.visits_done = parent.status.visits_done;
  clone.status.metric = parent.status.metric;
  parts_.event(text::cat(clone.status.spec.id, ": begins where ", lineage.parent, " was after epoch ", lineage.epochs));
}

void Experiment::fail_if_refused(Entry& entry) {
  if (!entry.refusal.empty() && !entry.ended()) end(entry, TrialState::failed, entry.refusal);
}

void Experiment::stop(const TrialStop& one) {
  Entry& entry = entry_of(one.trial);
  if (entry.ended() || was_resumed(one.trial)) return;  // before a crash
  require(!entry.under_way, "trial ", one.trial, " is stopped in the middle of a visit");
  parts_.trainer.release(entry);
  close(entry, TrialState::stopped, one.reason);
}

Experiment::Entry* Experiment::find_entry(const std::string& trial) {
  const auto found = by_id_.find(trial);
  return found == by_id_.end() ? nullptr : found->second;
}

Experiment::Entry& Experiment::entry_of(const std::string& trial) {
  Entry* entry = find_entry(trial);
  require(entry != nullptr, "the experiment has no trial ", trial);
  return *entry;
}

Experiment::Entry& Experiment::add(const TrialSpec& spec, std::vector<Setting> settings) {
  require(numbers_.insert(spec.index).second, "trial ", spec.id, " comes as number ", spec.index, ", which is taken");
  auto entry = std::make_unique<Entry>();
  entry->status.spec = spec;
  entry->status.settings = std::move(settings);
  entry->beside_search = spec.index >= kFirstCloneIndex;
  try {
    TrialSpec in_force = spec;
    in_force.settings = entry->status.settings;
    entry->setup = parts_.resolve(in_force, spec.index);
  } catch (const Failure& refusal) {
    // What a search comes to ask for later than at the start was not planned beforehand.
    const bool of_the_trial = refusal.code() == ExitCode::capacity || refusal.code() == ExitCode::usage;
    if (!(search_.reacts() || entry->beside_search) || !of_the_trial) throw;
    entry->refusal = refusal.what();
    entry->setup.number = spec.index;
  }
  entry->status.epochs = entry->setup.train.epochs;
  entry->status.visits_per_epoch = parts_.partitions;
  entry->status.predicted_s = entry->setup.plan.compute_s * static_cast<double>(entry->setup.total_steps);
  if (entry->beside_search) entry->visits_wanted = entry->visits_total();
  by_id_[spec.id] = entry.get();
  entries_.push_back(std::move(entry));
  return *entries_.back();
}

void Experiment::ended(VisitEnd visit) {
  Entry& entry = *visit.trial;
  if (visit.commit) return committed(entry, *visit.commit);
  if (visit.did_not_fit && !search_.reacts())
    parts_.journal.put_fact(unfit_fact(entry.status.spec.id), parts_.resources);
  end(entry, TrialState::failed, visit.failure);
}

void Experiment::committed(Entry& entry, const VisitCommit& commit) {
  entry.state = commit.state;
  entry.digest = commit.digest;
  entry.steps = commit.steps;
  entry.status.skipped_steps += commit.skipped_steps;
  entry.loss_sum = commit.loss_sum;
  entry.loss_items = commit.loss_items;
  entry.visited.push_back(commit.partition);
  if (++entry.status.visits_done % entry.status.visits_per_epoch == 0) entry.visited.clear();
  if (commit.score) {
    const TrialScore& score = *commit.score;
    entry.status.metric = score.metric;
    if (entry.at_epoch_end()) entry.loss_sum = entry.loss_items = 0;
    if (!entry.beside_search) search_.tell(score);
    parts_.event(text::cat(entry.status.spec.id, ": epoch ", score.epoch, " of ", entry.status.epochs, ", train loss ",
                           text::format_number(score.train_loss, 4), ", valid loss ",
                           text::format_number(score.valid_loss, 4), ", ", parts_.metric, " ",
                           text::format_number(score.metric, 4), skipped_text(commit)));
  } else {
    parts_.event(text::cat(entry.status.spec.id, ": epoch ", commit.epoch + 1, ", visit ", commit.visit + 1, " of ",
                           entry.status.visits_per_epoch, ", train loss ",
                           text::format_number(commit.loss_sum / std::max(1.0, commit.loss_items), 4),
                           skipped_text(commit)));
  }
  if (entry.status.visits_done < entry.visits_total()) return;
  parts_.trainer.release(entry);
  end(entry, TrialState::finished, "");
}

void Experiment::end(Entry& entry, TrialState state, const std::string& reason) {
  close(entry, state, reason);
  if (!entry.beside_search) search_.tell_end(entry.status.spec.id, state);
}

void Experiment::close(Entry& entry, TrialState state, const std::string& reason) {
  entry.status.state = state;
  entry.status.reason = reason;
  parts_.trainer.let_go(entry);
  parts_.journal.end_trial(entry.status.spec.id, state, reason);
  parts_.event(text::cat(entry.status.spec.id, ": ", to_string(state), reason.empty() ? "" : ": ", reason));
}

bool Experiment::all_ended() const {
  return std::all_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry->ended(); });
}

std::vector<TrialStatus> Experiment::status() const {
  std::vector<TrialStatus> all;
  const auto active = parts_.trainer.active();
  for (const auto& entry : entries_) {
    all.push_back(entry->status);
    for (const auto& report : active)
      if (report.trial == entry->setup.number) {
        all.back().visit_fraction = report.visit_fraction;
        if (report.loss > 0) all.back().loss = report.loss;
      }
  }
  return all;
}

}  // namespace hopyard
