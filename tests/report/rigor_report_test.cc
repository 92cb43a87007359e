// The report on rigor against the statistics themselves, on outcomes made by hand.
#include "report/rigor_report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "base/rng.h"
#include "base/text.h"
#include "report/html_parts.h"

namespace hopyard {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr std::size_t kRows = 300;

/// Right on a row with this chance, keyed by the trial, so that runs differ.
RowOutcomes outcomes(double chance, std::uint64_t key) {
  RowOutcomes rows;
  rows.width = 2;
  KeyedStream labels(1), draws(key);
  for (std::size_t i = 0; i < kRows; ++i) {
    const auto label = static_cast<std::int64_t>(labels.below(2));
    const bool right = draws.uniform() < chance;
    const std::int64_t predicted = right ? label : 1 - label;
    const float sure = static_cast<float>(0.5 + 0.5 * draws.uniform());
    rows.labels.push_back(label);
    rows.predicted.push_back(predicted);
    rows.correct.push_back(right);
    rows.losses.push_back(-std::log(right ? sure : 1 - sure));
    rows.values.push_back(predicted == 0 ? sure : 1 - sure);
    rows.values.push_back(predicted == 1 ? sure : 1 - sure);
  }
  return rows;
}

double mean(const std::vector<float>& values) {
  double sum = 0;
  for (const float value : values) sum += value;
  return sum / static_cast<double>(values.size());
}

/// Records and outcomes of a sweep.
struct Sweep {
  void add(const std::string& id, double lr, double chance, std::optional<Replicate> replicate = {},
           std::uint32_t epochs = 2) {
    TrialRecord record;
    record.spec.id = id;
    record.spec.index = static_cast<std::uint32_t>(records.size());
    record.spec.settings = {{"train.optimizer.lr", lr}};
    record.spec.replicate = std::move(replicate);
    record.state = TrialState::finished;
    const RowOutcomes rows = outcomes(chance, 7 * records.size() + 3);
    for (std::uint32_t epoch = 1; epoch <= epochs; ++epoch)
      record.scores.push_back({id, epoch, 1, mean(rows.losses), mean(rows.correct) - 0.01 * (epochs - epoch), "d"});
    records.push_back(record);
    kept[id] = rows;
  }
  void add_group(const std::string& group, double lr, double chance, std::uint32_t members) {
    for (std::uint32_t seed = 0; seed < members; ++seed)
      add(text::cat(group, ".s", seed), lr, chance, Replicate{group, seed, std::nullopt});
  }
  RigorReport report() const { return make_rigor_report({records, search, kept, 5, std::nullopt}); }

