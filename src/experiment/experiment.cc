#include "experiment/experiment.h"

#include <algorithm>
#include <set>

#include "base/clock.h"
#include "base/failure.h"

namespace hopyard {

namespace {

constexpr double kWaitSeconds = 0.1;

constexpr const char* kNothing = "null";

/// The fact that says under which resources a trial did not fit.
std::string unfit_fact(const std::string& trial) { return "did not fit: " + trial; }

enum class OwnFault { none, diverged, does_not_fit };
OwnFault own_fault(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Diverged&) {
    return OwnFault::diverged;
  } catch (const ShardDoesNotFit&) {
    return OwnFault::does_not_fit;
  } catch (...) {
    return OwnFault::none;
  }
}

}  // namespace

bool may_fit_now(const Journal& journal, const TrialRecord& record, const std::string& resources) {
  if (record.state != TrialState::failed) return false;
  const auto unfit_under = journal.fact(unfit_fact(record.spec.id));
  return unfit_under && *unfit_under != kNothing && *unfit_under != resources;
}

bool has_work(const Journal& journal, const std::string& resources) {
  const auto records = journal.trials();
  return std::any_of(records.begin(), records.end(), [&](const TrialRecord& record) {
    return record.state <= TrialState::active || may_fit_now(journal, record, resources);
  });
}

void forget_uncommitted(const Journal& journal, DiskTier& disk) {
  std::set<Version> named;
  for (const auto& record : journal.trials())
    if (record.last)
      for (const auto& blob : record.last->state) named.insert(blob.version);
  disk.keep_only(named);
}

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
    ask();
    go_on();
    materialiser_.get_on(feature_demands(), active_count() + committer_->pending() == 0);
    admit();
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

void Experiment::take_up_journal() {
  const auto records = parts_.journal.trials();
  for (const auto& record : records) take_up(record);
  share_versions();
  search_.take_up(
      records, [this](const TrialOrder& order) { accept(order); }, [this](const TrialStop& one) { stop(one); });
  for (auto& entry : entries_) fail_if_refused(*entry);
  for (auto& entry : entries_)
    if (!entry->ended() && entry->status.visits_done >= entry->status.epochs * entry->status.visits_per_epoch)
      end(*entry, TrialState::finished, "");
    else if (!entry->ended())
      materialiser_.want(entry->setup);
}

void Experiment::take_up(const TrialRecord& known) {
  TrialRecord record = known;
  // A search that reacts has gone on without a trial that did not fit.
  if (!search_.reacts() && may_fit_now(parts_.journal, record, parts_.resources)) take_back(record);
  Entry& entry = add(record.spec);
  entry.status.state = record.state == TrialState::active ? TrialState::waiting : record.state;
  entry.status.reason = record.reason;
  if (record.last) {
    const auto& last = *record.last;
    entry.state = last.state;
    entry.digest = last.digest;
    entry.steps = last.steps;
    entry.status.visits_done = last.epoch * parts_.partitions + last.visit + 1;
    if (!last.score) entry.loss_sum = last.loss_sum, entry.loss_items = last.loss_items;
    if (last.loss_items > 0) entry.status.loss = last.loss_sum / last.loss_items;
  }
  if (!record.scores.empty()) entry.status.metric = record.scores.back().metric;
}

/// A clone and its parent may both begin at the same versions, and each drops them when it has newer ones.
void Experiment::share_versions() const {
  std::map<std::uint64_t, BlobVersion> seen;
  for (const auto& entry : entries_) {
    std::map<std::uint64_t, BlobVersion> own;
    for (const auto& blob : entry->state) own[blob.version] = blob;
    for (const auto& [version, blob] : own)
      if (!seen.emplace(version, blob).second) parts_.disk.share(std::span(&blob, 1));
  }
}

void Experiment::take_back(TrialRecord& record) {
  parts_.journal.end_trial(record.spec.id, TrialState::waiting, "");
  parts_.journal.put_fact(unfit_fact(record.spec.id), kNothing);
  record.state = TrialState::waiting;
  record.reason.clear();
}

void Experiment::ask() {
  while (const auto one = search_.take_stop()) stop(*one);
  auto working = static_cast<std::uint32_t>(
      std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry->has_work(); }));
  for (; !search_.reacts() || working < parts_.orders_max; ++working) {
    const auto order = search_.ask();
    if (!order) break;
    accept(*order);
    fail_if_refused(entry_of(order->trial.id));
  }
  if (working > 0) return;
  require(search_.finished(), "the search waits for scores while no trial trains");
  for (auto& entry : entries_)
    if (!entry->ended()) close(*entry, TrialState::stopped, "the search ended without it");
}

