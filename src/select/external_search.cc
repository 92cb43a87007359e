#include <algorithm>
#include <cmath>
#include <deque>
#include <map>

#include "base/failure.h"
#include "select/searchers.h"
#include "select/trial_requests.h"

namespace hopyard {
namespace {

using Kind = Dimension::Kind;

constexpr std::size_t kValuesShown = 12;
constexpr double kStepTolerance = 1e-6;  // of a step: what an optimizer's own rounding may be off by

bool same_value(const SettingValue& a, const SettingValue& b) {
  const auto x = number_of(a), y = number_of(b);
  return x && y ? *x == *y : to_string(a) == to_string(b);
}

std::string words(const std::vector<SettingValue>& values) {
  std::vector<std::string> written;
  for (const auto& value : values) written.push_back(to_string(value));
  if (written.size() > kValuesShown) written.resize(kValuesShown), written.push_back("…");
  return text::join(written, ", ");
}

/// What the dimension may be, for a sentence.
std::string bounds_of(const Dimension& dimension) {
  if (dimension.kind == Kind::joint)
    return text::cat("the place of an entry in its list, 0 to ", dimension.joint.size() - 1);
  if (is_list(dimension)) return "one of " + words(dimension.values);
  return text::cat(dimension.kind == Kind::integer ? "a whole number" : "a number", " from ",
                   to_string(SettingValue(dimension.low)), " to ", to_string(SettingValue(dimension.high)),
                   dimension.step > 0 ? text::cat(" in steps of ", to_string(SettingValue(dimension.step))) : "");
}

[[noreturn]] void refuse_value(const Dimension& dimension, const SettingValue& value) {
  fail(ExitCode::usage, dimension.path, " = ", to_string(value), " is not ", bounds_of(dimension));
}

Coordinate coordinate_of(const Dimension& dimension, const SettingValue& value) {
  if (dimension.kind != Kind::joint && is_list(dimension)) {
    const auto found = std::find_if(dimension.values.begin(), dimension.values.end(),
                                    [&](const auto& known) { return same_value(known, value); });
    if (found == dimension.values.end()) refuse_value(dimension, value);
    return static_cast<Coordinate>(found - dimension.values.begin());
  }
  const auto number = number_of(value);
  if (!number || !std::isfinite(*number)) refuse_value(dimension, value);
  if (dimension.kind == Kind::joint) {
    if (std::floor(*number) != *number || *number < 0 || *number >= static_cast<double>(dimension.joint.size()))
      refuse_value(dimension, value);
    return *number;
  }
  const double step = dimension.kind == Kind::integer ? std::max(1.0, dimension.step) : dimension.step;
  const double near = nearest(dimension, *number);
  if (std::abs(near - *number) > kStepTolerance * step) refuse_value(dimension, value);
  return near;
}

class ExternalSearcher final : public BookedSearcher, public TrialRequests {
 public:
  ExternalSearcher(Space space, const SearchSpec& spec, std::uint64_t seed)
      : BookedSearcher(most(spec), seed, spec.maximize), most_(most(spec)), space_(std::move(space)) {}

  std::optional<TrialOrder> ask() override {
    for (auto next = queue_.begin(); next != queue_.end();) {
      const State state = next->trial < asked() ? states_[next->trial] : State::paused;
      if (state == State::under_way) {
        ++next;
        continue;
      }
      const Request request = std::move(*next);
      next = queue_.erase(next);
      if (state == State::ended) continue;
      if (request.trial == asked()) {
        states_.push_back(State::under_way);
        return order_new(request.settings, request.until_epoch);
      }
      std::erase(paused_, request.trial);
      states_[request.trial] = State::under_way;
      return order_further(request.trial, request.until_epoch);
    }
    return std::nullopt;
  }

  std::vector<TrialStop> take_stops() override {
    if (closed_) stop_paused();
    return BookedSearcher::take_stops();
  }

  bool finished() const override {
    const auto ended = [](State state) { return state == State::ended; };
    return (closed_ || requested_.size() == most_) && queue_.empty() &&
           std::all_of(states_.begin(), states_.end(), ended);
  }

  TrialRequests* requests() override { return this; }

  TrialSpec propose(const std::vector<Setting>& settings) const override {
    if (requested_.size() >= most_)
      fail(ExitCode::usage, "search.trials is ", most_, ", and so many trials have been asked for");
    const auto given = by_path(settings);
    const Point point = space_.choose([&](std::size_t d, const Point&) {
      const auto value = given.find(space_[d].path);
      if (value == given.end()) fail(ExitCode::usage, space_[d].path, " is missing; give it ", bounds_of(space_[d]));
      return coordinate_of(space_[d], value->second);
    });
    for (std::size_t d = 0; d < space_.size(); ++d)
      if (!point[d] && given.contains(space_[d].path))
        fail(ExitCode::usage, space_[d].path, " exists only where ", space_[d].when->path, " is ",
             words(space_[d].when->values), "; leave it out");
    return spec_of(space_.settings(point), requested_.size());
  }

