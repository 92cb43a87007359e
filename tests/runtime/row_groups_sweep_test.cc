// Sweeps over groups of rows (data.group_by): each group's trial is what a trial on its rows alone would be.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>

#include "data/partition_writer.h"
#include "data/row_groups.h"
#include "fakes/failure_of.h"
#include "fakes/small_world.h"
#include "fakes/sweep_run.h"
#include "report/rigor_report.h"

namespace hopyard {
namespace {

using testing::HasSubstr;

constexpr std::uint32_t kGroups = 3, kValidRows = 20;  // the classes are the groups

/// A data folder of some rows of another one.
void write_rows(const Dataset& data, const std::vector<std::uint32_t>& rows, const std::string& folder) {
  std::filesystem::create_directories(folder);
  Json json = read_json(data.folder() + "/dataset.json");
  json["rows"] = rows.size();
  json["parts"] = Json::array({Json{{"file", "part.safetensors"}, {"rows", rows.size()}}});
  std::ofstream(folder + "/dataset.json") << json.dump();
  std::vector<TensorToWrite> tensors;
  for (const auto& column : data.columns()) {
    tensors.push_back({column.name, column.dtype, {static_cast<std::int64_t>(rows.size())}});
    tensors.back().shape.insert(tensors.back().shape.end(), column.shape.begin(), column.shape.end());
  }
  write_safetensors(folder + "/part.safetensors", tensors, [&](std::size_t index, std::span<std::byte> out) {
    data.copy_rows(data.columns()[index], rows, out);
  });
}

class RowGroupSweepTest : public ::testing::Test {
 protected:
  ExperimentConfig config(const std::string& data, const std::string& search = "method: grid",
                          const std::string& model = "") const {
    return parse_config(
        text::cat("version: 1\nname: small\nseed: 5\ndata: {", data, "}\nmodel: {checkpoint: ", world_.folder / "model",
                  ", task: sequence-classification", model, "}\ntrain: {epochs: 2, batch_size: 4, optimizer: {type: ",
                  "adamw, lr: {choice: [1.0e-3, 3.0e-3]}}}\nsearch: {", search,
                  "}\nresources: {devices: [{type: cpu}],", " host_memory: 64MiB, disk: {capacity: 1GiB}}\n"),
        "config.yaml", {});
  }
  std::string folders(const std::string& train, const std::string& valid) const {
    return text::cat("train: ", world_.folder / train, ", valid: ", world_.folder / valid);
  }
  std::string grouped() const {
    return folders("data", "data") + text::cat(", valid_rows: ", kValidRows, ", partitions: 2, group_by: labels");
  }
  static std::map<std::string, std::string> outcomes(const ExperimentConfig& config) {
    fakes::SweepStore store;
    return fakes::run_sweep(config, store).outcomes;
  }
  std::string refusal(ExitCode code, const std::string& data) const {
    return fakes::failure_of(code, [&] { Workbench(config(data), 1e9, 1e9).plan_all(); });
  }