void Experiment::accept(const TrialOrder& order) {
  if (order.trial.index == entries_.size()) {
    parts_.journal.add_trial(order.trial);
    materialiser_.want(add(order.trial).setup);
  }
  Entry& entry = entry_of(order.trial.id);
  require(entry.status.spec == order.trial, "the search asks for trial ", order.trial.id,
          " with other settings than the journal has");
  const std::uint32_t epochs = std::min(order.until_epoch.value_or(entry.status.epochs), entry.status.epochs);
  entry.visits_wanted = epochs * entry.status.visits_per_epoch;
  const bool starts = entry.state.empty() && entry.refusal.empty() && !entry.ended();
  if (order.trial.lineage && starts) begin_at_parent(entry);
}

/// From here on the clone's record names its parent's versions, so that neither a crash nor the parent drops them.
void Experiment::begin_at_parent(Entry& clone) {
  const Lineage& lineage = *clone.status.spec.lineage;
  const Entry& parent = entry_of(lineage.parent);
  const std::uint32_t per_epoch = clone.status.visits_per_epoch;
  require(parent.status.visits_done == lineage.epochs * per_epoch && !parent.under_way && !parent.state.empty(),
          "trial ", clone.status.spec.id, " is to begin after epoch ", lineage.epochs, " of ", lineage.parent,
          ", which has ", parent.status.visits_done, " visits behind it");
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
  if (entry.ended()) return;  // before a crash
  require(!entry.under_way, "trial ", one.trial, " is stopped in the middle of a visit");
  entry.run.reset();
  close(entry, TrialState::stopped, one.reason);
}

Experiment::Entry& Experiment::entry_of(const std::string& trial) {
  const auto found = indexes_.find(trial);
  require(found != indexes_.end(), "the experiment has no trial ", trial);
  return *entries_[found->second];
}

Experiment::Entry& Experiment::add(const TrialSpec& spec) {
  require(spec.index == entries_.size(), "trial ", spec.id, " comes as number ", entries_.size());
  auto entry = std::make_unique<Entry>();
  entry->status.spec = spec;
  try {
    entry->setup = parts_.resolve(spec, spec.index);
  } catch (const Failure& refusal) {
    // What a search comes to ask for later than at the start was not planned beforehand.
    const bool of_the_trial = refusal.code() == ExitCode::capacity || refusal.code() == ExitCode::usage;
    if (!search_.reacts() || !of_the_trial) throw;
    entry->refusal = refusal.what();
    entry->setup.number = spec.index;
  }
  entry->status.epochs = entry->setup.train.epochs;
  entry->status.visits_per_epoch = parts_.partitions;
  entry->status.predicted_s = entry->setup.plan.compute_s * static_cast<double>(entry->setup.total_steps);
  entries_.push_back(std::move(entry));
  indexes_[spec.id] = spec.index;
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
  Entry& entry = *entries_.at(result.trial);
  entry.features.clear();
  if (result.error) {
    const OwnFault fault = own_fault(result.error);
    if (fault == OwnFault::none) std::rethrow_exception(result.error);
    entry.run.reset();
    entry.under_way = false;
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
  committer_->submit(std::move(request));
  parts_.executor.set_committing(committer_->pending());
}

void Experiment::committed(CommitDone done) {
  Entry& entry = *entries_.at(done.trial);
  if (done.error) std::rethrow_exception(done.error);  // a disk or journal that fails ends the run; it can be resumed
  entry.state = done.commit.state;
  entry.digest = done.commit.digest;
  entry.under_way = false;
  ++entry.status.visits_done;
  if (done.commit.score) {
    const TrialScore& score = *done.commit.score;
    entry.status.metric = score.metric;
    entry.loss_sum = entry.loss_items = 0;
    search_.tell(score);
    parts_.event(text::cat(entry.status.spec.id, ": epoch ", score.epoch, " of ", entry.status.epochs, ", train loss ",
                           text::format_number(score.train_loss, 4), ", valid loss ",
                           text::format_number(score.valid_loss, 4), ", ", parts_.metric, " ",
                           text::format_number(score.metric, 4)));
  } else {
    parts_.event(text::cat(entry.status.spec.id, ": epoch ", done.commit.epoch + 1, ", visit ", done.commit.visit + 1,
                           " of ", entry.status.visits_per_epoch, ", train loss ",
                           text::format_number(done.commit.loss_sum / std::max(1.0, done.commit.loss_items), 4)));
  }
  if (entry.status.visits_done < entry.status.epochs * entry.status.visits_per_epoch) return;
  entry.run.reset();
  end(entry, TrialState::finished, "");
}

/// Runs whose visit is committed train the next one, or give back what they hold: the trial pauses, or the active set
/// goes round and admit() brings in those that are behind.
void Experiment::go_on() {
  for (auto& entry : entries_) {
    if (entry->run == nullptr || entry->under_way) continue;
    if (entry->has_work() && !others_are_behind(*entry)) {
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
  search_.tell_end(entry.status.spec.id, state);
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
