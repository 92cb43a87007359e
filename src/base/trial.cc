#include "base/trial.h"

#include <algorithm>
#include <charconv>

#include "base/rng.h"

namespace hopyard {

namespace {

std::string shortest(double value) {
  char buffer[32];
  const auto end = std::to_chars(buffer, buffer + sizeof buffer, value).ptr;
  return {buffer, end};
}

}  // namespace

std::string to_string(const SettingValue& value) {
  if (const auto* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const auto* whole = std::get_if<std::int64_t>(&value)) return std::to_string(*whole);
  if (const auto* real = std::get_if<double>(&value)) return shortest(*real);
  return std::get<std::string>(value);
}

std::uint64_t trial_seed(std::uint64_t experiment_seed, const std::vector<Setting>& settings) {
  std::vector<std::string> lines;
  for (const auto& setting : settings) lines.push_back(setting.path + "=" + to_string(setting.value));
  std::sort(lines.begin(), lines.end());
  std::uint64_t seed = derive(experiment_seed, "trial");
  for (const auto& line : lines) seed = derive(seed, line);
  return seed;
}

std::uint64_t replicate_seed(std::uint64_t trial_seed, std::uint32_t seed_number) {
  return seed_number == 0 ? trial_seed : derive(derive(trial_seed, "replicate"), seed_number);
}

const std::string& group_of(const TrialSpec& spec) { return spec.replicate ? spec.replicate->group : spec.id; }

std::string to_string(TrialState state) {
  switch (state) {
    case TrialState::waiting:
      return "waiting";
    case TrialState::active:
      return "active";
    case TrialState::finished:
      return "finished";
    case TrialState::failed:
      return "failed";
    case TrialState::stopped:
      return "stopped";
  }
  return "?";
}

}  // namespace hopyard
