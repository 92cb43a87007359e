#include "spill/direct_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <fstream>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "base/rng.h"
#include "spill/scratch_folder.h"

namespace hopyard {
namespace {

constexpr Bytes kPiece = 4 * MiB - 8 * KiB + 37;  // like a block of the disk tier: nearly a slot, at no sector's border

int open_direct(const std::string& path, int flags) {
  const int file = ::open(path.c_str(), flags | O_DIRECT | O_CLOEXEC, 0666);
  return file >= 0 || errno != EINVAL ? file : ::open(path.c_str(), flags | O_CLOEXEC, 0666);
}

/// What a thread does here fails with ENOSYS in this one system call until the thread ends.
void refuse(int system_call) {
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(seccomp_data, nr)),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, static_cast<unsigned>(system_call), 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
  };
  const sock_fprog filter = {4, program};
  ASSERT_EQ(::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
  ASSERT_EQ(::prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter), 0);
}

class DirectIoTest : public testing::Test {
 protected:
  std::string make_file(const std::string& name, Bytes size, std::uint64_t seed) {
    std::string content(size, '\0');
    KeyedStream stream(seed);
    for (char& byte : content) byte = static_cast<char>(stream.next());
    std::ofstream(path(name), std::ios::binary) << content;
    return content;
  }
  std::string path(const std::string& name) const { return folder_.path() + "/" + name; }
  std::unique_ptr<DirectReader> open(const std::string& name) const {
    const int file = open_direct(path(name), O_RDONLY);
    EXPECT_GE(file, 0);
    return std::make_unique<DirectReader>(file);
  }
  static void expect(const DirectReader& reader, const std::string& content, Bytes offset, Bytes size) {
    const char* data = nullptr;
    const long got = reader.read(offset, size, &data);
    const Bytes there = offset < content.size() ? std::min(size, content.size() - offset) : 0;
    ASSERT_EQ(got, static_cast<long>(there)) << size << " bytes from " << offset;
    ASSERT_TRUE(std::equal(data, data + there, content.data() + std::min(offset, content.size())))
        << size << " bytes from " << offset;
  }
  static void expect_all(const DirectReader& reader, const std::string& content, Bytes piece = kPiece) {
    for (Bytes offset = 0; offset < content.size() + piece; offset += piece) expect(reader, content, offset, piece);
  }

 private:
  const ScratchFolder folder_;
};

TEST_F(DirectIoTest, PiecesInOrderUpToTheEnd) {
  for (const Bytes size : {Bytes{0}, Bytes{1}, kSector, kPiece, kPiece + 1, 2 * kPiece, 20 * MiB, 20 * MiB + 4095}) {
    const std::string content = make_file("file", size, size);
    for (const Bytes piece : {kPiece, kReadSlot, kReadSlot - 3 * kSector, 1 * MiB + 1})
      expect_all(*open("file"), content, piece);
  }
}

TEST_F(DirectIoTest, TheEndAndBeyond) {
  const std::string content = make_file("file", 9 * MiB + 100, 1);
  const auto reader = open("file");
  expect(*reader, content, 0, kPiece);
  expect(*reader, content, kPiece, kPiece);
  expect(*reader, content, 2 * kPiece, kPiece);
  for (const Bytes offset : {9 * MiB, 9 * MiB + 99, 9 * MiB + 100, 9 * MiB + 101, 30 * MiB}) {
    expect(*reader, content, offset, 1);
    expect(*reader, content, offset, kPiece);
  }
}

// Long reads in order, each followed by what was not expected: the same again, another place, another file, less, more.
TEST_F(DirectIoTest, AnyOrderGivesTheSameBytes) {
  const std::string content[] = {make_file("0", 30 * MiB + 17, 1), make_file("1", 13 * MiB, 2)};
  std::unique_ptr<DirectReader> readers[] = {open("0"), open("1")};
  KeyedStream random(3);
  Bytes next[2] = {0, 0};
  for (int step = 0; step < 400; ++step) {
    const std::size_t file = random.next() % 4 == 0;
    if (random.next() % 4 == 0) next[file] = random.next() % (content[file].size() + 5000);
    Bytes size = kPiece;
    if (random.next() % 4 == 0) size = 1 + random.next() % (kReadSlot - kSector);
    if (random.next() % 8 == 0) size = 1 + random.next() % 5000;
    ASSERT_NO_FATAL_FAILURE(expect(*readers[file], content[file], next[file], size)) << "step " << step;
    if (random.next() % 8 != 0) next[file] += size;
    if (random.next() % 16 == 0) readers[file] = open(std::to_string(file));
  }
}

