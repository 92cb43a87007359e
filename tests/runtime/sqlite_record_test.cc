// Looks and digests in the journal's file.
#include "runtime/sqlite_record.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <limits>

#include "base/failure.h"
#include "fakes/temporary_folder.h"
#include "runtime/sqlite.h"
#include "runtime/sqlite_journal.h"

namespace hopyard {
namespace {

using testing::ElementsAre;

class SqliteRecordTest : public ::testing::Test {
 protected:
  SqliteRecordTest() : journal_(open_journal(path_, false)) {
    for (const char* id : {"t1", "t2"}) journal_->add_trial({id, static_cast<std::uint32_t>(id[1] - '1'), 1, {}});
  }
  std::unique_ptr<RunRecord> open(bool read_only = false) const { return open_record(path_, read_only); }

  static VisitCommit visit(const std::string& trial, std::uint32_t epoch, std::uint32_t visit, const char* digest) {
    VisitCommit commit;
    commit.trial = trial;
    commit.epoch = epoch;
    commit.visit = visit;
    commit.partition = visit + 1;
    commit.digest = digest;
    return commit;
  }

  const fakes::TemporaryFolder folder_;
  const std::string path_ = folder_ / "journal.sqlite";
  const std::unique_ptr<Journal> journal_;  // open beside the record, as in a run
};

TEST_F(SqliteRecordTest, EveryVisitsDigestIsKept) {
  journal_->commit(visit("t1", 0, 2, "aa"), {});
  journal_->commit(visit("t2", 0, 0, "bb"), {});
  const auto record = open(true);
  journal_->commit(visit("t1", 1, 0, "cc"), {});
  EXPECT_THAT(record->visit_digests("t1"), ElementsAre(VisitDigest{0, 2, 3, "aa"}, VisitDigest{1, 0, 1, "cc"}));
  EXPECT_TRUE(record->visit_digests("t3").empty());
}

TEST_F(SqliteRecordTest, TellsHowATrialStands) {
  const auto record = open(true);
  EXPECT_EQ(record->standing("t1"), TrialStanding{});
  EXPECT_FALSE(record->standing("t3"));
  VisitCommit scored = visit("t1", 0, 1, "aa");
  scored.score = TrialScore{"t1", 1, 0.5, std::numeric_limits<double>::infinity(), 0.1 + 0.2, "aa"};
  journal_->commit(visit("t1", 0, 0, "bb"), {});
  journal_->commit(scored, {});
  EXPECT_EQ(record->standing("t1"), (TrialStanding{TrialState::active, "", {*scored.score}}));
  journal_->end_trial("t1", TrialState::stopped, "by kim");
  EXPECT_EQ(record->standing("t1"), (TrialStanding{TrialState::stopped, "by kim", {*scored.score}}));
}

TEST_F(SqliteRecordTest, LooksKeepTheirOrderAndGetTheirResultLater) {
  const auto reader = open(true);
  EXPECT_TRUE(open()->looks().empty());
  TestLook first;
  first.trial = "t1";
  first.epochs = 3;
  first.digest = "00112233445566778899aabbccddeeff";
  first.by.author = "ada";
  first.by.uid = 4'000'000'000u;
  first.by.time_s = 1.7e9 + 0.1;
  first.reason = "the best";
  TestLook second = first;
  second.reason = "it's \"again\"\n";
  second.by = Signature();
  const auto one = open()->add_look(first), two = open()->add_look(second);
  EXPECT_NE(one, two);
  EXPECT_THAT(open(true)->looks(), ElementsAre(first, second)) << "before there are results";
  second.metrics = {{"test/accuracy", 1.0 / 3}, {"test/loss", std::numeric_limits<double>::infinity()}};
  open()->finish_look(two, second.metrics);
  EXPECT_THAT(open(true)->looks(), ElementsAre(first, second));
}

TEST_F(SqliteRecordTest, AJournalFromBeforeHasAnEmptyRecord) {
  const auto reader = open(true);  // nobody has written a record yet
  EXPECT_TRUE(reader->looks().empty());
  const TestLook look;
  EXPECT_THROW(reader->add_look(look), std::logic_error);
  EXPECT_THROW(open_record(folder_ / "none.sqlite", true), Failure);
}

}  // namespace
}  // namespace hopyard
