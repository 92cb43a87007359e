#include "runtime/worker_record.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"
#include "runtime/sqlite_journal.h"
#include "runtime/sqlite_state_book.h"

namespace hopyard {
namespace {

class WorkerRecordTest : public ::testing::Test {
 protected:
  WorkerRecordTest() {
    journal_->put_fact("partitions", R"({"count":4})");
    journal_->add_trial({"t00", 0, 1, {}});
    VisitCommit commit;
    commit.trial = "t00";
    commit.epoch = 1;
    commit.visit = 2;
    commit.digest = "ab";
    journal_->commit(commit, {});
  }
  /// A worker's folder, whose book has one state.
  void hold(std::uint32_t rank, std::uint32_t visits, const std::string& digest) {
    const RunPaths worker = paths_.of_worker(rank);
    std::filesystem::create_directories(worker.root);
    open_journal(worker.journal(), false);
    open_state_book(worker.states(), false)->put({"t00", visits, digest, {{0, 8, 3}}});
  }
  std::string refusal(std::uint32_t workers) {
    return fakes::failure_of(ExitCode::usage, [&] { claim_workers(*journal_, paths_, workers); });
  }

  const fakes::TemporaryFolder folder_;
  const RunPaths paths_{folder_.path()};
  const std::unique_ptr<Journal> journal_ = open_journal(paths_.journal(), false);
};

TEST_F(WorkerRecordTest, SeveralMayBecomeOtherSeveralButNotOne) {
  const fakes::TemporaryFolder fresh;
  const RunPaths paths(fresh.path());
  const auto journal = open_journal(paths.journal(), false);
  for (const std::uint32_t workers : {3u, 2u, 4u}) {
    claim_workers(*journal, paths, workers);
    EXPECT_EQ(recorded_workers(*journal, "journal"), workers);
  }
  EXPECT_NE(fakes::failure_of(ExitCode::usage, [&] { claim_workers(*journal, paths, 1); }).find("began with 4 workers"),
            std::string::npos);
  EXPECT_EQ(recorded_workers(*journal, "journal"), 4u);
}

TEST_F(WorkerRecordTest, OneStaysOne) {
  claim_workers(*journal_, paths_, 1);
  EXPECT_NE(refusal(2).find("began with 1 worker, which keeps states in its journal, and 2 are there"),
            std::string::npos);
}

TEST_F(WorkerRecordTest, AStateThatOnlyAGoneRankHasIsNamed) {
  hold(0, 6, "ab");  // an older one
  hold(1, 7, "other");
  check_states_stay(*journal_, paths_, 2);  // wherever it is, it is not here
  hold(2, 7, "ab");
  check_states_stay(*journal_, paths_, 3);
  EXPECT_EQ(fakes::failure_of(ExitCode::usage, [&] { check_states_stay(*journal_, paths_, 2); }),
            text::cat(paths_.root,
                      ": the state of t00 after 7 visits is with worker 2 alone, and 2 workers are there; start 3"));
  hold(1, 7, "ab");
  check_states_stay(*journal_, paths_, 2);
}

}  // namespace
}  // namespace hopyard
