#include "experiment/journaled_search.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

void JournaledSearch::take_up(const std::vector<TrialRecord>& records,
                              const std::function<void(const TrialOrder&)>& on_order,
                              const std::function<void(const TrialStop&)>& on_stop) {
  if (!reacts()) return;
  std::map<std::string, const TrialRecord*> by_id;
  for (const auto& record : records) by_id[record.spec.id] = &record;
  for (const auto& decision : journal_.decisions()) {
    for (const auto& news : decision.news) tell_again(news, by_id);
    if (decision.stop_reason)
      on_stop(stop_again(decision));
    else
      on_order(order_again(decision));
  }
  for (const auto& record : records) tell_rest(record);
}

void JournaledSearch::tell_again(const SearchNews& news, const std::map<std::string, const TrialRecord*>& records) {
  Told& told = told_[news.trial];
  if (news.end) {
    told.ended = true;
    return searcher_.tell_end(news.trial, *news.end);
  }
  told.epoch = news.epoch;
  const auto record = records.find(news.trial);
  require(record != records.end(), "the journal has news of trial ", news.trial, ", which it does not know");
  const auto& scores = record->second->scores;
  const auto score = std::find_if(scores.begin(), scores.end(), [&](const auto& s) { return s.epoch == news.epoch; });
  require(score != scores.end(), "the journal has news of trial ", news.trial, " at epoch ", news.epoch,
          " and no such score");
  searcher_.tell(*score);
}

TrialOrder JournaledSearch::order_again(const SearchDecision& decision) {
  auto order = searcher_.ask();
  require(order && order->trial.id == decision.trial && order->until_epoch == decision.until_epoch,
          "the journal's search asked for trial ", decision.trial, " until epoch ", decision.until_epoch.value_or(0),
          " and, led the same way, now asks for ", order ? order->trial.id : "nothing", " until epoch ",
          order ? order->until_epoch.value_or(0) : 0);
  return std::move(*order);
}

TrialStop JournaledSearch::stop_again(const SearchDecision& decision) {
  auto stop = next_stop();
  require(stop && stop->trial == decision.trial, "the journal's search stopped trial ", decision.trial,
          " and, led the same way, now stops ", stop ? stop->trial : "none");
  told_[stop->trial].ended = true;
  return std::move(*stop);
}

/// What was committed after the last decision: nothing was decided on it, so that any order will do.
void JournaledSearch::tell_rest(const TrialRecord& record) {
  const Told told = told_[record.spec.id];
  if (told.ended) return;
  for (const auto& score : record.scores)
    if (score.epoch > told.epoch) tell(score);
  if (record.state > TrialState::active) tell_end(record.spec.id, record.state);
}

std::optional<TrialOrder> JournaledSearch::ask() {
  auto order = searcher_.ask();
  if (order && reacts()) {
    journal_.add_decision({news_, order->trial.id, order->until_epoch, std::nullopt});
    news_.clear();
  }
  return order;
}

void JournaledSearch::tell(const TrialScore& score) {
  if (!reacts()) return;
  searcher_.tell(score);
  news_.push_back({score.trial, score.epoch, score.metric, std::nullopt});
}

void JournaledSearch::tell_end(const std::string& trial, TrialState state) {
  if (!reacts()) return;
  searcher_.tell_end(trial, state);
  news_.push_back({trial, 0, 0, state});
}

std::optional<TrialStop> JournaledSearch::next_stop() {
  if (stops_.empty()) {
    stops_ = searcher_.take_stops();
    std::reverse(stops_.begin(), stops_.end());
  }
  if (stops_.empty()) return std::nullopt;
  TrialStop stop = std::move(stops_.back());
  stops_.pop_back();
  return stop;
}

std::optional<TrialStop> JournaledSearch::take_stop() {
  auto stop = next_stop();
  if (stop) {
    journal_.add_decision({news_, stop->trial, std::nullopt, stop->reason});
    news_.clear();
  }
  return stop;
}

}  // namespace hopyard
