// How a client finds the store.
#include "transport/store.h"

#include <gtest/gtest.h>

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

}  // namespace
}  // namespace hopyard
