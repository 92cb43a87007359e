#include "transport/sockets.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>
#include <memory>

#include "base/failure.h"

namespace hopyard {
namespace {

constexpr int kBacklog = 1024;

std::string system_error(int code) {
  char buffer[256];
  return strerror_r(code, buffer, sizeof buffer);
}

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t size = 0;
  sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
  int family() const { return storage.ss_family; }
};

SocketAddress address_of(const Endpoint& endpoint) {
  SocketAddress address;
  auto* four = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* six = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, endpoint.host.c_str(), &four->sin_addr) == 1) {
    four->sin_family = AF_INET;
    four->sin_port = htons(endpoint.port);
    address.size = sizeof *four;
  } else {
    require(::inet_pton(AF_INET6, endpoint.host.c_str(), &six->sin6_addr) == 1, endpoint.host, " is no address");
    six->sin6_family = AF_INET6;
    six->sin6_port = htons(endpoint.port);
    address.size = sizeof *six;
  }
  return address;
}

/// As a numeric host; empty where the address has none.
std::string host_of(const sockaddr* address, socklen_t size) {
  char host[NI_MAXHOST];
  return ::getnameinfo(address, size, host, sizeof host, nullptr, 0, NI_NUMERICHOST) == 0 ? host : "";
}

/// Of one end of a connection; empty where it has none.
std::string host_of_end(int descriptor, int (*name_of)(int, sockaddr*, socklen_t*)) {
  SocketAddress address;
  address.size = sizeof address.storage;
  return name_of(descriptor, address.get(), &address.size) == 0 ? host_of(address.get(), address.size) : "";
}

/// Of this process, with their inodes.
std::map<int, std::uint64_t> sockets_by_descriptor() {
  std::map<int, std::uint64_t> found;
  std::error_code unreadable;
  for (const auto& entry : std::filesystem::directory_iterator("/proc/self/fd", unreadable)) {
    const int descriptor = std::atoi(entry.path().filename().c_str());
    struct stat about {};
    if (::fstat(descriptor, &about) == 0 && S_ISSOCK(about.st_mode)) found[descriptor] = about.st_ino;
  }
  return found;
}

std::string connected_or_why(int descriptor, SocketAddress address, double seconds) {
  if (::connect(descriptor, address.get(), address.size) == 0) return "";
  if (errno != EINPROGRESS) return system_error(errno);
  pollfd polled{descriptor, POLLOUT, 0};
  if (::poll(&polled, 1, static_cast<int>(seconds * 1000) + 1) <= 0) return "no answer";
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(descriptor, SOL_SOCKET, SO_ERROR, &error, &size);
  return error == 0 ? "" : system_error(error);
}

}  // namespace

std::vector<std::string> resolve(const std::string& name, std::string& error) {
  addrinfo hints{};
  hints.ai_family = AF_UNSPEC;
  hints.ai_socktype = SOCK_STREAM;
  addrinfo* found = nullptr;
  const int code = ::getaddrinfo(name.c_str(), nullptr, &hints, &found);
  const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(found, [](addrinfo* list) {
    if (list != nullptr) ::freeaddrinfo(list);
  });
  std::vector<std::string> hosts;
  for (const addrinfo* each = code == 0 ? found : nullptr; each != nullptr; each = each->ai_next) {
    if (std::string host = host_of(each->ai_addr, each->ai_addrlen); !host.empty()) hosts.push_back(std::move(host));
  }
  if (hosts.empty()) error = code == 0 ? "it has no address" : ::gai_strerror(code);
  return hosts;
}

bool is_loopback(const std::string& numeric_host) {
  return numeric_host.rfind("127.", 0) == 0 || numeric_host == "::1";
}

void ignore_broken_pipes() {
  struct sigaction present {};
  if (::sigaction(SIGPIPE, nullptr, &present) == 0 && present.sa_handler == SIG_DFL) ::signal(SIGPIPE, SIG_IGN);
}

