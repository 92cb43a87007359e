#include "experiment/local_trainer.h"

#include <algorithm>
#include <utility>

#include "base/failure.h"
#include "experiment/scoring.h"

namespace hopyard {

namespace {

enum class OwnFault { none, diverged, does_not_fit, parted, abandoned };
OwnFault own_fault(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const Diverged&) {
    return OwnFault::diverged;
  } catch (const ShardDoesNotFit&) {
    return OwnFault::does_not_fit;
  } catch (const ExchangeBroken&) {
    return OwnFault::parted;
  } catch (const Abandoned&) {
    return OwnFault::abandoned;
  } catch (...) {
    return OwnFault::none;
  }
}

/// The sentence of an error, for people.
std::string describe(const std::exception_ptr& error) {
  try {
    std::rethrow_exception(error);
  } catch (const std::exception& known) {
    return known.what();
  } catch (...) {
    return "an error of unknown kind";
  }
}

}  // namespace

void LocalTrainer::open(Journal& journal) {
  open([&journal](const VisitCommit& commit, const std::vector<CurvePoint>& curve) { journal.commit(commit, curve); },
       parts_.keep_outcomes);
}

void LocalTrainer::open(CommitSink sink, KeepOutcomes keep) {
  committer_ = std::make_unique<Committer>(std::move(sink), std::move(keep), [this] { parts_.executor.nudge(); });
}

/// A clone and its parent may both begin at the same versions, and each drops them when it has newer ones.
void LocalTrainer::take_up(TrialEntries trials) {
  std::map<std::uint64_t, BlobVersion> seen;
  for (const auto& trial : trials) {
    std::map<std::uint64_t, BlobVersion> own;
    for (const auto& blob : trial->state) own[blob.version] = blob;
    for (const auto& [version, blob] : own)
      if (!seen.emplace(version, blob).second) parts_.disk.share(std::span(&blob, 1));
  }
}

void LocalTrainer::start_visits(TrialEntries trials, bool paused) {
  go_on(trials, paused);
  if (paused) return;
  materialiser_.get_on(feature_demands(trials), active_count() + committer_->pending() == 0);
  admit(trials);
}

void LocalTrainer::start_visit(TrialEntry& trial) {
  const std::uint32_t per_epoch = trial.status.visits_per_epoch;
  Visit visit;
  visit.epoch = trial.status.visits_done / per_epoch;
  visit.index = trial.status.visits_done % per_epoch;
  visit.partition = trial.partition_after(trial.status.visits_done);
  if (trial.only_evaluates())
    visit.judge_on = trial.sent->judge_on;
  else
    visit.rows = trial.setup.partitions->order(visit.partition, visit.epoch);
  visit.first_step = trial.steps;
  visit.evaluate = trial.next_is_judged();
  if (trial.sent) {
    visit.share = trial.sent->share;
    visit.tie = trial.sent->tie;
  }
  Held& held = held_of(trial);
  held.entry = &trial;
  held.features = materialiser_.hold(trial.setup, visit.partition);
  trial.under_way = true;
  parts_.executor.start_visit(held.run, std::move(visit));
}

std::vector<VisitEnd> LocalTrainer::wait(double timeout_s) {
  std::vector<VisitEnd> ends;
  if (auto result = parts_.executor.wait_finished(timeout_s))
    if (auto end = visit_ended(std::move(*result))) ends.push_back(std::move(*end));
  while (auto done = committer_->take()) ends.push_back(committed(std::move(*done)));
  parts_.executor.set_committing(committer_->pending());
  return ends;
}

void LocalTrainer::abandon(TrialEntry& trial) {
  if (!std::exchange(held_of(trial).dropped, true)) parts_.executor.abandon_visit(trial.setup.number);
}

void LocalTrainer::stop() {
  finish();
  parts_.executor.end();
  held_.clear();
}

std::optional<VisitEnd> LocalTrainer::visit_ended(VisitResult result) {
  if (materialiser_.owns(result.trial)) {
    materialiser_.ended(std::move(result));
    return std::nullopt;
  }
  Held& held = held_.at(result.trial);
  TrialEntry& trial = *held.entry;
  held.features.clear();
  if (result.error || held.dropped) return failed(held, result.error);
  if (trial.only_evaluates()) {
    trial.under_way = false;
    return VisitEnd{.trial = &trial, .judged = std::move(result.judged)};
  }
  CommitRequest request;
  request.trial = result.trial;
  request.run = held.run;
  request.commit.trial = trial.status.spec.id;
  request.commit.epoch = result.visit.epoch;
  request.commit.visit = result.visit.index;
  request.commit.partition = result.visit.partition;
  request.commit.steps = result.visit.first_step + batch_count(result.visit.rows.size(), trial.setup.train.batch_size);
  request.commit.loss_sum = trial.loss_sum + result.loss_sum;
  request.commit.loss_items = trial.loss_items + result.loss_items;
  request.commit.seconds = result.busy_s;
  request.commit.skipped_steps = result.skipped_steps;
  request.curve = std::move(result.curve);
  if (!request.curve.empty()) trial.status.loss = request.curve.back().loss;
  if (!result.judged.empty()) {
    Judged judged = add_up(result.judged);
    request.commit.score =
        score_of(request.commit, Epochs::of_visits(trial.status.visits_done + 1, trial.status.visits_per_epoch),
                 judged.sums, parts_.metric);
    request.rows = std::move(judged.rows);
  }
  trial.committing = true;
  committer_->submit(std::move(request));
  parts_.executor.set_committing(committer_->pending());
  return std::nullopt;
}

std::optional<VisitEnd> LocalTrainer::failed(Held& held, const std::exception_ptr& error) {
  const OwnFault fault = error ? own_fault(error) : OwnFault::none;
  if (error && fault == OwnFault::none) std::rethrow_exception(error);
  held.run.reset();
  held.entry->under_way = false;
  if (std::exchange(held.dropped, false)) return std::nullopt;  // whatever came of it
  VisitEnd end;
  end.trial = held.entry;
  end.failure = describe(error);
  end.did_not_fit = fault == OwnFault::does_not_fit;
  end.parted = fault == OwnFault::parted;
  return end;
}

VisitEnd LocalTrainer::committed(CommitDone done) {
  if (done.error) std::rethrow_exception(done.error);  // a disk or journal that fails ends the run; it can be resumed
  TrialEntry& trial = *held_.at(done.trial).entry;
  trial.under_way = trial.committing = false;
  VisitEnd end;
  end.trial = &trial;
  end.commit = std::move(done.commit);
  return end;
}

}  // namespace hopyard
