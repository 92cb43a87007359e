#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/failure.h"
#include "base/text.h"
#include "report/leaderboard.h"
#include "report/sample_run.h"
#include "report/summary.h"
#include "report/table.h"

namespace hopyard {
namespace {

using testing::HasSubstr;
using testing::Not;

TEST(Table, AlignsByWhatATerminalShows) {
  Table table({{"name"}, {"n", Align::right}, {"last"}});
  table.add_row({"größe", "7", "x"});
  table.add_row({"漢字", "123"});
  EXPECT_EQ(table.to_text(1),
            " name     n  last\n"
            " größe    7  x\n"
            " 漢字   123\n");
}

TEST(Table, ARowWithTooManyCellsIsABrokenContract) {
  Table table({{"one"}});
  EXPECT_THROW(table.add_row({"1", "2"}), std::logic_error);
}

TEST(DisplayWidth, CountsColumnsNotBytes) {
  EXPECT_EQ(display_width("plain"), 5u);
  EXPECT_EQ(display_width("é … █"), 5u);
  EXPECT_EQ(display_width("e\xcc\x81"), 1u);  // e with a combining accent
  EXPECT_EQ(display_width("\xff\xc3"), 2u);   // broken bytes
}

TEST(ClipToWidth, CutsBetweenCharacters) {
  EXPECT_EQ(clip_to_width("größe", 5), "größe");
  EXPECT_EQ(clip_to_width("größen", 5), "größ…");
  EXPECT_EQ(clip_to_width("漢字漢字", 4), "漢…");
  EXPECT_EQ(clip_to_width("abc", 1), "…");
  EXPECT_EQ(clip_to_width("abc", 0), "");
}

std::vector<LeaderboardRow> rows() { return make_leaderboard(sample::trials(), SearchSpec{}); }

TEST(Leaderboard, RanksByTheLastScoreAndPutsTheUnscoredLast) {
  const auto board = rows();
  ASSERT_EQ(board.size(), 8u);
  EXPECT_EQ(board[0].trial, "t03");
  EXPECT_EQ(board[0].rank, 1u);
  EXPECT_EQ(board[0].epochs, 4u);
  EXPECT_EQ(board[7].trial, "t07");
  EXPECT_EQ(board[7].rank, 0u);
  EXPECT_EQ(board[7].metric, std::nullopt);
}

TEST(Leaderboard, AGoalOfMinTurnsItRound) {
  SearchSpec search;
  search.maximize = false;
  EXPECT_EQ(make_leaderboard(sample::trials(), search)[0].trial, "t04");
}

TEST(Leaderboard, AScoreThatIsNotFiniteHasNoRank) {
  auto trials = sample::trials();
  trials[3].scores.back().metric = std::numeric_limits<double>::quiet_NaN();
  const auto board = make_leaderboard(trials, SearchSpec{});
  EXPECT_EQ(board[0].trial, "t02");
  EXPECT_EQ(board[6].rank, 0u);
}

TEST(Leaderboard, TableNamesSettingsByTheirLastPart) {
  const std::string text = format_leaderboard(rows(), TableFormat::table);
  const auto lines = text::split(text, '\n');
  EXPECT_THAT(lines[0], HasSubstr("rank  trial"));
  EXPECT_THAT(lines[0], HasSubstr(" lr  freeze  state"));
  EXPECT_THAT(lines[0], HasSubstr("valid/accuracy"));
  EXPECT_THAT(lines[1], HasSubstr("   1  t03    3e-04"));
  EXPECT_THAT(lines[1], HasSubstr("0f1e2d3c4b5a69788796a5b4c3d2e1f3"));
  EXPECT_THAT(lines[8], HasSubstr("   -  t07"));
  EXPECT_EQ(lines[9], "t07 failed: the loss was not finite at step 90 <b>");
}

TEST(Leaderboard, PathsThatEndAlikeStayWhole) {
  EXPECT_THAT(short_setting_names({"train.optimizer.type", "train.schedule.type", "seed"}),
              testing::ElementsAre("train.optimizer.type", "train.schedule.type", "seed"));
}

TEST(Leaderboard, CsvQuotesAndKeepsEveryDigit) {
  LeaderboardRow row;
  row.rank = 1;
  row.trial = "t00";
  row.settings = {{"model.note", std::string("a,\"b\"\nc")}, {"train.optimizer.lr", 0.1 + 0.2}};
  row.metric_name = "valid/accuracy";
  row.metric = 1.0 / 3.0;
  EXPECT_EQ(format_leaderboard({row}, TableFormat::csv),
            "rank,trial,model.note,train.optimizer.lr,state,reason,epochs,train/loss,valid/loss,valid/"
            "accuracy,digest,seconds,skipped_steps\n"
            "1,t00,\"a,\"\"b\"\"\nc\",0.30000000000000004,waiting,,0,,,0.3333333333333333,,0,0\n");
}

TEST(Leaderboard, SkippedStepsAreShownWhereThereAreAny) {
  auto trials = sample::trials();
  EXPECT_THAT(format_leaderboard(make_leaderboard(trials, SearchSpec{}), TableFormat::table),
              Not(HasSubstr("skipped")));
  trials[3].skipped_steps = 17;
  const auto board = make_leaderboard(trials, SearchSpec{});
  ASSERT_EQ(board[0].trial, "t03");
  EXPECT_EQ(board[0].skipped_steps, 17u);
  const auto lines = text::split(format_leaderboard(board, TableFormat::table), '\n');
  EXPECT_THAT(lines[0], HasSubstr("skipped"));
  EXPECT_THAT(lines[1], HasSubstr("17  0f1e2d"));
  EXPECT_THAT(format_leaderboard(board, TableFormat::csv), HasSubstr(",17\n2"));
  Json older = board;
  for (auto& row : older) row.erase("skipped_steps");
  EXPECT_EQ(older.get<std::vector<LeaderboardRow>>()[0].skipped_steps, 0u);
}

TEST(Leaderboard, JsonReadsBack) {
  auto board = rows();
  board[0].settings.push_back({"a", true});
  board[0].settings.push_back({"b", 4.0});
  board[0].settings.push_back({"c", std::string("x")});
  const Json json = parse_json(format_leaderboard(board, TableFormat::json), "test");
  EXPECT_EQ(json.get<std::vector<LeaderboardRow>>(), board);
  EXPECT_TRUE(json.at(7).at("rank").is_null());
}

TEST(Leaderboard, EmptyOnesPrint) {
  EXPECT_EQ(format_leaderboard({}, TableFormat::json), "[]\n");
  EXPECT_THAT(format_leaderboard({}, TableFormat::table), HasSubstr("rank"));
  EXPECT_THAT(format_leaderboard({}, TableFormat::csv), HasSubstr("rank,trial"));
}

TEST(TableFormat, Words) {
  EXPECT_EQ(parse_table_format("csv"), TableFormat::csv);
  EXPECT_EQ(parse_table_format("xml"), std::nullopt);
}

TEST(Summary, JsonReadsBack) {
  const RunSummary run = sample::summary();
  EXPECT_EQ(parse_json(Json(run).dump(), "test").get<RunSummary>(), run);
}

TEST(Summary, NumbersThatAreNotFiniteReadBackAsNaN) {
  RunSummary run = sample::summary();
  run.comparisons[0].measured = std::numeric_limits<double>::infinity();
  const auto back = parse_json(Json(run).dump(), "test").get<RunSummary>();
  EXPECT_TRUE(std::isnan(back.comparisons[0].measured));
  EXPECT_THAT(format_summary(back), HasSubstr("time of the run"));
}

TEST(Summary, ForeignJsonIsASentence) {
  for (const char* text : {"{}", "[]", "{\"name\":1}", "{\"name\":\"a\",\"wall_s\":1,\"devices\":[{}]}",
                           "{\"name\":\"a\",\"wall_s\":1,\"devices\":[]}"})
    EXPECT_THROW(parse_json(text, "test").get<RunSummary>(), Failure) << text;
}

TEST(Summary, TextShowsShareOfEachCauseAndPeaks) {
  const std::string text = format_summary(sample::summary());
  EXPECT_THAT(text, HasSubstr("debian-sections: 8 min 12 s (emulated devices)"));
  EXPECT_THAT(text, HasSubstr("idle: load"));
  EXPECT_THAT(text, HasSubstr("emulated:0  89.4 %"));
  EXPECT_THAT(text, HasSubstr("249 MiB  256 MiB"));
  EXPECT_THAT(text, HasSubstr("host        disk             11 GiB"));
  EXPECT_THAT(text, HasSubstr("× 1.07"));
  EXPECT_THAT(text, HasSubstr("Machine: 2 cores; libtorch 2.11.0; no GPU"));
}

TEST(Summary, OnlyEmulatedDevicesAreCalledEmulated) {
  RunSummary run = sample::summary();
  for (auto& device : run.devices) device.name = "small:" + device.name.substr(9);
  EXPECT_THAT(format_summary(run), HasSubstr("small:0 (emulated)"));
  for (auto& device : run.devices) device.emulated = false;
  run.transfers.clear();
  EXPECT_THAT(format_summary(run), Not(HasSubstr("emulated")));
}

TEST(Summary, SaysHowCardsFared) {
  RunSummary run = sample::summary();
  EXPECT_THAT(format_summary(run), Not(HasSubstr("driver")));
  CardCondition card;
  card.samples = 8;
  card.sm_mhz_mean = 1712.4;
  card.sm_mhz_max = 1980;
  card.power_w_mean = 655.5;
  card.energy_j = 322'500;
  card.memory_peak = 70 * GiB;
  card.slowed_by = {{"power cap", 0.25}};
  run.devices[1].condition = card;
  EXPECT_EQ(parse_json(Json(run).dump(), "test").get<RunSummary>(), run);
  const std::string text = format_summary(run);
  EXPECT_THAT(text, HasSubstr("Cards as their driver saw them"));
  EXPECT_THAT(text, HasSubstr("emulated:1  1712 MHz      -  1980 MHz"));
  EXPECT_THAT(text, HasSubstr("656 W"));
  EXPECT_THAT(text, HasSubstr("322 kJ"));
  EXPECT_THAT(text, HasSubstr("70 GiB"));
  EXPECT_THAT(text, HasSubstr("emulated:1: clocks were lowered by power cap in 25.0 % of the samples"));
}

TEST(Summary, CountsGraphsWhereThereAreAny) {
  RunSummary run = sample::summary();
  EXPECT_THAT(format_summary(run), Not(HasSubstr("as graphs")));
  run.devices[1].recorded_steps = 1234;
  EXPECT_THAT(format_summary(run), testing::AllOf(HasSubstr("as graphs"), HasSubstr(" 1234 ")));
  EXPECT_EQ(parse_json(Json(run).dump(), "test").get<RunSummary>(), run);
}

TEST(Summary, AnEmptyRunPrints) { EXPECT_THAT(format_summary({}), HasSubstr("Peaks")); }

TEST(FormatInUnit, EachUnit) {
  EXPECT_EQ(format_in_unit(1.5, "s"), "1.50 s");
  EXPECT_EQ(format_in_unit(1536, "bytes"), "1.50 KiB");
  EXPECT_EQ(format_in_unit(1 << 20, "bytes/s"), "1 MiB/s");
  EXPECT_EQ(format_in_unit(0.125, "fraction"), "12.5 %");
  EXPECT_EQ(format_in_unit(42, ""), "42");
  EXPECT_EQ(format_in_unit(2, "steps"), "2 steps");
  EXPECT_EQ(format_in_unit(std::numeric_limits<double>::quiet_NaN(), "bytes"), "-");
  EXPECT_EQ(format_in_unit(-1, "bytes"), "0 B");
}

}  // namespace
}  // namespace hopyard