  SearchSpec search;
  std::vector<TrialRecord> records;
  std::map<std::string, RowOutcomes> kept;
};

Sweep singles() {
  Sweep sweep;
  sweep.add("t00", 1e-3, 0.8);
  sweep.add("t01", 3e-3, 0.75);
  sweep.add("t02", 1e-2, 0.5);
  return sweep;
}

Sweep groups() {
  Sweep sweep;
  sweep.add_group("t00", 1e-3, 0.80, 3);
  sweep.add_group("t01", 3e-3, 0.79, 3);
  sweep.add_group("t02", 1e-2, 0.5, 3);
  return sweep;
}

std::vector<double> doubles(const std::vector<float>& values) { return {values.begin(), values.end()}; }

TEST(RigorReport, SingleTrialsAreComparedByMcNemar) {
  const Sweep sweep = singles();
  const RigorReport report = sweep.report();
  ASSERT_TRUE(report.verdict);
  const auto test = rigor::mcnemar(doubles(sweep.kept.at("t00").correct), doubles(sweep.kept.at("t02").correct));
  const auto& worse = report.verdict->others.back();
  EXPECT_EQ(worse.id, "t02");
  EXPECT_EQ(worse.p, test.mid_p);
  EXPECT_TRUE(worse.told_apart);
  EXPECT_NEAR(worse.corrected_p, 3 * test.mid_p, 1e-12) << "three pairs";
  EXPECT_THAT(report.verdict->best_set, ElementsAre("t00", "t01"));
  EXPECT_THAT(report.verdict->method, HasSubstr("McNemar"));
  EXPECT_TRUE(report.decompositions.empty());
  EXPECT_FALSE(report.grouped);
}

TEST(RigorReport, AGroupIsItsRuns) {
  const Sweep sweep = groups();
  const RigorReport report = sweep.report();
  ASSERT_EQ(report.groups.size(), 3u);
  std::vector<double> metrics;
  for (const auto& record : sweep.records)
    if (record.spec.replicate->group == report.groups[0].group) metrics.push_back(record.scores.back().metric);
  EXPECT_EQ(report.groups[0].score, rigor::summarize_group(metrics));
  EXPECT_EQ(report.groups[2].group, "t02");
  EXPECT_EQ(report.groups[2].rank, 3u);
  EXPECT_EQ(report.groups[0].members.size(), 3u);
  EXPECT_EQ(report.groups[0].epochs, 2u);
  EXPECT_TRUE(report.grouped);
  EXPECT_THAT(report.verdict->method, HasSubstr("examples and runs"));
  EXPECT_TRUE(report.verdict->others.back().told_apart);
}

TEST(RigorReport, DecomposesAsTheStatisticsDo) {
  const Sweep sweep = groups();
  const RigorReport report = sweep.report();
  ASSERT_EQ(report.decompositions.size(), 3u);
  for (const auto& parts : report.decompositions) {
    std::vector<std::vector<std::int64_t>> predicted;
    std::vector<std::vector<double>> logs;
    for (std::uint32_t seed = 0; seed < 3; ++seed) {
      const auto& rows = sweep.kept.at(text::cat(parts.group, ".s", seed));
      predicted.push_back(rows.predicted);
      auto& log = logs.emplace_back();
      for (const float value : rows.values) log.push_back(std::log(std::max(double{value}, 1.1754943508222875e-38)));
    }
    const auto& labels = sweep.kept.at("t00.s0").labels;
    EXPECT_EQ(parts.zero_one, rigor::decompose_zero_one(predicted, labels));
    EXPECT_EQ(parts.log_loss, rigor::decompose_log(logs, 2, labels));
    EXPECT_EQ(parts.squared, std::nullopt);
    EXPECT_NEAR(parts.zero_one->terms.loss, parts.zero_one->terms.bias + parts.zero_one->terms.variance, 1e-12);
  }
}

TEST(RigorReport, SquaredLossOfRegression) {
  Sweep sweep;
  sweep.search.metric = "valid/mse";
  sweep.search.maximize = false;
  sweep.add_group("t00", 1e-3, 0.8, 2);
  std::vector<std::vector<double>> values;
  for (auto& [id, rows] : sweep.kept) {
    rows = RowOutcomes();
    rows.width = 1;
    rows.targets = {0, 1, 2};
    rows.values = {0.5f * static_cast<float>(values.size()), 1, 4};
    rows.losses = {rows.values[0] * rows.values[0], 0, 4};
    values.push_back(doubles(rows.values));
  }
  const auto report = sweep.report();
  ASSERT_EQ(report.decompositions.size(), 1u);
  EXPECT_EQ(report.decompositions[0].squared, rigor::decompose_squared(values, std::vector<double>{0, 1, 2}));
  EXPECT_EQ(report.decompositions[0].zero_one, std::nullopt);
}

TEST(RigorReport, OptimismIsOfTheGroupsMeans) {
  const Sweep sweep = groups();
  const RigorReport report = sweep.report();
  std::vector<std::vector<double>> scores;
  for (const auto& row : report.groups) {
    auto& means = scores.emplace_back(kRows);
    for (const auto& member : row.members)
      for (std::size_t i = 0; i < kRows; ++i) means[i] += sweep.kept.at(member.trial).correct[i] / 3.0;
  }
  EXPECT_EQ(report.optimism, rigor::selection_optimism(scores, true, 5));
  EXPECT_EQ(report.selected, report.groups[report.optimism->selected].group);
}

TEST(RigorReport, AGroupWithAFailedMemberHasNoRank) {
  Sweep sweep = groups();
  sweep.records[0].state = TrialState::failed;
  sweep.records[0].scores.clear();
  const RigorReport report = sweep.report();
  EXPECT_EQ(report.groups.back().group, "t00");
  EXPECT_EQ(report.groups.back().rank, 0u);
  EXPECT_EQ(report.groups.back().score.runs, 2u);
  EXPECT_EQ(report.verdict->leader, "t01");
  EXPECT_THAT(format_groups(report, TableFormat::table), HasSubstr("t00: 1 of 3 runs failed"));
}

TEST(RigorReport, MembersCountAsFarAsAllOfThemCame) {
  Sweep sweep = groups();
  sweep.records[1].state = TrialState::active;
  sweep.records[1].scores.pop_back();
  for (const auto& row : sweep.report().groups) {
    EXPECT_EQ(row.epochs, row.group == "t00" ? 1u : 2u) << "the second one is still to come further";
    EXPECT_EQ(row.score.runs, 3u);
  }
  sweep.records[1].state = TrialState::stopped;
  for (const auto& row : sweep.report().groups) {
    EXPECT_EQ(row.epochs, 2u);
    EXPECT_EQ(row.score.runs, row.group == "t00" ? 2u : 3u) << "somebody stopped the second one";
  }
}

TEST(RigorReport, SaysWhyThereIsNoVerdict) {
  Sweep sweep;
  EXPECT_EQ(winner_sentence(sweep.report()), "");
  sweep.add("t00", 1e-3, 0.8);
  EXPECT_THAT(winner_sentence(sweep.report()), HasSubstr("there is nothing to compare it with"));
  sweep.add("t01", 1e-3, 0.7);
  sweep.kept.erase("t01");
  EXPECT_THAT(winner_sentence(sweep.report()), HasSubstr("of no other is it kept"));
  sweep.kept.clear();
  EXPECT_THAT(winner_sentence(sweep.report()), HasSubstr("what t00 said of each validation row is not kept"));
}

TEST(RigorReport, SentencesForPeople) {
  EXPECT_EQ(winner_sentence(singles().report()), "t00 cannot be told apart from t01; 1 are worse.");
  Sweep clear;
  clear.add("t00", 1e-3, 0.5);
  clear.add("t01", 1e-3, 0.9);
  EXPECT_EQ(winner_sentence(clear.report()), "t01 is better than all others it was compared with.");
  const std::string text = format_groups(singles().report(), TableFormat::table);
  EXPECT_THAT(text, HasSubstr("rank  trial"));
  EXPECT_THAT(text,
              HasSubstr("Compared by McNemar's mid-p test, Holm-corrected over all pairs, at 5.0 %, over the same "
                        "300 validation rows"));
  const std::string all = format_rigor(groups().report(), TableFormat::table);
  EXPECT_THAT(all, HasSubstr("Domingos, ICML 2000"));
  EXPECT_THAT(all, HasSubstr("of its score is optimism"));
}

TEST(RigorReport, TheTableOfGroups) {
  Sweep sweep;
  for (std::uint32_t seed = 0; seed < 2; ++seed) sweep.add(text::cat("t00.s", seed), 1e-3, 0.5, Replicate{"t00", seed});
  sweep.records[0].scores.back().metric = 0.5;
  sweep.records[1].scores.back().metric = 0.75;
  sweep.kept.clear();
  const std::string text = format_groups(sweep.report(), TableFormat::table);
  // t(0.975, 1) = 12.706; 0.1768 · √½ · 12.706 = 1.5883
  EXPECT_EQ(text,
            "rank  group     lr  runs  epochs  valid/accuracy      95 % interval  against the best\n"
            "   1  t00    0.001     2       2          0.6250  -0.9633 to 2.2133\n"
            "\nMeans over runs; intervals by Student's t over 2 runs (Student, Biometrika 6, 1908).\n"
            "Whether t00 is really the best cannot be said: there is nothing to compare it with.\n");
  EXPECT_THAT(format_groups(sweep.report(), TableFormat::csv),
              testing::StartsWith("rank,group,train.optimizer.lr,runs,failed,epochs,valid/accuracy,deviation,low,high,"
                                  "corrected_p\n1,t00,0.001,2,0,2,0.625,"));
}

TEST(RigorReport, JsonHasEverything) {
  const Json board = parse_json(format_groups(groups().report(), TableFormat::json), "test");
  ASSERT_EQ(board.size(), 3u);
  EXPECT_EQ(board[0]["runs"], 3);
  EXPECT_EQ(board[0]["interval"].size(), 2u);
  EXPECT_EQ(board[0]["members"].size(), 3u);
  EXPECT_EQ(board[0]["comparison"]["leads"], true);
  EXPECT_EQ(board[2]["comparison"]["told_apart"], true);
  for (const char* key : {"method", "citation", "alpha", "examples", "p", "corrected_p", "behind"})
    EXPECT_TRUE(board[2]["comparison"].contains(key)) << key;
  const Json singly = parse_json(format_groups(singles().report(), TableFormat::json), "test");
  EXPECT_EQ(singly[0]["trial"], "t00");
  EXPECT_EQ(singly[2]["comparison"]["leader"], "t00");
  EXPECT_EQ(singly[0].get<LeaderboardRow>().trial, "t00") << "a row is still one of the leaderboard's";
  const Json all = parse_json(format_rigor(groups().report(), TableFormat::json), "test");
  EXPECT_EQ(all["bias_variance"].size(), 3u);
  EXPECT_TRUE(all["selection"].contains("optimism"));
  EXPECT_TRUE(all["noise"].is_null());
}

TEST(RigorReport, NoiseOfRepeatedInputs) {
  LabelledInputs rows;
  rows.inputs.width = 4;
  rows.classes = 2;
  for (int i = 0; i < 40; ++i) {  // each input twice; every fourth pair disagrees
    for (int copy = 0; copy < 2; ++copy) {
      for (const int token : {101, 1000 + i, 2000 + i, 102}) rows.inputs.tokens.push_back(token);
      rows.labels.push_back(copy == 1 && i % 4 == 0 ? 1 - i % 2 : i % 2);
    }
  }
  const NoiseReport noise = estimate_noise(rows);
  ASSERT_TRUE(noise.exact && noise.near);
  EXPECT_EQ(noise.exact->clusters, 40u);
  EXPECT_EQ(noise.exact->mixed_clusters, 10u);
  EXPECT_EQ(noise.near->clusters, 40u) << "tokens that all rows have make nobody alike";
  EXPECT_THAT(noise_sentences(noise), HasSubstr("80 of 80 rows in 40 clusters, 10 with unlike labels"));
  rows.tokens = false;
  EXPECT_EQ(estimate_noise(rows).near, std::nullopt);
}

TEST(RigorReport, TheSectionOfTheHtmlEscapes) {
  Sweep sweep = groups();
  for (auto& record : sweep.records) record.spec.replicate->group += "<b>";
  const std::string html = rigor_section(sweep.report());
  EXPECT_THAT(html, HasSubstr("id=\"rigor\""));
  EXPECT_THAT(html, HasSubstr("<svg"));
  EXPECT_THAT(html, HasSubstr("t00&lt;b&gt;"));
  EXPECT_THAT(html, Not(HasSubstr("<b>")));
  EXPECT_EQ(rigor_section(Sweep().report()), "");
}

}  // namespace
}  // namespace hopyard
