#include "transport/store.h"

#include <c10/util/Logging.h>
#include <netinet/in.h>
#include <resolv.h>
#include <torch/csrc/distributed/c10d/exception.h>

#include <algorithm>
#include <chrono>
#include <utility>

#include "base/clock.h"
#include "base/environment.h"
#include "base/text.h"

namespace hopyard {
namespace {

constexpr double kConnectRetrySeconds = 0.05, kAttemptSeconds = 1, kKeyPollSeconds = 0.02;

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<std::int64_t>(seconds * 1000));
}

// What Python does for c10d; and no stack trace on standard error for each connection that breaks, for which we have a
// sentence.
void prepare_process() {
  ignore_broken_pipes();
  if (!environment_variable("TORCH_CPP_LOG_LEVEL")) FLAGS_caffe2_log_level = c10::GLOG_FATAL;
}

// While it lives, this thread asks no name server. Addresses are numeric here, and c10d wants to know whose they are
// for its log alone, before it connects: a lost answer would hold it up for seconds.
class NoNameServers {
 public:
  NoNameServers() {
    if ((_res.options & RES_INIT) == 0) res_ninit(&_res);
    servers_ = std::exchange(_res.nscount, 0);
  }
  ~NoNameServers() { _res.nscount = servers_; }
  NoNameServers(const NoNameServers&) = delete;

 private:
  int servers_ = 0;
};

std::vector<std::uint8_t> to_value(std::string_view bytes) { return {bytes.begin(), bytes.end()}; }

}  // namespace

Store host_store(ListeningSocket& socket) {
  prepare_process();
  c10d::TCPStoreOptions options;
  options.port = socket.endpoint().port;
  options.isServer = true;
  options.waitWorkers = false;
  options.timeout = milliseconds(kStoreSeconds);
  const auto host = socket.endpoint().host;
  options.masterListenFd = socket.take();
  const NoNameServers quiet;
  return c10::make_intrusive<c10d::TCPStore>(host == "0.0.0.0" ? "127.0.0.1" : host == "::" ? "::1" : host, options);
}

Store connect_store(const Endpoint& endpoint, double seconds, std::string& error) {
  prepare_process();
  const NoNameServers quiet;
  const double until_s = monotonic_seconds() + seconds;
  for (;;) {
    const std::string why = try_to_connect(endpoint, std::max(0.001, until_s - monotonic_seconds()));
    if (!why.empty()) {
      error =
          text::cat("nobody answers at ", to_string(endpoint), " within ", text::format_seconds(seconds), ": ", why);
    } else {
      try {
        c10d::TCPStoreOptions options;
        options.port = endpoint.port;
        options.waitWorkers = false;
        options.timeout = milliseconds(kAttemptSeconds);  // a busy machine may drop what one attempt sends
        auto store = c10::make_intrusive<c10d::TCPStore>(endpoint.host, options);
        store->setTimeout(milliseconds(kStoreSeconds));
        error.clear();  // of attempts before
        return store;
      } catch (const std::exception& problem) {
        error = text::cat("no store at ", to_string(endpoint), ": ", plain_text(problem));
      }
    }
    if (monotonic_seconds() + kConnectRetrySeconds >= until_s) return {};
    sleep_seconds(kConnectRetrySeconds);
  }
}

void push(const Store& store, const std::string& queue, std::string_view value) {
  store->queuePush(queue, to_value(value));
}

std::string fetch(const Store& store, const std::string& queue, const std::atomic<bool>& ended,
                  const std::function<void(std::string_view)>& take, double until_s) {
  while (!ended && monotonic_seconds() < until_s) {
    try {
      store->wait({queue}, milliseconds(std::clamp(until_s - monotonic_seconds(), 0.001, kStoreSeconds)));
      const auto value = store->queuePop(queue, false);
      if (!value.empty()) take({reinterpret_cast<const char*>(value.data()), value.size()});
    } catch (const c10::DistStoreError&) {  // nothing came
    } catch (const std::exception& problem) {
      return plain_text(problem);
    }
  }
  return "";
}

void drain(const Store& store, const std::string& queue) {
  try {
    while (store->queueLen(queue) > 0) store->queuePop(queue, false);
  } catch (const c10::DistQueueEmptyError&) {  // its reader took the last one
  }
}

std::optional<std::string> poll_key(const Store& store, const std::string& key, double seconds) {
  const double until_s = monotonic_seconds() + seconds;
  while (!store->check({key})) {
    if (monotonic_seconds() >= until_s) return std::nullopt;
    sleep_seconds(kKeyPollSeconds);
  }
  const auto value = store->get(key);
  return std::string(value.begin(), value.end());
}

void put(const Store& store, const std::string& key, std::string_view value) { store->set(key, to_value(value)); }

std::string plain_text(const std::exception& error) {
  const auto* ours = dynamic_cast<const c10::Error*>(&error);
  std::string text = ours != nullptr ? ours->what_without_backtrace() : error.what();
  if (!text.empty() && text[0] == '[' && text.find("] ") != std::string::npos) text.erase(0, text.find("] ") + 2);
  return text.substr(0, text.find('\n'));
}

std::string names::endpoint_key(std::uint32_t restarts) { return text::cat("hopyard/", restarts, "/endpoint"); }

}  // namespace hopyard
