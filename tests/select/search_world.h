// Trials that a formula trains, and what a searcher was asked and told, for tests of the search alone.
#pragma once

#include <algorithm>
#include <cmath>
#include <functional>
#include <map>
#include <string>
#include <variant>
#include <vector>

#include "base/failure.h"
#include "base/rng.h"
#include "select/search.h"

namespace hopyard::fakes {

inline Dimension listed(const std::string& path, std::vector<SettingValue> values,
                        Dimension::Kind kind = Dimension::Kind::grid) {
  return {path, kind, std::move(values)};
}
inline Dimension range(const std::string& path, Dimension::Kind kind, double low, double high, double step = 0) {
  return {path, kind, {}, low, high, step};
}
inline Dimension when(Dimension dimension, const std::string& path, std::vector<SettingValue> values) {
  dimension.when = Condition{path, std::move(values)};
  return dimension;
}

inline SearchSpec search_spec(SearchSpec::Method method, std::uint32_t trials, std::uint32_t max_epochs = 1) {
  SearchSpec spec;
  spec.method = method;
  spec.trials = trials;
  spec.max_epochs = max_epochs;
  spec.maximize = false;
  return spec;
}

/// What make_searcher says against it; nothing when it makes one.
inline std::string refusal(const SearchSpec& spec, const std::vector<Dimension>& space) {
  try {
    make_searcher(spec, space, 1);
  } catch (const Failure& failure) {
    return failure.code() == ExitCode::usage ? failure.what() : "not of usage";
  }
  return "";
}

/// "t03@9 lr=0.1" or "t07<t03+4@8 lr=0.1".
inline std::string describe_order(const TrialOrder& order) {
  std::string text = order.trial.id;
  if (order.trial.lineage) text += text::cat("<", order.trial.lineage->parent, "+", order.trial.lineage->epochs);
  if (order.until_epoch) text += text::cat("@", *order.until_epoch);
  for (const auto& setting : order.trial.settings) text += text::cat(" ", setting.path, "=", to_string(setting.value));
  return text;
}

struct Ended {
  std::string trial;
  TrialState state = TrialState::finished;
};
/// One call of the searcher; an ask that was answered.
using SearchEvent = std::variant<TrialOrder, TrialScore, Ended>;

/// Leads a searcher through what another one was led through; says whether it gave the same orders.
inline bool replay(Searcher& searcher, const std::vector<SearchEvent>& events) {
  for (const auto& event : events) {
    if (const auto* order = std::get_if<TrialOrder>(&event)) {
      if (searcher.ask() != *order) return false;
    } else if (const auto* score = std::get_if<TrialScore>(&event)) {
      searcher.tell(*score);
    } else {
      searcher.tell_end(std::get<Ended>(event).trial, std::get<Ended>(event).state);
    }
  }
  return true;
}

/// Trains what a searcher asks for: at most `workers` orders at a time, a random one of them after another, each as far
/// as its next score. A metric is a function of the visits that a trial has behind it, `per_epoch` to an epoch.
class SearchWorld {
 public:
  using Metric = std::function<double(const TrialSpec&, std::uint32_t visits)>;

  SearchWorld(Metric metric, std::uint32_t workers, std::uint64_t key, std::uint32_t max_epochs,
              std::uint32_t per_epoch = 1)
      : metric_(std::move(metric)), workers_(workers), stream_(key), max_epochs_(max_epochs), per_epoch_(per_epoch) {}

  /// Until the searcher is finished and nothing is under way, or `events_max` events are there. A metric of −1 stands
  /// for a loss that diverged: the trial ends as failed.
  void run(Searcher& searcher, std::size_t events_max = 1'000'000) {
    while (events.size() < events_max) {
      while (under_way_.size() < workers_ && events.size() < events_max) {
        auto order = searcher.ask();
        if (!order) break;
        start(*order);
      }
      for (auto& stop : searcher.take_stops()) stops.push_back(std::move(stop));
      if (under_way_.empty() || events.size() >= events_max) return;
      train(searcher, stream_.below(under_way_.size()));
      for (auto& stop : searcher.take_stops()) stops.push_back(std::move(stop));
    }
  }

  std::vector<std::string> orders() const {
    std::vector<std::string> all;
    for (const auto& event : events)
      if (const auto* order = std::get_if<TrialOrder>(&event)) all.push_back(describe_order(*order));
    return all;
  }

  std::vector<SearchEvent> events;
  std::vector<TrialStop> stops;
  std::map<std::string, Epochs> epochs;  ///< trained, by trial

 private:
  void start(const TrialOrder& order) {
    events.emplace_back(order);
    if (const auto& lineage = order.trial.lineage) epochs.try_emplace(order.trial.id, lineage->epochs);
    under_way_.push_back(order);
  }

  void train(Searcher& searcher, std::size_t place) {
    const TrialOrder order = under_way_[place];
    const std::string& id = order.trial.id;
    const Epochs until = order.until_epoch.value_or(max_epochs_);
    const Epochs epoch = std::min(epochs[id].next_whole(), until);
    const double value = metric_(order.trial, epoch.visits(per_epoch_));
    if (value == -1) {
      under_way_.erase(under_way_.begin() + static_cast<std::ptrdiff_t>(place));
      end(searcher, {id, TrialState::failed});
      return;
    }
    epochs[id] = epoch;
    const TrialScore score{id, epoch, 0, 0, value, ""};
    events.emplace_back(score);
    if (epoch == until) under_way_.erase(under_way_.begin() + static_cast<std::ptrdiff_t>(place));
    searcher.tell(score);
    if (epoch == max_epochs_) end(searcher, {id, TrialState::finished});
  }

  void end(Searcher& searcher, const Ended& ended) {
    events.emplace_back(ended);
    searcher.tell_end(ended.trial, ended.state);
  }

  Metric metric_;
  std::uint32_t workers_;
  KeyedStream stream_;
  std::uint32_t max_epochs_, per_epoch_;
  std::vector<TrialOrder> under_way_;
};

}  // namespace hopyard::fakes
