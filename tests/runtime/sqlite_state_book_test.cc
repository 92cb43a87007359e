#include "runtime/sqlite_state_book.h"

#include <gmock/gmock.h>

#include <fstream>

#include "base/failure.h"
#include "conformance/state_book_conformance.h"
#include "fakes/memory_state_book.h"
#include "fakes/sqlite_file.h"
#include "fakes/temporary_folder.h"
#include "runtime/sqlite_journal.h"

namespace hopyard {
namespace {

using fakes::run_sql;

std::string new_path() {
  static const fakes::TemporaryFolder folder;
  static int count = 0;
  return folder / std::to_string(count++) + ".sqlite";
}

INSTANTIATE_TEST_SUITE_P(Memory, StateBookConformance,
                         testing::Values([] { return std::make_unique<MemoryStateBook>(); }));
INSTANTIATE_TEST_SUITE_P(Sqlite, StateBookConformance,
                         testing::Values([] { return open_state_book(new_path(), false); }));

std::string failure_of(const std::string& path, bool read_only) {
  try {
    open_state_book(path, read_only)->all();
  } catch (const Failure& failure) {
    EXPECT_EQ(failure.code(), ExitCode::input);
    return failure.what();
  }
  return "no failure";
}

TEST(SqliteStateBook, AnotherProcessWouldFindEverythingAgain) {
  const std::string path = new_path();
  const HeldState state{"t00", 3, "digest", {{0, ~Bytes{0}, ~std::uint64_t{0}}, {2, 1, 0}}};
  open_state_book(path, false)->put(state);
  EXPECT_EQ(open_state_book(path, false)->all(), std::vector{state});
  EXPECT_EQ(open_state_book(path, true)->all(), std::vector{state});
}

TEST(SqliteStateBook, RefusesWhatIsNone) {
  const std::string missing = new_path(), text = new_path(), empty = new_path(), journal = new_path(),
                    newer = new_path(), damaged = new_path();
  std::ofstream(text) << std::string(4096, 'x');
  std::ofstream(empty).flush();
  open_journal(journal, false);
  open_state_book(newer, false);
  run_sql(newer, "PRAGMA user_version=2");
  open_state_book(damaged, false)->put({"t00", 1, "d", {{0, 1, 1}}});
  run_sql(damaged, "DELETE FROM states");
  EXPECT_THAT(failure_of(missing, true), testing::HasSubstr("cannot open the book of states"));
  EXPECT_THAT(failure_of(text, false), testing::HasSubstr("is not a book of states"));
  EXPECT_THAT(failure_of(empty, true), testing::HasSubstr("still empty"));
  EXPECT_THAT(failure_of(journal, false), testing::HasSubstr("another program's"));
  EXPECT_THAT(failure_of(newer, false), testing::HasSubstr("newer Hopyard (book of states schema 2"));
  EXPECT_THAT(failure_of(damaged, true), testing::HasSubstr("the book of states is damaged"));
}

TEST(SqliteStateBook, AReaderCannotWrite) {
  const std::string path = new_path();
  open_state_book(path, false);
  EXPECT_THROW(open_state_book(path, true)->put({}), std::logic_error);
  EXPECT_THROW(open_state_book(path, true)->remove("t00", 1), std::logic_error);
}

}  // namespace
}  // namespace hopyard
