#include "runtime/sqlite_journal.h"

#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "base/failure.h"
#include "conformance/journal_conformance.h"
#include "fakes/memory_journal.h"
#include "fakes/sqlite_file.h"

/// How often SQLite has asked the kernel to make a file durable: the program's own functions take the C library's
/// place.
static std::atomic<int> syncs = 0;
extern "C" int fsync(int descriptor) {
  ++syncs;
  return static_cast<int>(syscall(SYS_fsync, descriptor));
}
extern "C" int fdatasync(int descriptor) {
  ++syncs;
  return static_cast<int>(syscall(SYS_fdatasync, descriptor));
}

namespace hopyard {
namespace {

using fakes::run_sql;

std::string new_path() {
  static const std::string folder = [] {
    std::string name = testing::TempDir() + "journal-XXXXXX";
    return std::string(mkdtemp(name.data()));
  }();
  static std::atomic<int> count = 0;
  return folder + "/" + std::to_string(count++) + ".sqlite";
}

INSTANTIATE_TEST_SUITE_P(Memory, JournalConformance, testing::Values([] { return std::make_unique<MemoryJournal>(); }));
INSTANTIATE_TEST_SUITE_P(Sqlite, JournalConformance, testing::Values([] { return open_journal(new_path(), false); }));

VisitCommit visit(const std::string& trial, std::uint32_t number) {
  VisitCommit commit;
  commit.trial = trial;
  commit.visit = number;
  commit.state = {{0, number}, {1, number}};
  return commit;
}

/// The sentence and exit code of the Failure that opening throws.
std::string failure_of(const std::string& path, bool read_only) {
  try {
    open_journal(path, read_only);
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::input);
    return failure.what();
  }
  return "no failure";
}

TEST(SqliteJournal, AnotherProcessWouldFindEverythingAgain) {
  const std::string path = new_path();
  TrialSpec spec{"t00", 0, 0xffffffffffffffffULL, {{"train.optimizer.lr", 3e-5}, {"model.freeze", std::int64_t{4}}}};
  VisitCommit commit = visit("t00", 0);
  commit.score = TrialScore{"t00", 1, 0.1, 0.2, 0.3, "d"};
  {
    const auto journal = open_journal(path, false);
    journal->add_trial(spec);
    journal->commit(commit, {{1, 0.1 + 0.2}});
    journal->put_fact("config", "{}");
  }
  const auto journal = open_journal(path, false);
  const auto records = journal->trials();
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].spec, spec);
  EXPECT_EQ(records[0].last->score, commit.score);
  EXPECT_EQ(records[0].curve.at(0).loss, 0.1 + 0.2);
  EXPECT_EQ(journal->fact("config"), "{}");
}

TEST(SqliteJournal, RefusesWhatIsNoJournal) {
  const std::string missing = new_path(), text = new_path(), empty = new_path(), foreign = new_path(),
                    folder = new_path();
  std::ofstream(text) << std::string(4096, 'x');
  std::ofstream(empty).flush();
  run_sql(foreign, "CREATE TABLE t(a)");
  std::filesystem::create_directory(folder);
  EXPECT_THAT(failure_of(missing, true), testing::HasSubstr("there is no journal here"));
  EXPECT_THAT(failure_of(text, true), testing::HasSubstr("is not a journal"));
  EXPECT_THAT(failure_of(text, false), testing::HasSubstr("is not a journal"));
  EXPECT_THAT(failure_of(empty, true), testing::HasSubstr("still empty"));
  EXPECT_THAT(failure_of(foreign, true), testing::HasSubstr("another program's"));
  EXPECT_THAT(failure_of(foreign, false), testing::HasSubstr("another program's"));
  EXPECT_THAT(failure_of(folder, false), testing::HasSubstr(folder + ": cannot"));
  EXPECT_THAT(failure_of(missing + "/none/j.sqlite", false), testing::HasSubstr("cannot open the journal"));
}

TEST(SqliteJournal, RefusesANewerSchema) {
  const std::string path = new_path();
  open_journal(path, false);
  run_sql(path, "PRAGMA user_version=8");
  EXPECT_THAT(failure_of(path, false), testing::HasSubstr("newer Hopyard (journal schema 8, this one reads up to 7)"));
  EXPECT_THAT(failure_of(path, true), testing::HasSubstr("newer Hopyard"));
}

