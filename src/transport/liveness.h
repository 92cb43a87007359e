// Who is alive, from beats and one clock: a pure value.
#pragma once

#include <map>
#include <vector>

#include "transport/transport.h"

namespace hopyard {

/// Time between two steps counts for at most so much: a watcher that did not run knows nothing of that time.
constexpr double kLongestStepSeconds = 0.25;

struct LifeChange {
  enum class Kind { silent, awake, dead };
  WorkerId worker;
  Kind kind = Kind::silent;
  bool operator==(const LifeChange&) const = default;
};

/// Not thread-safe.
class LivenessWatch {
 public:
  /// Failure(usage) unless 0 < beat_s < silent_s < dead_s.
  explicit LivenessWatch(const LivenessBounds& bounds);
  /// Alive from now on, until it is found dead or removed.
  void add(const WorkerId& worker) { watched_[worker] = {}; }
  void remove(const WorkerId& worker) { watched_.erase(worker); }
  /// A beat came, or something else that only the living send.
  void heard(const WorkerId& worker);
  /// Lets time pass until `now_s` (monotonic_seconds) and says who changed. The dead are removed.
  std::vector<LifeChange> step(double now_s);

 private:
  struct Life {
    double quiet_s = 0;
    bool silent = false;
  };
  LivenessBounds bounds_;
  std::map<WorkerId, Life> watched_;
  double last_step_s_ = -1;
};

}  // namespace hopyard
