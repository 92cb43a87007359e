// The other end of a search that decides nothing itself: an optimizer of somebody else's, a notebook or a person says
// which trials it asks for.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/trial.h"

namespace hopyard {

/// At most so many trials where search.trials does not say.
inline constexpr std::uint32_t kExternalTrialsMax = 10'000;

/// What is requested is asked for in the order of the requests, each as soon as its trial is at its pause. A searcher
/// made again, with all requests first and then led through the same sequence of ask(), tell() and tell_end(), asks the
/// same next question. Not thread-safe.
class TrialRequests {
 public:
  virtual ~TrialRequests() = default;

  /// The trial that request() would make of these settings: of values as the space has them (a number near a step is
  /// that step; search.joint is the place in its list, from 0), in the order of the space. Failure(usage) for a path
  /// that is not searched, missing, given twice, or does not exist beside the others; for a value out of its dimension;
  /// and when no further trial may be requested.
  virtual TrialSpec propose(const std::vector<Setting>& settings) const = 0;
  /// A new trial, to be trained until this epoch, or to its end. `settings` are those that propose() gave.
  virtual void request(std::vector<Setting> settings, std::optional<Epochs> until_epoch) = 0;

  /// Failure(usage) when the trial is not known or at its end, or was requested as far as this.
  virtual void require_further(const std::string& trial, std::optional<Epochs> until_epoch) const = 0;
  virtual void request_further(const std::string& trial, std::optional<Epochs> until_epoch) = 0;

  /// No further request will come: what has paused, and is not requested further, is stopped.
  virtual void close() = 0;
};

}  // namespace hopyard