TEST(SqliteJournal, AnOlderSchemaIsReadAndBroughtUpToDate) {
  const std::string path = new_path();
  const TrialSpec spec{"t00", 0, 1, {{"train.optimizer.lr", 3e-5}}};
  open_journal(path, false)->add_trial(spec);
  run_sql(path,
          "DROP TABLE lineage; DROP TABLE decisions; DROP TABLE news; DROP TABLE replicates; DROP TABLE row_groups; "
          "DROP TABLE "
          "operations; "
          "DROP TABLE operation_changes; DROP TABLE operation_epochs; PRAGMA user_version=1");
  const auto reader = open_journal(path, true);
  EXPECT_EQ(reader->trials().at(0).spec, spec);
  EXPECT_TRUE(reader->decisions().empty());
  EXPECT_TRUE(reader->operations().empty());
  const SearchDecision decision{{{"t00", 1, 0.5, std::nullopt}}, "t00", 3u, std::nullopt};
  open_journal(path, false)->add_decision(decision);
  EXPECT_EQ(open_journal(path, true)->decisions(), std::vector{decision});
}

/// Version 4 counted whole epochs.
TEST(SqliteJournal, WholeEpochsOfAnOlderSchemaAreReadAndKept) {
  const std::string path = new_path();
  const SearchDecision decision{{{"t00", 1, 0.5, std::nullopt}}, "t00", 3u, std::nullopt};
  VisitCommit commit = visit("t00", 0);
  commit.score = TrialScore{"t00", 1, 0.1, 0.2, 0.3, "d"};
  {
    const auto journal = open_journal(path, false);
    journal->add_trial({"t00", 0, 1, {}, Lineage{"t07", 2}});
    journal->commit(commit, {});
    journal->add_decision(decision);
  }
  for (const char* table : {"scores", "decisions", "news", "looks"})
    run_sql(path, text::cat("ALTER TABLE ", table, " DROP COLUMN parts"));
  run_sql(path, "PRAGMA user_version=4");
  const SearchDecision later{{{"t00", Epochs::of_visits(5, 4), 0.5, std::nullopt}}, "t00", 3u, std::nullopt};
  for (const bool read_only : {true, false, true}) {
    const auto journal = open_journal(path, read_only);
    EXPECT_EQ(journal->trials().at(0).scores, std::vector{*commit.score});
    EXPECT_EQ(journal->trials().at(0).spec.lineage, (Lineage{"t07", 2}));
    EXPECT_EQ(journal->decisions().at(0), decision);
    if (!read_only) journal->add_decision(later);
  }
  EXPECT_EQ(open_journal(path, true)->decisions().at(1), later);
}

/// Version 6 did not record skipped steps.
TEST(SqliteJournal, VisitsOfAnOlderSchemaHaveNoSkippedSteps) {
  const std::string path = new_path();
  VisitCommit first = visit("t00", 0), second = visit("t00", 1);
  first.skipped_steps = 3;
  second.skipped_steps = 5;
  {
    const auto journal = open_journal(path, false);
    journal->add_trial({"t00", 0, 1, {}});
    journal->commit(first, {});
  }
  run_sql(path, "ALTER TABLE visits DROP COLUMN skipped_steps; PRAGMA user_version=6");
  EXPECT_EQ(open_journal(path, true)->trials().at(0).last->skipped_steps, 0u);
  open_journal(path, false)->commit(second, {});
  const auto record = open_journal(path, true)->trials().at(0);
  EXPECT_EQ(record.last->skipped_steps, 5u);
  EXPECT_EQ(record.skipped_steps, 5u);
}

TEST(SqliteJournal, DamagedRowsAreASentence) {
  const std::string path = new_path();
  open_journal(path, false)->add_trial({"t00", 0, 1, {}});
  run_sql(path, "UPDATE trials SET state='asleep'");
  const auto journal = open_journal(path, true);
  EXPECT_THROW(journal->trials(), Failure);
}