  fakes::SmallWorld world_{fakes::kTinyBert};
};

TEST_F(RowGroupSweepTest, EachTrialIsWhatItWouldBeOnTheRowsOfItsGroupAlone) {
  const auto together = outcomes(config(grouped()));
  ASSERT_EQ(together.size(), 2 * kGroups);
  const RowGroups train(*world_.data, "labels", world_.data->rows()), valid(*world_.data, "labels", kValidRows);
  for (const auto& group : train.groups()) {
    const std::string name = text::cat("only-", group.value);
    write_rows(*world_.data, group.rows, world_.folder / name + "/train");
    write_rows(*world_.data, valid.find(group.value)->rows, world_.folder / name + "/valid");
    const auto alone = outcomes(config(folders(name + "/train", name + "/valid") + ", partitions: 2"));
    for (const char* trial : {"t00", "t01"})
      EXPECT_EQ(together.at(text::cat(trial, ".g", group.value)), alone.at(trial)) << trial << " of " << group.value;
  }
}

TEST_F(RowGroupSweepTest, SharedLayersChangeNothing) {
  const auto shared = config(grouped(), "method: grid", ", freeze: 2");
  auto apart = shared;
  apart.execute.share_frozen = false;
  EXPECT_EQ(outcomes(shared), outcomes(apart));
}

TEST_F(RowGroupSweepTest, SeedsAndResamplesAreOfEachGroup) {
  const auto all = outcomes(config(grouped(), "method: grid, seeds: 2, resamples: 2"));
  EXPECT_EQ(all.size(), 2 * 2 * 2 * kGroups);
  EXPECT_TRUE(all.contains("t01.s1r0g2"));
  std::set<std::string> different;
  for (const auto& [trial, outcome] : all) different.insert(outcome);
  EXPECT_EQ(different.size(), all.size());
}

TEST_F(RowGroupSweepTest, WhatIsDecidedOnAllGroupsIsDecidedAgainAfterAnInterruption) {
  const auto asha = config(grouped(), "method: asha, trials: 4, eta: 2, deterministic: true, metric: valid/loss");
  const auto whole = outcomes(asha);
  ASSERT_GE(whole.size(), kGroups);
  for (const int lines : {4, 11}) {
    fakes::SweepStore store;
    EXPECT_EQ(fakes::run_sweep(asha, store, lines).end, ExperimentEnd::interrupted);
    EXPECT_EQ(fakes::run_sweep(asha, store).outcomes, whole) << "interrupted after " << lines;
  }
}

/// Cut by groups, every group has one sub-epoch, where it lies; one process and the plan agree on it.
TEST_F(RowGroupSweepTest, DataCutByGroupsHaveASubEpochForEach) {
  write_partitions({.data = world_.folder / "data", .into = 2, .out = world_.folder / "cut", .group_by = "labels"});
  const auto cut = config(folders("cut", "data") + ", group_by: labels");
  fakes::SweepStore store;
  const auto result = fakes::run_sweep(cut, store);
  EXPECT_EQ(result.outcomes.size(), 2 * kGroups);
  const RowGroups groups(PartitionSet(world_.folder / "cut"), "labels");
  ASSERT_EQ(result.plan.row_groups.size(), kGroups);
  for (const auto& planned : result.plan.row_groups) {
    const auto& group = *groups.find(planned.value);
    EXPECT_EQ(planned.train_rows, group.rows.size());
    EXPECT_EQ(planned.partition, group.partition);
  }
  for (const auto& record : store.journal.trials()) {
    EXPECT_EQ(record.last->partition, groups.find(*record.spec.replicate->row_group)->partition);
    EXPECT_EQ(record.last->epoch, 1u);
    EXPECT_EQ(record.last->visit, 0u);
  }
}

TEST_F(RowGroupSweepTest, TheReportHasEachGroupAndAllTogether) {
  const auto sweep = config(grouped(), "method: grid, metric: valid/loss");
  fakes::SweepStore store;
  fakes::run_sweep(sweep, store);
  SearchSpec search = sweep.search;
  search.row_groups = Workbench(sweep, 1e9, 1e9).config().search.row_groups;
  const auto records = store.journal.trials();
  const auto groups = make_groups(records, search);
  ASSERT_EQ(groups.size(), 2u);
  for (const auto& row : groups) {
    ASSERT_EQ(row.row_groups.size(), kGroups);
    double sum = 0;
    for (const auto& group : row.row_groups) sum += group.metric * group.rows.valid_rows;
    EXPECT_NEAR(row.score.mean, sum / kValidRows, 1e-12);
    EXPECT_EQ(row.runs, 1u);
    EXPECT_EQ(row.score.runs, 1u);
  }
  const std::map<std::string, RowOutcomes> none;
  const auto report = make_rigor_report({records, search, none, 0, std::nullopt, "labels"});
  const std::string text = format_groups(report, TableFormat::table);
  EXPECT_THAT(text, HasSubstr("Groups of rows by labels, a model for each"));
  EXPECT_EQ(groups_json(report).at(0).at("row_groups").size(), kGroups);
}

TEST_F(RowGroupSweepTest, BadInputIsASentence) {
  const std::string data = folders("data", "data");
  EXPECT_THAT(refusal(ExitCode::input, data + ", partitions: 1, group_by: section"), HasSubstr("no column 'section'"));
  EXPECT_THAT(refusal(ExitCode::input, data + ", partitions: 1, group_by: input_ids"), HasSubstr("several I32 a row"));
  EXPECT_THAT(refusal(ExitCode::usage, data + ", partitions: 20, group_by: labels"),
              HasSubstr("20 partitions cannot share the"));
  write_rows(*world_.data, RowGroups(*world_.data, "labels", 40).find(1)->rows, world_.folder / "ones");
  EXPECT_THAT(refusal(ExitCode::input, folders("data", "ones") + ", partitions: 1, group_by: labels"),
              HasSubstr("group 0 has"));
  EXPECT_THAT(refusal(ExitCode::input, folders("ones", "data") + ", partitions: 1, group_by: labels"),
              HasSubstr("no model of it can be trained"));
  write_partitions({.data = world_.folder / "data", .into = 2, .out = world_.folder / "plain"});
  EXPECT_THAT(refusal(ExitCode::input, folders("plain", "data") + ", group_by: labels"),
              HasSubstr("was cut without regard to groups"));
  write_partitions({.data = world_.folder / "data", .into = 2, .out = world_.folder / "cut", .group_by = "labels"});
  EXPECT_THAT(refusal(ExitCode::usage, folders("cut", "data") + ", partitions: 2, group_by: labels"),
              HasSubstr("of which each group has one; write auto"));
}

}  // namespace
}  // namespace hopyard
