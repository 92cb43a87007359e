#include "runtime/recorded_visits.h"

#include <gtest/gtest.h>

#include "experiment/hopping_trainer.h"
#include "fakes/temporary_folder.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_record.h"

namespace hopyard {
namespace {

constexpr std::uint32_t kPartitions = 3;

class RecordedVisitsTest : public ::testing::Test {
 protected:
  void visit(const std::string& trial, std::uint32_t visits, std::uint32_t partition) {
    VisitCommit commit;
    commit.trial = trial;
    commit.epoch = visits / kPartitions;
    commit.visit = visits % kPartitions;
    commit.partition = partition;
    journal_->commit(commit, {});
  }
  VisitRecord visited() const { return visited_by(*journal_, *open_record(path_, true), kPartitions, "journal"); }

  const fakes::TemporaryFolder folder_;
  const std::string path_ = folder_ / "journal.sqlite";
  const std::unique_ptr<Journal> journal_ = open_journal(path_, false);
};

TEST_F(RecordedVisitsTest, AreThoseOfTheCommitsInTheirOrder) {
  for (const char* id : {"t0", "t1", "t2"}) journal_->add_trial({id, static_cast<std::uint32_t>(id[1] - '0'), 1, {}});
  const std::vector<std::uint32_t> order = {2, 0, 1, 1};
  for (std::uint32_t visits = 0; visits < order.size(); ++visits) visit("t0", visits, order[visits]);
  visit("t1", 2, 1);  // a clone begins at the end of its parent's first epoch
  visit("t1", 3, 2);
  EXPECT_EQ(visited(), (VisitRecord{{"t0", {0, order}}, {"t1", {2, {1, 2}}}, {"t2", {}}}));
}

TEST_F(RecordedVisitsTest, TheVisitInWhichATrialFailedIsItsLast) {
  for (const char* id : {"t0", "t1", "t2"}) journal_->add_trial({id, static_cast<std::uint32_t>(id[1] - '0'), 1, {}});
  for (const char* id : {"t0", "t2"}) {
    visit(id, 0, 1);
    journal_->put_fact(failed_visit_fact(id), R"({"visits": 1, "partition": 2})");
  }
  journal_->put_fact(failed_visit_fact("t1"), R"({"visits": 0, "partition": 2})");
  journal_->end_trial("t0", TrialState::failed, "its loss is not finite");
  journal_->end_trial("t1", TrialState::failed, "its loss is not finite");
  visit("t2", 1, 0);  // tried again, it did not fail
  EXPECT_EQ(visited(), (VisitRecord{{"t0", {0, {1, 2}}}, {"t1", {0, {2}}}, {"t2", {0, {1, 0}}}}));
}

TEST_F(RecordedVisitsTest, OfARunThatRepeatsAnotherAreWhatItWasToVisit) {
  const VisitRecord orders = {{"t0", {0, {2, 0, 1}}}, {"t1", {2, {1, 2, 0, 1}}}};
  EXPECT_TRUE(orders_to_repeat(*journal_, "journal").empty());
  keep_orders_to_repeat(*journal_, orders);
  EXPECT_EQ(orders_to_repeat(*journal_, "journal"), orders);
  for (const char* id : {"t0", "t1"}) journal_->add_trial({id, static_cast<std::uint32_t>(id[1] - '0'), 1, {}});
  visit("t0", 0, 2);
  EXPECT_EQ(visited(), orders);
}

}  // namespace
}  // namespace hopyard
