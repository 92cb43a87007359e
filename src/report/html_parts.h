// The pieces that report.html is put together from.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/journal.h"
#include "report/html_report.h"

namespace hopyard {

/// Text as it may stand between tags and in quoted attributes.
std::string escape_html(std::string_view text);
/// JSON text as it may stand in a <script> element.
std::string escape_script(std::string json);
/// A CSS colour that is legible on light and on dark ground, for the trial at this place in the order of asking.
std::string trial_color(std::size_t index);
/// The colour of an idle cause; causes that nobody planned for share one.
std::string cause_color(const std::string& cause);
/// A small square of that colour, followed by the escaped label.
std::string swatch(const std::string& color, const std::string& label);
/// About `count` round numbers within [low, high]; `high` > `low`.
std::vector<double> round_ticks(double low, double high, std::size_t count);

/// The section that says whether the best is really better.
std::string rigor_section(const RigorReport& report);
/// The section with one loss curve for each trial.
std::string curves_section(const std::vector<TrialRecord>& trials);
/// The section with the device timeline.
std::string timeline_section(const ReportInput& input);

extern const char* const kReportCss;
extern const char* const kReportScript;

}  // namespace hopyard
