#include "base/files.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

TEST(FilesTest, ReplacesWholeFiles) {
  const fakes::TemporaryFolder folder;
  write_file_atomically(folder / "a", "first");
  write_file_atomically(folder / "a", "second");
  EXPECT_EQ(read_file(folder / "a", 100), "second");
  EXPECT_FALSE(std::filesystem::exists(folder / "a.tmp"));
}

TEST(FilesTest, AFileMayBeItsOwnersAlone) {
  const fakes::TemporaryFolder folder;
  write_file_atomically(folder / "secret", "x", FileAccess::owner);
  EXPECT_EQ(std::filesystem::status(folder / "secret").permissions(),
            std::filesystem::perms::owner_read | std::filesystem::perms::owner_write);
}

TEST(FilesTest, NamesWhatIsWrong) {
  const fakes::TemporaryFolder folder;
  folder.write("long", std::string(100, 'x'));
  EXPECT_NE(fakes::failure_of(ExitCode::input, [&] { read_file(folder / "none", 10); }).find("none"),
            std::string::npos);
  EXPECT_NE(fakes::failure_of(ExitCode::input, [&] { read_file(folder / "long", 10); }).find("100"), std::string::npos);
  EXPECT_NE(fakes::failure_of(ExitCode::input, [&] { MappedFile(folder.path()); }).find("regular"), std::string::npos);
}

TEST(FilesTest, ALockKeepsOtherProcessesOutAndGoesWithItsHolder) {
  const fakes::TemporaryFolder folder;
  {
    const auto lock = FileLock::try_acquire(folder / "lock");
    ASSERT_TRUE(lock);
    EXPECT_FALSE(FileLock::try_acquire(folder / "lock"));
  }
  EXPECT_TRUE(FileLock::try_acquire(folder / "lock"));
}

}  // namespace
}  // namespace hopyard
