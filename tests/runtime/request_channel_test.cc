// The channel between terminals and a run: who is heard, what hostile peers may do, and what waits in files.
#include "runtime/request_channel.h"

#include <gmock/gmock.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "base/failure.h"
#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

/// An owner that answers from a thread of its own, as the loop does.
class Owner {
 public:
  explicit Owner(const std::string& directory, const ChannelLimits& limits = {})
      : channel_(
            directory, [this] { ++arrivals_; }, limits),
        thread_([this] {
          while (!ending_) {
            if (!asleep_) serve(channel_, handlers_);
            sleep_seconds(0.002);
          }
        }) {}
  ~Owner() {
    ending_ = true;
    thread_.join();
  }
  void sleep(bool asleep) { asleep_ = asleep; }
  int arrivals() const { return arrivals_; }
  int served() const { return served_; }
  std::vector<ChannelRequest> seen;  ///< of "note"; look when nothing is under way

 private:
  std::atomic<bool> ending_ = false, asleep_ = false;
  std::atomic<int> arrivals_ = 0, served_ = 0;
  ChannelHandlers handlers_{{"echo",
                             [this](const ChannelRequest& request) {
                               return ++served_, Json{{"ok", true}, {"echo", request.arguments}};
                             }},
                            {"note",
                             [this](const ChannelRequest& request) {
                               seen.push_back(request);
                               ++served_;
                               return Json{{"ok", true}};
                             }},
                            {"fail", [](const ChannelRequest&) -> Json { fail(ExitCode::input, "no such thing"); }}};
  RequestChannel channel_;
  std::thread thread_;
};

class RequestChannelTest : public testing::Test {
 protected:
  std::string directory() const { return folder_.path(); }
  Json ask(const Json& request) { return ask_owner(directory(), request, 10).value_or(Json("nobody")); }

