// How a client finds the store.
#include "transport/store.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netdb.h>
#include <resolv.h>
#include <sys/socket.h>
#include <unistd.h>

#include <memory>
#include <thread>

#include "base/clock.h"

namespace hopyard {
namespace {

constexpr double kSoon = 20;
const Endpoint kAnywhere{"127.0.0.1", 0};

TEST(Store, IsWaitedForAndThenNoErrorIsLeft) {
  auto socket = std::make_unique<ListeningSocket>(kAnywhere);
  const auto endpoint = socket->endpoint();
  socket.reset();
  Store host;
  std::jthread late([&] {
    sleep_seconds(0.3);
    ListeningSocket listening(endpoint);
    host = host_store(listening);
  });
  std::string error;
  const auto store = connect_store(endpoint, kSoon, error);
  ASSERT_TRUE(store);
  EXPECT_EQ(error, "");
  put(store, "key", "value");
  EXPECT_EQ(poll_key(store, "key", kSoon), "value");
}

TEST(Store, ThatNobodyHostsIsASentence) {
  auto socket = std::make_unique<ListeningSocket>(kAnywhere);
  const auto endpoint = socket->endpoint();
  socket.reset();
  std::string error;
  EXPECT_FALSE(connect_store(endpoint, 0.2, error));
  EXPECT_NE(error.find("nobody answers at " + to_string(endpoint)), std::string::npos) << error;
}

/// This thread's only name server. It never answers.
class SilentNameServer {
 public:
  SilentNameServer() {
    res_ninit(&_res);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    ::bind(descriptor_, reinterpret_cast<sockaddr*>(&address), sizeof address);
    socklen_t size = sizeof address;
    ::getsockname(descriptor_, reinterpret_cast<sockaddr*>(&address), &size);
    _res.nsaddr_list[0] = address;
    _res.nscount = 1;
    _res.retrans = _res.retry = 1;
  }
  ~SilentNameServer() { ::close(descriptor_); }
  bool was_asked() const {
    char byte;
    return ::recv(descriptor_, &byte, 1, MSG_DONTWAIT) >= 0;
  }

 private:
  const int descriptor_ = ::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
};

TEST(Store, IsReachedWithoutANameServer) {
  std::jthread([] {
    const SilentNameServer server;
    ListeningSocket socket(kAnywhere);
    const auto host = host_store(socket);
    std::string error;
    EXPECT_TRUE(connect_store({"127.0.0.1", host->getPort()}, kSoon, error)) << error;
    EXPECT_FALSE(server.was_asked());
    // The thread's own look-ups go on as before.
    sockaddr_in6 nobody{};
    nobody.sin6_family = AF_INET6;
    ::inet_pton(AF_INET6, "2001:db8::1", &nobody.sin6_addr);  // of documents
    char name[NI_MAXHOST];
    ::getnameinfo(reinterpret_cast<sockaddr*>(&nobody), sizeof nobody, name, sizeof name, nullptr, 0, 0);
    EXPECT_TRUE(server.was_asked());
  }).join();
}

}  // namespace
}  // namespace hopyard
