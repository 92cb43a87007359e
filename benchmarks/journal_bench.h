// What remembering and deciding cost beside training.
#pragma once

#include <vector>

#include "bench_report.h"

namespace hopyard {

/// Milliseconds per sub-epoch of commit, tell and ask, with a real journal on disk and the state of a MiniLM-sized
/// trial, when 1,000 trials are in it; and seconds to take such a journal up again.
std::vector<BenchRow> bench_journal(const BenchScale& scale);

}  // namespace hopyard