  /// A socket that is connected and has sent this much.
  int connected(const std::string& text) const {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    const std::string path = socket_path(directory());
    path.copy(address.sun_path, sizeof address.sun_path - 1);
    const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(::connect(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_EQ(::send(socket, text.data(), text.size(), MSG_NOSIGNAL), static_cast<ssize_t>(text.size()));
    return socket;
  }
  static std::string rest(int socket) {
    std::string all;
    char buffer[4096];
    for (ssize_t got; (got = ::recv(socket, buffer, sizeof buffer, 0)) > 0;) all.append(buffer, got);
    ::close(socket);
    return all;
  }
  static void eventually(const std::function<bool()>& holds) {
    const double deadline = monotonic_seconds() + 20;
    while (!holds() && monotonic_seconds() < deadline) sleep_seconds(0.005);
    EXPECT_TRUE(holds());
  }

  fakes::TemporaryFolder folder_;
};

TEST_F(RequestChannelTest, TheOwnerAnswers) {
  Owner owner(directory());
  EXPECT_EQ(ask({{"verb", "echo"}, {"arguments", {{"a", 1}}}}), (Json{{"ok", true}, {"echo", {{"a", 1}}}}));
  EXPECT_EQ(ask({{"verb", "fail"}}), (Json{{"ok", false}, {"code", 3}, {"error", "no such thing"}}));
  EXPECT_THAT(ask({{"verb", "dance"}}).at("error").get<std::string>(), HasSubstr("'dance' is no verb"));
}

TEST_F(RequestChannelTest, TheSocketIsItsOwnersAlone) {
  const mode_t before = ::umask(0);
  Owner owner(directory());
  ::umask(before);
  struct stat status {};
  ASSERT_EQ(::stat(socket_path(directory()).c_str(), &status), 0);
  EXPECT_TRUE(S_ISSOCK(status.st_mode));
  EXPECT_EQ(status.st_mode & 07777, 0600u);
}

TEST_F(RequestChannelTest, WhoAsksIsWhatTheKernelSays) {
  Owner owner(directory());
  ask({{"verb", "note"}, {"arguments", {{"author", "somebody else"}, {"uid", 0}}}});
  ASSERT_EQ(owner.seen.size(), 1u);
  EXPECT_EQ(owner.seen[0].uid, ::getuid());
  EXPECT_FALSE(owner.seen[0].author.empty());
  EXPECT_FALSE(owner.seen[0].queued);
}

TEST_F(RequestChannelTest, ALongPathIsNoObstacle) {
  std::string deep = directory();
  for (int i = 0; i < 5; ++i) deep += "/" + std::string(50, 'd');
  fs::create_directories(deep);
  ASSERT_GT(socket_path(deep).size(), 200u);
  Owner owner(deep);
  EXPECT_EQ(ask_owner(deep, {{"verb", "echo"}}, 10), (Json{{"ok", true}, {"echo", Json::object()}}));
}

TEST_F(RequestChannelTest, NobodyThereIsNoAnswer) {
  EXPECT_EQ(ask_owner(directory(), {{"verb", "echo"}}, 10), std::nullopt);
  { Owner owner(directory()); }
  EXPECT_FALSE(fs::exists(socket_path(directory())));
  EXPECT_EQ(ask_owner(directory(), {{"verb", "echo"}}, 10), std::nullopt);
  const int socket = ::socket(AF_UNIX, SOCK_STREAM, 0);  // as a killed process leaves it
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  socket_path(directory()).copy(address.sun_path, sizeof address.sun_path - 1);
  ASSERT_EQ(::bind(socket, reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
  ::close(socket);
  EXPECT_EQ(ask_owner(directory(), {{"verb", "echo"}}, 10), std::nullopt);
  Owner owner(directory());
  EXPECT_EQ(ask({{"verb", "echo"}}).at("ok"), true) << "a stale socket is replaced";
}

TEST_F(RequestChannelTest, GarbageIsRefusedAndTheRunGoesOn) {
  Owner owner(directory());
  const std::vector<std::string> garbage{"\n",
                                         "{",
                                         "nonsense\n",
                                         "[1,2]\n",
                                         "{\"verb\":1}\n",
                                         "{\"verb\":\"echo\",\"verb\":\"echo\"}\n",
                                         "{\"verb\":\"echo\",\"more\":1}\n",
                                         "{\"verb\":\"echo\",\"arguments\":[]}\n",
                                         std::string(100, '['),
                                         std::string("\0\1\2\n", 4),
                                         "{\"verb\":\"\xff\xfe\"}\n",
                                         "{\"verb\":\"" + std::string(150, 'x') + "\xc3\"}\n",
                                         "{\"verb\":\"" + std::string(99, 'x') + "\xc3\xbc\"}\n"};
  for (const auto& text : garbage) {
    const int socket = connected(text);
    ::shutdown(socket, SHUT_WR);
    EXPECT_THAT(rest(socket), HasSubstr("\"ok\":false")) << text;
  }
  EXPECT_THAT(rest(connected(std::string(70'000, 'x'))), HasSubstr("longer than"));
  ::close(connected(""));
  ::close(connected("{\"verb\":\"echo\"}\n"));  // gone before its answer
  EXPECT_EQ(ask({{"verb", "echo"}}).at("ok"), true);
}

TEST_F(RequestChannelTest, StuckPeersStallNobody) {
  ChannelLimits limits;
  limits.connections = 4;
  limits.request_s = 0.5;
  Owner owner(directory(), limits);
  std::vector<int> stuck;
  for (int i = 0; i < 12; ++i) stuck.push_back(connected("{\"verb\":"));
  const double begin = monotonic_seconds();
  EXPECT_EQ(ask({{"verb", "echo"}}).at("ok"), true);
  for (const int socket : stuck) EXPECT_EQ(rest(socket), "") << "dropped without an answer";
  EXPECT_LT(monotonic_seconds() - begin, 15) << "nobody waits for ever";
}

TEST_F(RequestChannelTest, RequestsThatWaitAreBounded) {
  ChannelLimits limits;
  limits.waiting = 3;
  Owner owner(directory(), limits);
  owner.sleep(true);
  std::vector<int> sockets;
  for (int i = 0; i < 3; ++i) sockets.push_back(connected("{\"verb\":\"echo\"}\n"));
  eventually([&] { return owner.arrivals() == 3; });
  EXPECT_THAT(rest(connected("{\"verb\":\"echo\"}\n")), HasSubstr("3 requests wait"));
  owner.sleep(false);
  for (const int socket : sockets) EXPECT_THAT(rest(socket), HasSubstr("\"ok\":true"));
}

TEST_F(RequestChannelTest, ManyAskAtOnce) {
  Owner owner(directory());
  std::atomic<int> answered = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 16; ++i)
    threads.emplace_back([&, i] {
      for (int k = 0; k < 10; ++k)
        answered += ask_owner(directory(), {{"verb", "echo"}, {"arguments", {{"i", i}}}}, 20)->at("echo").at("i") == i;
    });
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(answered, 160);
}

TEST_F(RequestChannelTest, WhatWaitsWhenTheRunEndsIsNotTaken) {
  auto owner = std::make_unique<Owner>(directory());
  owner->sleep(true);
  std::thread asker([&] { EXPECT_EQ(ask_owner(directory(), {{"verb", "note"}}, 20), std::nullopt); });
  eventually([&] { return owner->arrivals() == 1; });
  owner.reset();
  asker.join();
}

TEST_F(RequestChannelTest, QueuedRequestsAreServedInTheirOrderOnce) {
  for (int i = 0; i < 3; ++i) queue_request(directory(), {{"verb", "note"}, {"arguments", {{"i", i}}}});
  EXPECT_EQ(queued_requests(directory()).size(), 3u);
  {
    Owner owner(directory());
    owner.sleep(true);
    eventually([&] { return owner.arrivals() > 0; });
  }
  EXPECT_EQ(queued_requests(directory()).size(), 3u) << "nothing was answered, so nothing is lost";
  Owner owner(directory());
  eventually([&] { return owner.served() == 3 && queued_requests(directory()).empty(); });
  for (int i = 0; i < 3; ++i) {
    EXPECT_EQ(owner.seen.at(i).arguments.at("i"), i);
    EXPECT_TRUE(owner.seen[i].queued);
    EXPECT_EQ(owner.seen[i].uid, ::getuid());
  }
  queue_request(directory(), {{"verb", "note"}});
  eventually([&] { return owner.served() == 4; });
  struct stat status {};
  ASSERT_EQ(::stat(queue_path(directory()).c_str(), &status), 0);
  EXPECT_EQ(status.st_mode & 07777, 0700u);
}

TEST_F(RequestChannelTest, HostileFilesInTheQueueArePutAside) {
  const std::string queue = queue_path(directory());
  queue_request(directory(), {{"verb", "note"}});
  std::ofstream(queue + "/1.json") << "nonsense";
  std::ofstream(queue + "/2.json") << std::string(100'000, ' ');
  fs::create_symlink("/etc/passwd", queue + "/3.json");
  ASSERT_EQ(::mkfifo((queue + "/4.json").c_str(), 0600), 0);
  fs::create_directory(queue + "/5.json");
  Owner owner(directory());
  eventually([&] { return owner.served() == 1; });
  for (int i = 1; i <= 5; ++i) {
    EXPECT_FALSE(fs::exists(fs::symlink_status(text::cat(queue, "/", i, ".json")))) << i;
    EXPECT_TRUE(fs::exists(fs::symlink_status(text::cat(queue, "/", i, ".json.refused")))) << i;
  }
}

TEST_F(RequestChannelTest, AnOwnerThatDoesNotAnswerIsASentence) {
  Owner owner(directory());
  owner.sleep(true);
  const std::string sentence = fakes::failure_of(ExitCode::internal, [&] {
    ask_owner(directory(), {{"verb", "note"}}, 0.2);
  });
  EXPECT_THAT(sentence, testing::AllOf(HasSubstr("does not answer"), HasSubstr("hopyard status")));
}

}  // namespace
}  // namespace hopyard