  void request(std::vector<Setting> settings, std::optional<Epochs> until_epoch) override {
    queue_.push_back({static_cast<std::uint32_t>(requested_.size()), std::move(settings), until_epoch});
    requested_.push_back(until_epoch);
  }

  void require_further(const std::string& trial, std::optional<Epochs> until_epoch) const override {
    const std::uint32_t index = find_requested(trial);
    if (index < asked() && states_[index] == State::ended)
      fail(ExitCode::usage, trial, " has ended and cannot be asked for further");
    const auto& before = requested_[index];
    if (!before) fail(ExitCode::usage, trial, " was asked for to its last epoch already");
    if (until_epoch && *until_epoch <= *before)
      fail(ExitCode::usage, trial, " was asked for to epoch ", *before, " already; ask for a later one than ",
           *until_epoch);
  }

  void request_further(const std::string& trial, std::optional<Epochs> until_epoch) override {
    const std::uint32_t index = find_requested(trial);
    queue_.push_back({index, {}, until_epoch});
    requested_[index] = until_epoch;
  }

  void close() override { closed_ = true; }

 private:
  enum class State { under_way, paused, ended };
  struct Request {
    std::uint32_t trial = 0;  // of a new one, the index that it will have
    std::vector<Setting> settings;
    std::optional<Epochs> until_epoch;
  };

  static std::uint32_t most(const SearchSpec& spec) { return spec.trials > 0 ? spec.trials : kExternalTrialsMax; }

  std::map<std::string, SettingValue> by_path(const std::vector<Setting>& settings) const {
    std::vector<std::string> searched;
    for (std::size_t d = 0; d < space_.size(); ++d) searched.push_back(space_[d].path);
    std::map<std::string, SettingValue> given;
    for (const auto& [path, value] : settings) {
      if (std::find(searched.begin(), searched.end(), path) == searched.end())
        fail(ExitCode::usage, "'", path, "' is not searched; ",
             searched.empty() ? "nothing is" : "searched are " + text::join(searched, ", "));
      if (!given.emplace(path, value).second) fail(ExitCode::usage, path, " is given twice");
    }
    return given;
  }

  std::uint32_t find_requested(const std::string& trial) const {
    std::vector<std::string> ids;
    for (std::uint32_t i = 0; i < requested_.size(); ++i) {
      ids.push_back(id_at(i));
      if (ids.back() == trial) return i;
    }
    const std::string near = text::nearest(trial, ids);
    fail(ExitCode::usage, "no trial '", trial, "' was asked for", near.empty() ? "" : "; did you mean '" + near + "'?");
  }

  void completed(std::uint32_t trial, double /*loss*/) override {
    if (states_[trial] == State::ended) return;
    states_[trial] = State::paused;
    paused_.push_back(trial);
  }

  void died(std::uint32_t trial) override {
    states_[trial] = State::ended;
    std::erase(paused_, trial);
  }

  void stop_paused() {
    for (const std::uint32_t trial : std::vector(paused_)) {
      const auto waits = [&](const Request& request) { return request.trial == trial; };
      if (std::any_of(queue_.begin(), queue_.end(), waits)) continue;
      std::erase(paused_, trial);
      states_[trial] = State::ended;
      stop(trial, text::cat("not asked for beyond epoch ", epochs_of(trial)));
    }
  }

  const std::uint32_t most_;
  const Space space_;
  std::deque<Request> queue_;
  std::vector<std::optional<Epochs>> requested_;  // of each trial, in the order of requests: until which epoch
  std::vector<State> states_;                     // of those that were asked for
  std::vector<std::uint32_t> paused_;             // in the order of coming to their pause
  bool closed_ = false;
};

}  // namespace

std::unique_ptr<Searcher> make_external(Space space, const SearchSpec& spec, std::uint64_t seed) {
  if (spec.trials > kTrialsMax)
    fail(ExitCode::usage, "search.trials is ", spec.trials, "; at most ", kTrialsMax, " are possible");
  if (members_of_group(spec) > 1 || spec.resamples > 0)
    fail(ExitCode::usage,
         "search.method: external trains each trial once; leave out search.seeds and search.resamples");
  if (spec.deterministic)
    fail(ExitCode::usage, "search.method: external decides nothing; leave out search.deterministic");
  return std::make_unique<ExternalSearcher>(std::move(space), spec, seed);
}

}  // namespace hopyard
