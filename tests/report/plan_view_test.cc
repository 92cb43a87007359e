#include "report/plan_view.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/failure.h"

namespace hopyard {
namespace {

using testing::HasSubstr;
using testing::Not;

PlanView plan() {
  PlanGroup cut;
  cut.trials = {"t00", "t02"};
  cut.title = "bert, freeze 0";
  cut.layers = {{"embeddings", 11'917'056, 45 * MiB, 0, true},
                {"encoder.0", 1'774'464, 7 * MiB, 3.7e9, true},
                {"head", 154'000, 600 * KiB, 1e7, true}};
  cut.shards = {{"embeddings", "encoder.0", 2, 52 * MiB, 156 * MiB, 156 * MiB, 20 * MiB, 0.1, 0.3},
                {"head", "head", 1, 600 * KiB, 2 * MiB, 2 * MiB, MiB, 0.01, 0.02}};
  cut.state_bytes = 272 * MiB;
  cut.peak_device = 250 * MiB;
  cut.compute_s = 0.43, cut.transfer_s = 0.2, cut.step_s = 0.45;
  PlanGroup frozen = cut;
  frozen.trials = {"t01"};
  frozen.title = "bert, freeze 2";
  frozen.shards = {{"embeddings", "head", 3, 52 * MiB, 0, 0, 20 * MiB, 0.1, 0}};
  frozen.resident = true;
  frozen.frozen_bytes = 52 * MiB;
  frozen.precision = "bf16";
  PlanView view;
  view.name = "debian-sections";
  view.trials = 3;
  view.groups = {cut, frozen};
  view.tiers = {"2 × emulated, link 4 GiB/s", true, 256 * MiB, 512 * MiB, 500 * MiB, 8 * GiB, 3 * GiB, 11 * GiB, 2};
  view.sharing = {{"embeddings", "encoder.0", 2, {"t01"}, 2500, "host", 117 * MiB, 0, 5e12, 59, 1e12, 3.4, 0}};
  view.predicted_s = 400;
  view.predicted_peak_device = 250 * MiB, view.predicted_peak_host = 500 * MiB, view.predicted_peak_disk = 3 * GiB;
  view.notes = {"costs were measured on this machine"};
  return view;
}

TEST(PlanView, TextSaysWhatWillHappen) {
  const std::string text = format_plan(plan());
  EXPECT_THAT(text, HasSubstr("debian-sections: 3 trials, predicted time 6 min 40 s (emulated devices)"));
  EXPECT_THAT(text, HasSubstr("bert, freeze 0: cut into 2 shards; trials t00, t02"));
  EXPECT_THAT(text, HasSubstr("bert, freeze 2: resident; trials t01"));
  EXPECT_THAT(text.substr(0, text.find("bert, freeze 2")), Not(HasSubstr("computes in")));
  EXPECT_THAT(text, HasSubstr("computes in bf16; its state is float32"));
  EXPECT_THAT(text, HasSubstr("11.92 M   45 MiB         0.00"));
  EXPECT_THAT(text, HasSubstr("s0     embeddings … encoder.0 (2)"));
  EXPECT_THAT(
      text,
      HasSubstr(
          "embeddings … encoder.0 (2)  t01                            2500  host         117 MiB     -       5000.0"));
  EXPECT_THAT(text, HasSubstr("the state of 2 of 3 trials at a time"));
  EXPECT_THAT(text, HasSubstr("11 GiB will be written"));
  EXPECT_THAT(text, HasSubstr("note: costs were measured on this machine"));
  EXPECT_THAT(text, Not(HasSubstr("Predicted and measured")));
}

TEST(PlanView, ADiskThatMayNotDoIsWarnedOf) {
  PlanView view = plan();
  EXPECT_FALSE(disk_warning(view));
  view.tiers.disk_budget = view.predicted_peak_disk;
  EXPECT_FALSE(disk_warning(view)) << "it is the most";
  view.tiers.disk_budget = view.predicted_peak_disk - GiB;
  EXPECT_THAT(disk_warning(view).value_or(""), HasSubstr("Up to 3 GiB of disk may be needed and 2 GiB are"));
  EXPECT_THAT(disk_warning(view).value_or(""), HasSubstr("execute.active_trials"));
  view.tiers.active_trials = 1;
  EXPECT_THAT(disk_warning(view).value_or(""), Not(HasSubstr("execute.active_trials")));
}

TEST(PlanView, AfterARunMeasurementsStandBeside) {
  PlanView view = plan();
  view.comparisons = {{"time of the run", 400, 500, "s"}};
  EXPECT_THAT(format_plan(view), HasSubstr("time of the run  6 min 40 s  8 min 20 s  × 1.25"));
}

TEST(PlanView, JsonReadsBack) {
  PlanView view = plan();
  view.comparisons = {{"time of the run", 400, 500, "s"}};
  EXPECT_EQ(parse_json(Json(view).dump(2), "test").get<PlanView>(), view);
}

TEST(PlanView, ForeignJsonIsASentence) {
  Json broken = plan();
  broken["groups"][0]["shards"][0].erase("layers");
  EXPECT_THROW(broken.get<PlanView>(), Failure);
  broken = plan();
  broken.erase("tiers");
  EXPECT_THROW(broken.get<PlanView>(), Failure);
  broken = plan();
  broken["trials"] = 5'000'000'000;
  EXPECT_THROW(broken.get<PlanView>(), Failure);
}

TEST(PlanView, AnEmptyPlanPrints) { EXPECT_THAT(format_plan({}), HasSubstr("0 trials")); }

}  // namespace
}  // namespace hopyard
