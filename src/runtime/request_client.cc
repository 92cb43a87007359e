// The asking end of the request channel.
#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/failure.h"
#include "report/json_fields.h"
#include "runtime/request_wire.h"

namespace hopyard {

namespace {

constexpr std::size_t kAnswerBytesMax = 64 << 20;
constexpr double kRetrySeconds = 0.01;

[[noreturn]] void refuse_stranger(const std::string& directory) {
  struct stat status {};
  const bool known = ::stat(directory.c_str(), &status) == 0;
  fail(ExitCode::input, directory, ": ", known ? "belongs to " + user_name(status.st_uid) : "belongs to another user",
       ", who alone may steer what runs in it");
}

void wait_for(int socket, short events, double deadline, const std::string& directory) {
  pollfd one{socket, events, 0};
  const double left = std::max(0.0, deadline - monotonic_seconds());
  if (::poll(&one, 1, static_cast<int>(left * 1000) + 1) > 0) return;
  if (monotonic_seconds() >= deadline)
    fail(ExitCode::internal, directory,
         ": the run that is there does not answer; what was asked may still take effect: `hopyard status ", directory,
         "` says so");
}

/// False when nobody listens.
bool connect_to(int socket, const std::string& directory, double deadline) {
  const SocketAddress address(directory);
  while (*address.folder >= 0 && ::connect(socket, address.get(), sizeof address.address) != 0) {
    if (errno == EACCES || errno == EPERM) refuse_stranger(directory);
    if (errno != EAGAIN && errno != EINTR) return false;
    if (monotonic_seconds() >= deadline) fail(ExitCode::internal, directory, ": the run that is there is overrun");
    sleep_seconds(kRetrySeconds);  // its queue of connections is full
  }
  if (*address.folder < 0 && errno == EACCES) refuse_stranger(directory);
  return *address.folder >= 0;
}

void send_all(int socket, std::string_view text, double deadline, const std::string& directory) {
  while (!text.empty()) {
    const ssize_t sent = ::send(socket, text.data(), text.size(), MSG_NOSIGNAL);
    if (sent > 0)
      text.remove_prefix(static_cast<std::size_t>(sent));
    else if (errno == EAGAIN || errno == EWOULDBLOCK)
      wait_for(socket, POLLOUT, deadline, directory);
    else if (errno != EINTR)
      return;  // the answer may be there already
  }
}

std::string receive_all(int socket, double deadline, const std::string& directory) {
  std::string text;
  char buffer[16384];
  while (text.size() < kAnswerBytesMax) {
    const ssize_t got = ::recv(socket, buffer, sizeof buffer, 0);
    if (got > 0)
      text.append(buffer, static_cast<std::size_t>(got));
    else if (got == 0 || (errno != EAGAIN && errno != EWOULDBLOCK && errno != EINTR))
      return text;
    else
      wait_for(socket, POLLIN, deadline, directory);
  }
  fail(ExitCode::internal, directory, ": the run's answer is longer than ", kAnswerBytesMax, " bytes");
}

}  // namespace

std::optional<Json> ask_owner(const std::string& directory, const Json& request, double timeout_s) {
  const double deadline = monotonic_seconds() + timeout_s;
  const Descriptor socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (*socket < 0) fail(ExitCode::internal, "no socket can be made: ", std::strerror(errno));
  if (!connect_to(*socket, directory, deadline)) return std::nullopt;
  send_all(*socket, dump_json(request) + "\n", deadline, directory);
  const std::string text = receive_all(*socket, deadline, directory);
  if (text.empty())
    fail(ExitCode::internal, directory,
         ": the run ended before it answered; what was asked may have happened: `hopyard status ", directory,
         "` says so");
  Json answer = parse_json(text, directory + ": answer of the run");
  if (answer.is_object() && answer.contains("ending")) return std::nullopt;  // it did not take the request
  return answer;
}

Json accepted(Json answer, const std::string& directory) {
  const std::string where = directory + ": answer of the run";
  if (json_get<bool>(answer, "ok", where)) return answer;
  const auto code = json_get<std::int64_t>(answer, "code", where);
  const bool known = code >= 1 && code <= static_cast<int>(ExitCode::interrupted);
  throw Failure(known ? static_cast<ExitCode>(code) : ExitCode::internal,
                json_get<std::string>(answer, "error", where));
}

}  // namespace hopyard