TEST(SqliteJournal, CutOffFilesAreASentence) {
  const std::string path = new_path();
  {
    const auto journal = open_journal(path, false);
    journal->put_fact("long", std::string(100'000, 'x'));
  }
  std::filesystem::resize_file(path, std::filesystem::file_size(path) / 2);
  EXPECT_THROW(open_journal(path, true)->fact("long"), Failure);
}

TEST(SqliteJournal, EveryRecordIsSyncedBeforeItsCallReturns) {
  const auto journal = open_journal(new_path(), false);
  int before = syncs;
  journal->add_trial({"t00", 0, 1, {}});
  EXPECT_GT(syncs, before) << "add_trial";
  before = syncs;
  journal->commit(visit("t00", 0), {{1, 1.0}});
  EXPECT_GT(syncs, before) << "commit";
  before = syncs;
  journal->end_trial("t00", TrialState::finished, "");
  EXPECT_GT(syncs, before) << "end_trial";
  before = syncs;
  journal->add_operation({1, 0.5, {OperationVerb::stop, "t00"}, 0, "", std::nullopt});
  EXPECT_GT(syncs, before) << "add_operation";
}

TEST(SqliteJournal, AReadOnlyJournalCannotWrite) {
  const std::string path = new_path();
  open_journal(path, false);
  EXPECT_THROW(open_journal(path, true)->put_fact("a", "1"), std::logic_error);
}

/// Commits visits for ever and tells each through the pipe once commit() has returned.
[[noreturn]] void commit_until_killed(const std::string& path, int pipe) {
  const auto journal = open_journal(path, false);
  const auto done = journal->trials().at(0).last;
  for (std::uint32_t number = done ? done->visit + 1 : 0;; ++number) {
    journal->commit(visit("t00", number), {{number, 1.0}});
    if (write(pipe, &number, sizeof number) != sizeof number) _exit(1);
  }
}

struct Child {
  pid_t process = 0;
  int pipe = -1;
};

Child start_committing(const std::string& path) {
  int ends[2];
  if (pipe(ends) != 0) std::abort();
  const pid_t process = fork();
  if (process == 0) {
    close(ends[0]);
    commit_until_killed(path, ends[1]);
  }
  close(ends[1]);
  return {process, ends[0]};
}

/// Waits for `count` commits, kills, and returns the newest that was acknowledged.
std::uint32_t kill_after(const Child& child, int count) {
  std::uint32_t newest = 0, number = 0;
  for (int i = 0; i < count && read(child.pipe, &number, sizeof number) == sizeof number; ++i) newest = number;
  kill(child.process, SIGKILL);
  waitpid(child.process, nullptr, 0);
  while (read(child.pipe, &number, sizeof number) == sizeof number) newest = number;
  close(child.pipe);
  return newest;
}

TEST(SqliteJournal, KillLosesNoAcknowledgedCommit) {
  const std::string path = new_path();
  open_journal(path, false)->add_trial({"t00", 0, 1, {}});
  for (const int count : {1, 7, 3, 20, 2}) {
    const std::uint32_t acknowledged = kill_after(start_committing(path), count);
    const auto record = open_journal(path, true)->trials().at(0);
    ASSERT_TRUE(record.last);
    EXPECT_GE(record.last->visit, acknowledged);
    EXPECT_LE(record.last->visit, acknowledged + 1);
    EXPECT_EQ(record.curve.size(), record.last->visit + 1u);
    EXPECT_EQ(record.last->state, visit("t00", record.last->visit).state);
  }
}

TEST(SqliteJournal, AReaderSeesWholeCommitsWhileAnotherProcessWrites) {
  const std::string path = new_path();
  open_journal(path, false)->add_trial({"t00", 0, 1, {}});
  const Child child = start_committing(path);
  const auto reader = open_journal(path, true);
  std::uint32_t seen = 0;
  const double deadline = monotonic_seconds() + 20;
  while (seen < 20 && monotonic_seconds() < deadline) {
    const auto record = reader->trials().at(0);
    if (!record.last) continue;
    EXPECT_GE(record.last->visit + 1, seen);
    seen = record.last->visit + 1;
    EXPECT_EQ(record.curve.size(), seen);
    EXPECT_EQ(record.last->state, visit("t00", record.last->visit).state);
  }
  kill_after(child, 0);
  EXPECT_GE(seen, 20u);
}

}  // namespace
}  // namespace hopyard
