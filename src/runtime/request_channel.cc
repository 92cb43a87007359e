#include "runtime/request_channel.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <deque>
#include <list>
#include <mutex>
#include <thread>

#include "base/clock.h"
#include "base/failure.h"
#include "base/log.h"
#include "base/thread_name.h"
#include "report/json_fields.h"
#include "runtime/request_wire.h"

namespace hopyard {

namespace {

constexpr int kBacklog = 64;
constexpr double kEndingSeconds = 1;  // for answers that are on their way when the run ends

struct Connection {
  enum class State { reading, waiting, writing };
  Descriptor socket;
  std::uint32_t uid = 0;
  State state = State::reading;
  std::string text;  // the request so far, or what is left of the answer
  double deadline = 0;
  std::uint64_t ticket = 0;
};

/// Binds with mode 0600 from the first instant on; −1 where the file system holds no sockets.
Descriptor listen_in(const std::string& directory) {
  Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  const SocketAddress address(directory);
  ::unlink(socket_path(directory).c_str());  // of a process that was killed: the directory is locked by us
  // The socket's own mode, less the umask, becomes the file's.
  if (*socket < 0 || ::fchmod(*socket, 0600) != 0 || ::bind(*socket, address.get(), sizeof address.address) != 0 ||
      ::chmod(socket_path(directory).c_str(), 0600) != 0 || ::listen(*socket, kBacklog) != 0) {
    HOPYARD_WARN << socket_path(directory) << ": cannot be made (" << std::strerror(errno)
                 << "); requests are taken from files in " << queue_path(directory);
    return Descriptor();
  }
  return socket;
}

}  // namespace

class RequestChannel::Server {
 public:
  Server(std::string directory, std::function<void()> arrived, const ChannelLimits& limits)
      : directory_(std::move(directory)),
        arrived_(std::move(arrived)),
        limits_(limits),
        prefix_(text::cat("socket:", ::getpid(), "-", static_cast<std::uint64_t>(wall_seconds() * 1e6), "-")),
        wake_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
        listener_(listen_in(directory_)) {
    scan_queue();  // before the owner can come to its end
    thread_ = std::thread([this] { work(); });
  }

  ~Server() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    wake();
    thread_.join();
    ::unlink(socket_path(directory_).c_str());
  }

  std::optional<ChannelRequest> take() {
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return std::nullopt;
    ChannelRequest request = std::move(waiting_.front());
    waiting_.pop_front();
    return request;
  }

  void answer(const ChannelRequest& request, const Json& answer) {
    if (request.queued) {
      const std::string name = request.token.substr(request.token.find(':') + 1);
      remove_queued(directory_, name);
      const std::lock_guard lock(mutex_);
      std::erase(taken_files_, name);
      return;
    }
    {
      const std::lock_guard lock(mutex_);
      answers_.emplace_back(request.ticket, dump_json(answer) + "\n");
    }
    wake();
  }

 private:
  using State = Connection::State;

  void wake() const {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto wrote = ::write(*wake_, &one, sizeof one);
  }

  void work() {
    name_thread("requests");
    while (true) {
      {
        const std::lock_guard lock(mutex_);
        if (stopping_) break;
      }
      if (monotonic_seconds() >= next_scan_) scan_queue();
      wait(next_scan_);
    }
    Descriptor none;
    std::swap(listener_, none);
    for (auto& one : connections_)
      if (one.state != State::writing) begin_writing(one, dump_json(Json{{"ok", false}, {"ending", true}}) + "\n");
    const double deadline = monotonic_seconds() + kEndingSeconds;
    while (!connections_.empty() && monotonic_seconds() < deadline) wait(deadline);
  }

  void wait(double until) {
    std::vector<pollfd> polled{{*wake_, POLLIN, 0}, {*listener_, POLLIN, 0}};
    std::vector<std::list<Connection>::iterator> places;
    for (auto one = connections_.begin(); one != connections_.end(); ++one) {
      until = std::min(until, one->deadline);
      if (one->state == State::waiting) continue;
      polled.push_back({*one->socket, static_cast<short>(one->state == State::reading ? POLLIN : POLLOUT), 0});
      places.push_back(one);
    }
    const double left = std::max(0.0, until - monotonic_seconds());
    ::poll(polled.data(), polled.size(), static_cast<int>(left * 1000) + 1);
    std::uint64_t ignored = 0;
    while (::read(*wake_, &ignored, sizeof ignored) > 0) continue;
    for (std::size_t i = 0; i < places.size(); ++i)
      if (polled[i + 2].revents != 0) get_on(places[i]);
    take_answers();
    drop_late();
    if (polled[1].revents != 0) accept_all();
  }