TEST_F(DirectIoTest, BytesStayUntilTheThreadReadsAgain) {
  const std::string content = make_file("file", 16 * MiB, 1);
  const auto reader = open("file");
  for (Bytes offset = 0; offset + kPiece <= content.size(); offset += kPiece) {
    const char* data = nullptr;
    ASSERT_EQ(reader->read(offset, kPiece, &data), static_cast<long>(kPiece));
    std::thread([&] { expect_all(*reader, content); }).join();  // long enough for anything read ahead to arrive
    EXPECT_TRUE(std::equal(data, data + kPiece, content.data() + offset));
  }
}

TEST_F(DirectIoTest, AThreadMayEndWhileItReadsAhead) {
  const std::string content = make_file("file", 40 * MiB, 1);
  const auto reader = open("file");
  for (int round = 0; round < 10; ++round) {
    std::vector<std::thread> threads;
    for (Bytes begin = 0; begin < 2; ++begin)
      threads.emplace_back([&, begin] {
        for (Bytes i = 0; i < 3; ++i) expect(*reader, content, (2 * begin + i) * kPiece, kPiece);
      });
    for (auto& thread : threads) thread.join();
  }
}

// The next file gets the closed one's descriptor, and perhaps its address.
TEST_F(DirectIoTest, WhatWasReadAheadFromAClosedFileIsNotTakenForAnother) {
  for (std::uint64_t seed = 0; seed < 8; ++seed) {
    const std::string content = make_file("file", 13 * MiB, seed);
    auto reader = open("file");
    for (const Bytes i : {2, 0, 1}) expect(*reader, content, i * kPiece, kPiece);  // the third one is read ahead
    if (seed % 2 == 1) std::thread([&] { reader.reset(); }).join();
    reader.reset();
    ::unlink(path("file").c_str());
  }
}

TEST_F(DirectIoTest, AFileCutWhileItIsReadAheadEnds) {
  for (const Bytes left : {Bytes{0}, kPiece, kPiece + 5000, 2 * kPiece + 1}) {
    const std::string content = make_file("file", 20 * MiB, left);
    const auto reader = open("file");
    expect(*reader, content, 0, kPiece);
    ASSERT_EQ(::truncate(path("file").c_str(), static_cast<off_t>(left)), 0);
    const char* data = nullptr;
    const long got = reader->read(kPiece, kPiece, &data);  // from before or from after the cut
    ASSERT_GE(got, 0);
    ASSERT_LE(got, static_cast<long>(kPiece));
    EXPECT_TRUE(std::equal(data, data + std::min<Bytes>(static_cast<Bytes>(got), left - std::min(left, kPiece)),
                           content.data() + kPiece));
    for (const Bytes offset : {4 * kPiece, 3 * kPiece, 2 * kPiece, Bytes{0}})
      expect(*reader, content.substr(0, left), offset, kPiece);
  }
}

TEST_F(DirectIoTest, ErrorsAreReturned) {
  make_file("file", 10 * MiB, 1);
  const DirectReader reader(open_direct(path("file"), O_WRONLY));
  const char* data = nullptr;
  for (Bytes i = 0; i < 3; ++i) EXPECT_EQ(reader.read(i * kPiece, kPiece, &data), -EBADF);
}

TEST_F(DirectIoTest, WithoutAsynchronousReadsAllIsReadAllTheSame) {
  const std::string content = make_file("file", 20 * MiB + 3, 1);
  const auto reader = open("file");
  for (const int system_call : {SYS_io_setup, SYS_io_submit})
    std::thread([&] {
      refuse(system_call);
      expect_all(*reader, content);
    }).join();
}

}  // namespace
}  // namespace hopyard
