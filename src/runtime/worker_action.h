// `hopyard run` in a process that is one of several workers, but not the first.
#pragma once

#include <string>

#include "base/failure.h"
#include "base/journal.h"
#include "runtime/actions.h"
#include "runtime/config.h"
#include "transport/launch.h"

namespace hopyard {

/// Trains what rank 0's process sends, in a folder of its own below the run directory `where`. One line an event, on
/// standard error.
ExitCode run_worker(const RunRequest& request, const ExperimentConfig& config, const std::string& where,
                    const LaunchSpec& launch);

/// Throws it again, with a sentence that says whose it is: output of several workers is often one.
[[noreturn]] void fail_as_worker(std::uint32_t rank, const Failure& failure);

/// The run has come to its end, and nothing of it can be tried again.
bool is_finished(const Journal& journal, const ExperimentConfig& config);

}  // namespace hopyard
