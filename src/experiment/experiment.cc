#include "experiment/experiment.h"

#include <algorithm>
#include <utility>

#include "base/clock.h"
#include "base/failure.h"

namespace hopyard {

namespace {

constexpr double kWaitSeconds = 0.1;

enum class OwnFault { none, diverged, does_not_fit, abandoned };
OwnFault own_fault(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Diverged&) {
    return OwnFault::diverged;
  } catch (const ShardDoesNotFit&) {
    return OwnFault::does_not_fit;
  } catch (const Abandoned&) {
    return OwnFault::abandoned;
  } catch (...) {
    return OwnFault::none;
  }
}

}  // namespace

std::string describe(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "an error of unknown kind";
  }
}

ExperimentEnd Experiment::run() {
  committer_ = std::make_unique<Committer>(parts_.journal, parts_.keep_outcomes, [this] { parts_.executor.nudge(); });
  take_up_journal();
  double last_progress = 0;
  while (true) {
    if (parts_.interrupted) {
      committer_.reset();  // commits under way are finished
      return ExperimentEnd::interrupted;
    }
    if (!paused_) ask();
    if (parts_.requests) parts_.requests(*this);
    apply_operations();
    go_on();
    if (!paused_) {
      materialiser_.get_on(feature_demands(), active_count() + committer_->pending() == 0);
      admit();
    }
    if (all_ended() && search_.finished()) break;
    if (monotonic_seconds() - last_progress >= kProgressSeconds) {
      last_progress = monotonic_seconds();
      parts_.progress();
    }
    if (auto result = parts_.executor.wait_finished(kWaitSeconds)) visit_ended(std::move(*result));
    while (auto done = committer_->take()) committed(std::move(*done));
    parts_.executor.set_committing(committer_->pending());
  }
  committer_.reset();
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
  for (; !search_.reacts() || working < parts_.orders_max; ++working) {
    const auto order = search_.ask();
    if (!order) break;
    accept(*order);
    fail_if_refused(entry_of(order->trial.id));
  }
  // What a person holds, or what waits for a trial that a person holds, goes on some time.
  const auto open = [](const auto& entry) { return entry->wanted(); };
  if (working > 0 || std::any_of(entries_.begin(), entries_.end(), open)) return;
  require(search_.finished(), "the search waits for scores while no trial trains");
  for (auto& entry : entries_)
    if (!entry->ended()) close(*entry, TrialState::stopped, "the search ended without it");
}

void Experiment::accept(const TrialOrder& order) {
  if (find_entry(order.trial.id) == nullptr) {
    parts_.journal.add_trial(order.trial);
    materialiser_.want(add(order.trial, order.trial.settings).setup);
  }
  Entry& entry = entry_of(order.trial.id);
  require(entry.status.spec == order.trial, "the search asks for trial ", order.trial.id,
          " with other settings than the journal has");
  const std::uint32_t epochs = std::min(order.until_epoch.value_or(entry.status.epochs), entry.status.epochs);
  entry.visits_wanted = epochs * entry.status.visits_per_epoch;
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
         !parent.state.empty();
}

/// From here on the clone's record names its parent's versions, so that neither a crash nor the parent drops them.
void Experiment::begin_at_parent(Entry& clone) {
  const Lineage& lineage = *clone.status.spec.lineage;
  const Entry& parent = entry_of(lineage.parent);
  const std::uint32_t per_epoch = clone.status.visits_per_epoch;
  parts_.disk.share(parent.state);
  VisitCommit start;
  start.trial = clone.status.spec.id;
  start.epoch = lineage.epochs - 1;
  start.visit = per_epoch - 1;
  start.partition = partition_of(clone, parent.status.visits_done - 1);
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
  entry.run.reset();
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
  require(!by_number_.contains(spec.index), "trial ", spec.id, " comes as number ", spec.index, ", which is taken");
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
  by_id_[spec.id] = by_number_[spec.index] = entry.get();
  entries_.push_back(std::move(entry));
  return *entries_.back();
}

void Experiment::start_visit(Entry& entry) {
  const std::uint32_t per_epoch = entry.status.visits_per_epoch;
  Visit visit;
  visit.epoch = entry.status.visits_done / per_epoch;
  visit.index = entry.status.visits_done % per_epoch;
  visit.partition = partition_of(entry, entry.status.visits_done);
  visit.rows = entry.setup.partitions->order(visit.partition, visit.epoch);
  visit.first_step = entry.steps;
  visit.evaluate = visit.index + 1 == per_epoch;
  entry.features = materialiser_.hold(entry.setup, visit.partition);
  entry.under_way = true;
  parts_.executor.start_visit(entry.run, std::move(visit));
}

