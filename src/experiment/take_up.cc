// Going on where the journal ends: after a crash, an interruption, or with requests that came in between.
#include <algorithm>
#include <set>

#include "base/failure.h"
#include "experiment/experiment.h"

namespace hopyard {

namespace {

constexpr const char* kNothing = "null";

}  // namespace

std::string unfit_fact(const std::string& trial) { return "did not fit: " + trial; }

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

void Experiment::take_up_journal() {
  operations_ = parts_.journal.operations();
  const auto records = parts_.journal.trials();
  for (const auto& record : records) take_up(record);
  parts_.trainer.take_up(entries_);
  for (const auto& operation : operations_) hand_over(operation);
  search_.take_up(
      for_search(records, operations_, parts_.partitions), [this](const TrialOrder& order) { accept(order); },
      [this](const TrialStop& one) { stop(one); });
  take_up_operations();
  for (auto& entry : entries_) fail_if_refused(*entry);
  for (auto& entry : entries_)
    if (!entry->ended() && entry->status.visits_done >= entry->visits_total())
      end(*entry, TrialState::finished, "");
    else if (!entry->ended())
      parts_.trainer.want(*entry);
  apply_operations();  // before anything goes on: a crash may have come between a boundary and what waited for it
}

void Experiment::take_up(const TrialRecord& known) {
  TrialRecord record = known;
  // A search that reacts has gone on without a trial that did not fit.
  if (!search_.reacts() && may_fit_now(parts_.journal, record, parts_.resources)) take_back(record);
  std::uint32_t visits_done = 0;
  if (record.last) visits_done = record.last->epoch * parts_.partitions + record.last->visit + 1;
  Entry& entry = add(record.spec, settings_after(record.spec, operations_, visits_done));
  entry.status.state = record.state == TrialState::active ? TrialState::waiting : record.state;
  entry.status.reason = record.reason;
  entry.status.skipped_steps = record.skipped_steps;
  if (record.last) {
    const auto& last = *record.last;
    entry.state = last.state;
    entry.digest = last.digest;
    entry.steps = last.steps;
    if (visits_done % parts_.partitions != 0) entry.visited = record.visited;
    entry.status.visits_done = visits_done;
    if (!entry.at_epoch_end()) entry.loss_sum = last.loss_sum, entry.loss_items = last.loss_items;
    if (last.loss_items > 0) entry.status.loss = last.loss_sum / last.loss_items;
  }
  if (!record.scores.empty()) entry.status.metric = record.scores.back().metric;
}

void Experiment::take_back(TrialRecord& record) {
  parts_.journal.end_trial(record.spec.id, TrialState::waiting, "");
  parts_.journal.put_fact(unfit_fact(record.spec.id), kNothing);
  record.state = TrialState::waiting;
  record.reason.clear();
}

}  // namespace hopyard
