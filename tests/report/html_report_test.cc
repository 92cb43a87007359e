#include "report/html_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>
#include <map>
#include <set>

#include "report/html_parts.h"
#include "report/sample_run.h"
#include "report/timeline.h"

namespace hopyard {
namespace {

using testing::HasSubstr;
using testing::Not;

std::size_t count(const std::string& text, const std::string& part) {
  std::size_t found = 0;
  for (std::size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

/// The elements in order must open and close like brackets; comments, void elements and self-closed ones aside.
void expect_balanced(const std::string& html) {
  static const std::set<std::string> alone{"meta", "!doctype", "input"};
  std::vector<std::string> open;
  for (std::size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const std::size_t end = html.find('>', at);
    ASSERT_NE(end, std::string::npos);
    if (html.compare(at, 4, "<!--") == 0) continue;
    const bool closes = html[at + 1] == '/';
    const std::size_t from = at + 1 + closes;
    const std::string name = html.substr(from, html.find_first_of(" >/\n", from) - from);
    if (closes) {
      ASSERT_FALSE(open.empty()) << name;
      ASSERT_EQ(open.back(), name) << html.substr(at > 200 ? at - 200 : 0, 300);
      open.pop_back();
    } else if (html[end - 1] != '/' && !alone.count(name)) {
      open.push_back(name);
      if (name == "script" || name == "style") at = html.find("</" + name, end) - 1;
    }
  }
  EXPECT_TRUE(open.empty()) << open.back();
}

TEST(HtmlReport, HasEveryPart) {
  const std::string html = html_report(sample::report(400));
  for (const char* id : {"leaderboard", "curves", "timeline", "devices", "peaks", "predictions", "transfers"})
    EXPECT_EQ(count(html, std::string("<section id=\"") + id + "\""), 1u) << id;
  EXPECT_EQ(count(html, "<g data-id="), 8u);
  EXPECT_THAT(html, HasSubstr("idle: no work"));
  EXPECT_THAT(html, HasSubstr("251 MiB of 256 MiB"));
  EXPECT_THAT(html, HasSubstr("emulated devices"));
  EXPECT_THAT(html, HasSubstr("t03/s"));
  expect_balanced(html);
}

TEST(HtmlReport, NeedsNoNetwork) {
  const std::string html = html_report(sample::report(100));
  for (const char* outside : {"http:", "https:", "src=", "href=", "@import", "url(//"})
    EXPECT_THAT(html, Not(HasSubstr(outside)));
}

TEST(HtmlReport, EscapesAllText) {
  const std::string evil = "</script><script>alert('x')</script>\"&";
  ReportInput input = sample::report(50);
  input.summary.name = evil;
  input.summary.machine = {evil};
  for (auto& device : input.summary.devices) {
    device.name = evil;
    device.idle[0].cause = evil;
  }
  for (auto& transfer : input.summary.transfers) transfer.from = transfer.to = evil;
  for (auto& comparison : input.summary.comparisons) comparison.what = comparison.unit = evil;
  for (auto& row : input.leaderboard)
    row.trial = row.reason = row.digest = row.metric_name = row.settings[0].path = evil;
  for (auto& row : input.leaderboard) row.settings[1].value = evil;
  for (auto& trial : input.trials) trial.spec.id = trial.spec.settings[0].path = evil;
  for (auto& track : input.tracks) track = evil + track;
  for (auto& slice : input.slices) slice.name = evil;
  for (const std::string& text : {html_report(input), timeline_svg(input)}) {
    EXPECT_THAT(text, Not(HasSubstr("<script>alert")));
    expect_balanced(text);
  }
}

TEST(HtmlReport, AnEmptyRunIsAPage) {
  const std::string html = html_report({});
  expect_balanced(html);
  EXPECT_THAT(html, HasSubstr("Memory peaks"));
}

TEST(HtmlReport, LossesThatAreNotFiniteAreLeftOut) {
  ReportInput input = sample::report(10);
  for (auto& point : input.trials[0].curve) point.loss = std::numeric_limits<double>::quiet_NaN();
  input.trials[1].curve[3].loss = std::numeric_limits<double>::infinity();
  input.trials[2].curve.clear();
  input.trials[3].curve.resize(1);
  const std::string html = html_report(input);
  EXPECT_EQ(count(html, "<g data-id="), 6u);
  EXPECT_THAT(html, Not(HasSubstr("nan")));
  EXPECT_THAT(html, Not(HasSubstr("\"inf")));
}

TEST(HtmlReport, StaysSmallWithManySlices) {
  const ReportInput input = sample::report(20'000);
  ASSERT_GT(input.slices.size(), 100'000u);
  EXPECT_LT(html_report(input).size(), 4u * MiB);
}

TEST(HtmlReport, SaysWhenSlicesWereDropped) {
  ReportInput input = sample::report(10);
  input.dropped_slices = 77;
  EXPECT_THAT(html_report(input), HasSubstr("77 later slices were not kept"));
}

TEST(TimelineSvg, IsAPictureOfItsOwn) {
  const std::string svg = timeline_svg(sample::report(200));
  EXPECT_THAT(svg, testing::StartsWith("<svg xmlns=\"http://www.w3.org/2000/svg\""));
  expect_balanced(svg);
}

TEST(Merge, KeepsTimeAndBytesAndBoundsTheNumber) {
  const ReportInput input = sample::report(5'000);
  const auto shown = merge_for_display(input.slices, 500);
  std::map<std::pair<std::uint32_t, bool>, std::size_t> numbers;
  double seconds = 0, all_seconds = 0;
  std::uint64_t bytes = 0, all_bytes = 0;
  std::size_t slices = 0;
  for (const auto& slice : shown) {
    ++numbers[{slice.track, slice.idle}];
    seconds += slice.covered_s, bytes += slice.bytes, slices += slice.count;
  }
  for (const auto& slice : input.slices) all_seconds += slice.end_s - slice.begin_s, all_bytes += slice.bytes;
  for (const auto& [track, number] : numbers) EXPECT_LE(number, 2 * 500u + 1);
  EXPECT_NEAR(seconds, all_seconds, 1e-6 * all_seconds);
  EXPECT_EQ(bytes, all_bytes);
  EXPECT_EQ(slices, input.slices.size());
}

TEST(Merge, LongSlicesStayThemselves) {
  const std::vector<TraceSlice> slices{{0, "t1/s0/forward", "compute", 0, 40, 0},
                                       {0, "load", "idle", 40, 50, 0},
                                       {0, "t2/s0/forward", "compute", 50, 100, 0}};
  const auto shown = merge_for_display(slices, 10);
  ASSERT_EQ(shown.size(), 3u);
  EXPECT_EQ(shown[0].owner, "t1");
  EXPECT_EQ(shown[1].name, "t2/s0/forward");
  EXPECT_TRUE(shown[2].idle);
  EXPECT_EQ(shown[2].owner, "load");
}

TEST(Merge, TheOwnerOfAGroupIsWhoHasMostOfItsTime) {
  const std::vector<TraceSlice> slices{{0, "t1/a", "compute", 0, 1, 5},
                                       {0, "t2/a", "compute", 2, 5, 6},
                                       {0, "t1/b", "compute", 5, 6, 7},
                                       {0, "t3/a", "compute", 90, 100, 0}};
  const auto shown = merge_for_display(slices, 10);
  ASSERT_EQ(shown.size(), 2u);
  EXPECT_EQ(shown[0].owner, "t2");
  EXPECT_EQ(shown[0].count, 3u);
  EXPECT_DOUBLE_EQ(shown[0].covered_s, 5);
  EXPECT_DOUBLE_EQ(shown[0].end_s, 6);
  EXPECT_EQ(shown[0].bytes, 18u);
}

TEST(Merge, NothingAndInstantsAreFine) {
  EXPECT_TRUE(merge_for_display({}, 10).empty());
  EXPECT_EQ(merge_for_display({{0, "t1/a", "compute", 1, 1, 0}}, 10).size(), 1u);
}

TEST(RoundTicks, AreRoundAndInside) {
  EXPECT_THAT(round_ticks(0, 10, 5), testing::ElementsAre(0, 2, 4, 6, 8, 10));
  EXPECT_THAT(round_ticks(-0.3, 0.31, 6), testing::SizeIs(testing::Le(7u)));
  for (const double tick : round_ticks(0.123, 0.456, 6)) EXPECT_TRUE(tick >= 0.123 && tick <= 0.456) << tick;
}

}  // namespace
}  // namespace hopyard