void Experiment::visit_ended(VisitResult result) {
  if (materialiser_.owns(result.trial)) return materialiser_.ended(std::move(result));
  Entry& entry = *by_number_.at(result.trial);
  entry.features.clear();
  const OwnFault fault = result.error ? own_fault(result.error) : OwnFault::none;
  if (result.error && fault == OwnFault::none) std::rethrow_exception(result.error);
  if (result.error || entry.dropped) {
    entry.run.reset();
    entry.under_way = false;
  }
  if (std::exchange(entry.dropped, false)) return;  // whatever came of it
  if (result.error) {
    if (fault == OwnFault::does_not_fit && !search_.reacts())
      parts_.journal.put_fact(unfit_fact(entry.status.spec.id), parts_.resources);
    end(entry, TrialState::failed, describe(result.error));
    return;
  }
  entry.loss_sum += result.loss_sum;
  entry.loss_items += result.loss_items;
  entry.steps = result.visit.first_step + batch_count(result.visit.rows.size(), entry.setup.train.batch_size);
  CommitRequest request;
  request.trial = result.trial;
  request.run = entry.run;
  request.commit.trial = entry.status.spec.id;
  request.commit.epoch = result.visit.epoch;
  request.commit.visit = result.visit.index;
  request.commit.partition = result.visit.partition;
  request.commit.steps = entry.steps;
  request.commit.loss_sum = entry.loss_sum;
  request.commit.loss_items = entry.loss_items;
  request.commit.seconds = result.busy_s;
  request.curve = std::move(result.curve);
  if (!request.curve.empty()) entry.status.loss = request.curve.back().loss;
  if (result.judged) {
    TrialScore score;
    score.trial = entry.status.spec.id;
    score.epoch = result.visit.epoch + 1;
    score.train_loss = entry.loss_items > 0 ? entry.loss_sum / entry.loss_items : 0;
    score.valid_loss = ModelSource::metric(*result.judged, "valid/loss");
    score.metric = ModelSource::metric(*result.judged, parts_.metric);
    request.commit.score = score;
    request.rows = std::move(result.rows);
  }
  entry.committing = true;
  committer_->submit(std::move(request));
  parts_.executor.set_committing(committer_->pending());
}

void Experiment::committed(CommitDone done) {
  Entry& entry = *by_number_.at(done.trial);
  if (done.error) std::rethrow_exception(done.error);  // a disk or journal that fails ends the run; it can be resumed
  entry.state = done.commit.state;
  entry.digest = done.commit.digest;
  entry.under_way = entry.committing = false;
  ++entry.status.visits_done;
  if (done.commit.score) {
    const TrialScore& score = *done.commit.score;
    entry.status.metric = score.metric;
    entry.loss_sum = entry.loss_items = 0;
    if (!entry.beside_search) search_.tell(score);
    parts_.event(text::cat(entry.status.spec.id, ": epoch ", score.epoch, " of ", entry.status.epochs, ", train loss ",
                           text::format_number(score.train_loss, 4), ", valid loss ",
                           text::format_number(score.valid_loss, 4), ", ", parts_.metric, " ",
                           text::format_number(score.metric, 4)));
  } else {
    parts_.event(text::cat(entry.status.spec.id, ": epoch ", done.commit.epoch + 1, ", visit ", done.commit.visit + 1,
                           " of ", entry.status.visits_per_epoch, ", train loss ",
                           text::format_number(done.commit.loss_sum / std::max(1.0, done.commit.loss_items), 4)));
  }
  if (entry.status.visits_done < entry.visits_total()) return;
  entry.run.reset();
  end(entry, TrialState::finished, "");
}

/// Runs whose visit is committed train the next one, or give back what they hold: the trial pauses, or the active set
/// goes round and admit() brings in those that are behind.
void Experiment::go_on() {
  for (auto& entry : entries_) {
    if (entry->run == nullptr || entry->under_way) continue;
    if (!paused_ && entry->has_work() && !others_are_behind(*entry)) {
      const bool ready = features_ready(*entry);
      if (ready) start_visit(*entry);
      if (ready || !materialiser_.waits()) continue;  // what it waits for is on its way, unless that waits for room
    }
    entry->run.reset();
    entry->status.state = TrialState::waiting;
  }
}

void Experiment::end(Entry& entry, TrialState state, const std::string& reason) {
  close(entry, state, reason);
  if (!entry.beside_search) search_.tell_end(entry.status.spec.id, state);
}

void Experiment::close(Entry& entry, TrialState state, const std::string& reason) {
  entry.status.state = state;
  entry.status.reason = reason;
  materialiser_.let_go(entry.setup);
  parts_.journal.end_trial(entry.status.spec.id, state, reason);
  parts_.event(text::cat(entry.status.spec.id, ": ", to_string(state), reason.empty() ? "" : ": ", reason));
}

bool Experiment::all_ended() const {
  return std::all_of(entries_.begin(), entries_.end(), [](const auto& entry) { return entry->ended(); });
}

std::vector<TrialStatus> Experiment::status() const {
  std::vector<TrialStatus> all;
  const auto active = parts_.executor.active();
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
