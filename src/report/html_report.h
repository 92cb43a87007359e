// report.html: one file without network: leaderboard, loss curves, device timeline, idle causes, predictions, peaks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/trace.h"
#include "report/leaderboard.h"
#include "report/rigor_report.h"
#include "report/summary.h"

namespace hopyard {

struct ReportInput {
  RunSummary summary;
  std::vector<LeaderboardRow> leaderboard;
  std::vector<TrialRecord> trials;  ///< for the loss curves
  std::vector<std::string> tracks;  ///< of the TraceRecorder: "emulated:0/compute", …
  std::vector<TraceSlice> slices;
  std::size_t dropped_slices = 0;
  std::optional<RigorReport> rigor = {};
};

/// The whole file; every text that comes from outside is escaped. Slices are merged for display, so that the file stays
/// small whatever the number of slices.
std::string html_report(const ReportInput& input);

/// The device timeline alone, as a picture of its own (README, slides).
std::string timeline_svg(const ReportInput& input);

}  // namespace hopyard
