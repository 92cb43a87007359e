#include "transport/liveness.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

LivenessWatch::LivenessWatch(const LivenessBounds& bounds) : bounds_(bounds) {
  if (!(0 < bounds.beat_s && bounds.beat_s < bounds.silent_s && bounds.silent_s < bounds.dead_s)) {
    fail(ExitCode::usage, "a worker that beats every ", bounds.beat_s, " s cannot be silent after ", bounds.silent_s,
         " s and dead after ", bounds.dead_s, " s: each must be longer than the one before");
  }
}

void LivenessWatch::heard(const WorkerId& worker) {
  const auto found = watched_.find(worker);
  if (found != watched_.end()) found->second.quiet_s = 0;
}

std::vector<LifeChange> LivenessWatch::step(double now_s) {
  const double passed_s = last_step_s_ < 0 ? 0 : std::clamp(now_s - last_step_s_, 0.0, kLongestStepSeconds);
  last_step_s_ = now_s;
  std::vector<LifeChange> changes;
  for (auto it = watched_.begin(); it != watched_.end();) {
    auto& [worker, life] = *it;
    if (life.silent && life.quiet_s < bounds_.silent_s) {
      life.silent = false;
      changes.push_back({worker, LifeChange::Kind::awake});
    }
    life.quiet_s += passed_s;
    if (life.quiet_s >= bounds_.dead_s) {
      changes.push_back({worker, LifeChange::Kind::dead});
      it = watched_.erase(it);
      continue;
    }
    if (!life.silent && life.quiet_s >= bounds_.silent_s) {
      life.silent = true;
      changes.push_back({worker, LifeChange::Kind::silent});
    }
    ++it;
  }
  return changes;
}

}  // namespace hopyard
