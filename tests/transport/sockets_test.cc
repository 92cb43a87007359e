#include "transport/sockets.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <memory>
#include <set>
#include <string>

namespace hopyard {
namespace {

/// Both ends of a connection over 127.0.0.1.
class Connection {
 public:
  explicit Connection(ListeningSocket& listening) {
    const int listens = listening.take();
    sockaddr_in address{};
    socklen_t size = sizeof address;
    ::getsockname(listens, reinterpret_cast<sockaddr*>(&address), &size);
    ends_[0] = ::socket(AF_INET, SOCK_STREAM, 0);
    EXPECT_EQ(::connect(ends_[0], reinterpret_cast<sockaddr*>(&address), size), 0);
    ends_[1] = ::accept(listens, nullptr, nullptr);
    ::close(listens);
  }
  ~Connection() {
    for (const int end : ends_) ::close(end);
  }
  const int* begin() const { return ends_; }
  const int* end() const { return ends_ + 2; }

 private:
  int ends_[2];
};

int option(int descriptor, int level, int name) {
  int value = -1;
  socklen_t size = sizeof value;
  EXPECT_EQ(::getsockopt(descriptor, level, name, &value, &size), 0);
  return value;
}

std::string congestion_control(int descriptor) {
  char name[16] = {};
  socklen_t size = sizeof name;
  EXPECT_EQ(::getsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, name, &size), 0);
  return name;
}

TEST(TuneConnections, TunesThoseThatCameSinceAndNoOthers) {
  ListeningSocket first({"127.0.0.1", 0}), second({"127.0.0.1", 0});
  const Connection old(first);
  const std::string usual = congestion_control(*old.begin());
  const auto before = open_sockets();
  const Connection fresh(second);
  tune_connections(before);
  for (const int end : old) {
    EXPECT_EQ(option(end, IPPROTO_TCP, TCP_USER_TIMEOUT), 0);
    EXPECT_EQ(option(end, SOL_SOCKET, SO_KEEPALIVE), 0);
    EXPECT_EQ(congestion_control(end), usual);
  }
  for (const int end : fresh) {
    EXPECT_EQ(option(end, IPPROTO_TCP, TCP_USER_TIMEOUT), 1000 * kUnansweredSeconds);
    EXPECT_EQ(option(end, SOL_SOCKET, SO_KEEPALIVE), 1);
    EXPECT_LT(option(end, IPPROTO_TCP, TCP_KEEPIDLE), kUnansweredSeconds);
    EXPECT_EQ(congestion_control(end), "reno");
  }
}

/// The descriptor of one that was open before is used again.
TEST(TuneConnections, KnowsConnectionsByMoreThanTheirNumbers) {
  ListeningSocket first({"127.0.0.1", 0}), second({"127.0.0.1", 0});
  auto old = std::make_unique<Connection>(first);
  const std::set<int> numbers(old->begin(), old->end());
  const auto before = open_sockets();
  old.reset();
  const Connection fresh(second);
  EXPECT_TRUE(std::any_of(fresh.begin(), fresh.end(), [&](int end) { return numbers.contains(end); }));
  tune_connections(before);
  for (const int end : fresh) EXPECT_EQ(option(end, SOL_SOCKET, SO_KEEPALIVE), 1);
}

}  // namespace
}  // namespace hopyard
