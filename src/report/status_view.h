// What `hopyard status` shows: the experiment as its process, or its journal, has it.
#pragma once

#include <string>
#include <vector>

#include "base/operation.h"
#include "formats/json.h"
#include "report/leaderboard.h"
#include "report/progress.h"

namespace hopyard {

struct StatusView {
  std::string name;
  bool running = false;  ///< a process trains it; without one, devices and tiers are empty
  bool paused = false;   ///< as a whole, by a person
  ProgressSnapshot progress;
  std::vector<Operation> operations;     ///< as in the journal
  std::vector<OperationRequest> queued;  ///< that wait for the next run
};

void to_json(Json& json, const StatusView& view);
void from_json(const Json& json, StatusView& view);

/// "stop t01", "set t01 train.optimizer.lr=1e-05", "clone t01 train.optimizer.lr=1e-05 (warm)".
std::string operation_text(const OperationRequest& request);

/// Table or JSON; ends with a newline. Failure(usage) for another format.
std::string format_status(const StatusView& view, TableFormat format);

}  // namespace hopyard
