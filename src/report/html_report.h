// report.html: one file without network: leaderboard, loss curves, device timeline, idle causes, predictions, peaks.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/record.h"
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
  std::vector<TestLook> looks = {};  ///< at the test split
};

/// The whole file; every text that comes from outside is escaped. Slices are merged for display, so that the file stays
/// small whatever the number of slices.
std::string html_report(const ReportInput& input);

/// A report with these looks at the test split in place of those that it had; a file that is no report stays as it is.
std::string with_looks(const std::string& report, const std::vector<TestLook>& looks);

/// The device timeline alone, as a picture of its own (README, slides).
std::string timeline_svg(const ReportInput& input);

}  // namespace hopyard