  void accept_all() {
    for (std::size_t i = 0; i < limits_.connections; ++i) {
      Descriptor socket(::accept4(*listener_, nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
      if (*socket < 0) return;
      ucred peer{};
      socklen_t size = sizeof peer;
      if (::getsockopt(*socket, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0 || !may_steer(peer.uid)) continue;
      if (connections_.size() >= limits_.connections && !drop_slowest()) continue;
      Connection one;
      one.socket = std::move(socket);
      one.uid = peer.uid;
      one.deadline = monotonic_seconds() + limits_.request_s;
      connections_.push_back(std::move(one));
      get_on(std::prev(connections_.end()));  // most send at once
    }
  }

  /// Of those that the channel waits for, the one that came first; false when it waits for none.
  bool drop_slowest() {
    const auto slowest = std::find_if(connections_.begin(), connections_.end(),
                                      [](const auto& one) { return one.state != State::waiting; });
    if (slowest == connections_.end()) return false;
    connections_.erase(slowest);
    return true;
  }

  void drop_late() {
    const double now = monotonic_seconds();
    std::erase_if(connections_, [&](const auto& one) { return one.deadline <= now; });
  }

  void get_on(std::list<Connection>::iterator place) {
    const bool goes_on = place->state == State::reading ? read_more(*place) : write_more(*place);
    if (!goes_on) connections_.erase(place);
  }

  /// False when the peer is gone.
  bool read_more(Connection& one) {
    char buffer[4096];
    while (one.state == State::reading) {
      const ssize_t got = ::recv(*one.socket, buffer, sizeof buffer, 0);
      if (got < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
      one.text.append(buffer, static_cast<std::size_t>(got));
      const auto end = one.text.find('\n');
      if (one.text.size() > limits_.request_bytes)
        return refuse(one, text::cat("the request is longer than ", limits_.request_bytes, " bytes"));
      if (end == std::string::npos && got > 0) continue;
      if (one.text.empty()) return false;
      hand_over(one, one.text.substr(0, end));
    }
    return true;
  }

  void hand_over(Connection& one, const std::string& text) {
    ChannelRequest request;
    try {
      request = parse_request(text);
    } catch (const Failure& fault) {
      refuse(one, fault.what());
      return;
    }
    request.uid = one.uid;
    request.author = user_name(one.uid);
    request.ticket = one.ticket = ++tickets_;
    request.token = prefix_ + std::to_string(request.ticket);
    {
      const std::lock_guard lock(mutex_);
      if (waiting_.size() >= limits_.waiting) {
        refuse(one, text::cat(limits_.waiting, " requests wait for the run already; ask again"));
        return;
      }
      waiting_.push_back(std::move(request));
    }
    one.state = State::waiting;
    one.deadline = monotonic_seconds() + limits_.answer_s;
    one.text.clear();
    arrived_();
  }

  bool refuse(Connection& one, const std::string& sentence) {
    begin_writing(one, dump_json(refusal_json(static_cast<int>(ExitCode::usage), sentence)) + "\n");
    return true;
  }

  void begin_writing(Connection& one, std::string text) {
    one.state = State::writing;
    one.text = std::move(text);
    one.deadline = monotonic_seconds() + limits_.write_s;
  }

  /// False when all is written, or the peer is gone.
  bool write_more(Connection& one) {
    while (!one.text.empty()) {
      const ssize_t sent = ::send(*one.socket, one.text.data(), one.text.size(), MSG_NOSIGNAL);
      if (sent < 0) return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR;
      one.text.erase(0, static_cast<std::size_t>(sent));
    }
    return false;
  }

  void take_answers() {
    std::deque<std::pair<std::uint64_t, std::string>> answers;
    {
      const std::lock_guard lock(mutex_);
      answers.swap(answers_);
    }
    for (auto& [ticket, text] : answers)
      for (auto one = connections_.begin(); one != connections_.end(); ++one) {
        if (one->state != State::waiting || one->ticket != ticket) continue;
        begin_writing(*one, std::move(text));
        get_on(one);
        break;
      }
  }

  void scan_queue() {
    next_scan_ = monotonic_seconds() + limits_.scan_s;
    std::vector<std::string> taken;
    std::size_t room = 0;
    {
      const std::lock_guard lock(mutex_);
      taken = taken_files_;
      room = limits_.waiting - std::min(limits_.waiting, waiting_.size());
    }
    auto files = read_queue(directory_, taken, room, limits_.request_bytes);
    for (auto& file : files) {
      if (!file.request) {
        HOPYARD_WARN << queue_path(directory_) << "/" << file.name
                     << ": is no request and is put aside: " << file.fault;
        put_aside_queued(directory_, file.name);
        continue;
      }
      const std::lock_guard lock(mutex_);
      taken_files_.push_back(file.name);
      waiting_.push_back(std::move(*file.request));
    }
    if (!files.empty()) arrived_();
  }

  const std::string directory_;
  const std::function<void()> arrived_;
  const ChannelLimits limits_;
  const std::string prefix_;  // of tokens: no other process has it
  const Descriptor wake_;

  // Of the channel's thread:
  Descriptor listener_;
  std::list<Connection> connections_;  // in the order of coming
  std::uint64_t tickets_ = 0;
  double next_scan_ = 0;

  std::mutex mutex_;  // guards the rest but the thread
  std::deque<ChannelRequest> waiting_;
  std::deque<std::pair<std::uint64_t, std::string>> answers_;
  std::vector<std::string> taken_files_;
  bool stopping_ = false;
  std::thread thread_;
};

RequestChannel::RequestChannel(const std::string& directory, std::function<void()> arrived, const ChannelLimits& limits)
    : server_(std::make_unique<Server>(directory, std::move(arrived), limits)) {}
RequestChannel::~RequestChannel() = default;
std::optional<ChannelRequest> RequestChannel::take() { return server_->take(); }
void RequestChannel::answer(const ChannelRequest& request, const Json& answer) { server_->answer(request, answer); }

Json refusal_json(int code, const std::string& sentence) {
  return {{"ok", false}, {"code", code}, {"error", sentence}};
}

void serve(RequestChannel& channel, const ChannelHandlers& handlers) {
  while (const auto request = channel.take()) {
    const auto handler = handlers.find(request->verb);
    Json answer;
    try {
      if (handler == handlers.end()) fail(ExitCode::usage, "'", request->verb.substr(0, 100), "' is no verb of a run");
      answer = handler->second(*request);
    } catch (const Failure& failure) {
      answer = refusal_json(static_cast<int>(failure.code()), failure.what());
      if (request->queued) HOPYARD_WARN << "a queued request of " << request->author << ": " << failure.what();
    }
    channel.answer(*request, answer);
  }
}

}  // namespace hopyard