ListeningSocket::ListeningSocket(Endpoint endpoint) : endpoint_(std::move(endpoint)) {
  const auto& [numeric_host, port] = endpoint_;
  auto address = address_of(endpoint_);
  descriptor_ = ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor_ < 0) fail(ExitCode::internal, "no socket to listen on: ", system_error(errno));
  const int on = 1;
  ::setsockopt(descriptor_, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  int error = 0;
  if (::bind(descriptor_, address.get(), address.size) != 0 || ::listen(descriptor_, kBacklog) != 0) error = errno;
  if (error != 0) {
    ::close(descriptor_);
    descriptor_ = -1;
  }
  if (error == EADDRINUSE) {
    fail(ExitCode::usage, "port ", port, " of ", numeric_host,
         " is in use: another run has it, or another program; set MASTER_PORT to a free one");
  }
  if (error == EADDRNOTAVAIL) {
    fail(ExitCode::usage, numeric_host,
         " is no address of this machine: rank 0 must run on the machine that MASTER_ADDR ",
         "names, and bind to an address of its own");
  }
  if (error != 0) fail(ExitCode::usage, "cannot listen on ", to_string(endpoint_), ": ", system_error(error));
  ::getsockname(descriptor_, address.get(), &address.size);
  endpoint_.port = ntohs(address.family() == AF_INET ? reinterpret_cast<sockaddr_in*>(&address.storage)->sin_port
                                                     : reinterpret_cast<sockaddr_in6*>(&address.storage)->sin6_port);
}

ListeningSocket::~ListeningSocket() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

int ListeningSocket::take() { return std::exchange(descriptor_, -1); }

std::string try_to_listen(const std::string& numeric_host) {
  auto address = address_of({numeric_host, 0});
  const int descriptor = ::socket(address.family(), SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (descriptor < 0) return system_error(errno);
  const std::string why = ::bind(descriptor, address.get(), address.size) == 0 ? "" : system_error(errno);
  ::close(descriptor);
  return why;
}

std::set<std::uint64_t> open_sockets() {
  std::set<std::uint64_t> inodes;
  for (const auto& [descriptor, inode] : sockets_by_descriptor()) inodes.insert(inode);
  return inodes;
}

void tune_connections(const std::set<std::uint64_t>& before) {
  constexpr int kAskAfterSeconds = 5, kAskEverySeconds = 3;
  for (const auto& [descriptor, inode] : sockets_by_descriptor()) {
    int protocol = 0;
    socklen_t size = sizeof protocol;
    if (before.contains(inode) || ::getsockopt(descriptor, SOL_SOCKET, SO_PROTOCOL, &protocol, &size) != 0 ||
        protocol != IPPROTO_TCP)
      continue;
    const auto set = [socket = descriptor](int level, int option, int value) {
      ::setsockopt(socket, level, option, &value, sizeof value);
    };
    set(IPPROTO_TCP, TCP_USER_TIMEOUT, 1000 * kUnansweredSeconds);
    set(IPPROTO_TCP, TCP_KEEPIDLE, kAskAfterSeconds);
    set(IPPROTO_TCP, TCP_KEEPINTVL, kAskEverySeconds);
    set(SOL_SOCKET, SO_KEEPALIVE, 1);
    const std::string here = host_of_end(descriptor, ::getsockname);
    if (here.empty() || here != host_of_end(descriptor, ::getpeername)) continue;
    constexpr std::string_view kNotPaced = "reno";  // every Linux has it, and lets anybody choose it
    ::setsockopt(descriptor, IPPROTO_TCP, TCP_CONGESTION, kNotPaced.data(), kNotPaced.size());
  }
}

std::string try_to_connect(const Endpoint& endpoint, double seconds) {
  const auto address = address_of(endpoint);
  const int descriptor = ::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (descriptor < 0) return system_error(errno);
  std::string why = connected_or_why(descriptor, address, seconds);
  ::close(descriptor);
  return why;
}

}  // namespace hopyard
