// Asks for what an experiment asked for before, in the same order, whatever the scores.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "select/search.h"

namespace hopyard {

/// One recorded decision: an order, or a stop.
struct ReplayStep {
  TrialOrder order;               ///< without a meaning when it is a stop
  std::optional<TrialStop> stop;  ///< set when it is one
};

/// Each step waits for what it needs and no longer: that its trial, or its clone's parent, paused where the record has
/// it. A trial that ended otherwise than recorded is left out of later steps, and so are its clones. Trials are
/// numbered anew, in the order of the steps. After the last step, what is still paused is stopped with `end_reason`.
std::unique_ptr<Searcher> make_replay_searcher(std::vector<ReplayStep> steps, std::string end_reason);

}  // namespace hopyard
