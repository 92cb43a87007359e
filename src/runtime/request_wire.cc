#include "runtime/request_wire.h"
#include "report/json_fields.h"

#include <dirent.h>
#include <fcntl.h>
#include <pwd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstring>

#include "base/clock.h"
#include "base/failure.h"
#include "base/files.h"

namespace hopyard {

namespace {

constexpr const char* kSocketName = "steer.sock";
constexpr const char* kQueueName = "requests";
constexpr const char* kQueuedEnding = ".json";
constexpr JsonLimits kRequestLimits{16, 4096};
constexpr int kNameBytes = 16384;

/// The file's content and owner; throws Failure for what is no plain file of a bounded size.
std::string read_queued(const std::string& path, std::size_t bytes_max, std::uint32_t& uid) {
  const Descriptor file(::open(path.c_str(), O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC));
  struct stat status {};
  if (*file < 0 || ::fstat(*file, &status) != 0) fail(ExitCode::input, path, ": ", std::strerror(errno));
  if (!S_ISREG(status.st_mode)) fail(ExitCode::input, path, ": is not a regular file");
  uid = status.st_uid;
  std::string content(bytes_max + 1, '\0');
  const ssize_t got = ::read(*file, content.data(), content.size());
  if (got < 0) fail(ExitCode::input, path, ": ", std::strerror(errno));
  if (static_cast<std::size_t>(got) > bytes_max) fail(ExitCode::input, path, ": has more than ", bytes_max, " bytes");
  content.resize(static_cast<std::size_t>(got));
  return content;
}

}  // namespace

std::string socket_path(const std::string& directory) { return directory + "/" + kSocketName; }
std::string queue_path(const std::string& directory) { return directory + "/" + kQueueName; }

Descriptor::~Descriptor() {
  if (number_ >= 0) ::close(number_);
}

SocketAddress::SocketAddress(const std::string& directory)
    : folder(::open(directory.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC)) {
  address.sun_family = AF_UNIX;
  const std::string path = text::cat("/proc/self/fd/", *folder, "/", kSocketName);
  std::memcpy(address.sun_path, path.data(), std::min(path.size(), sizeof address.sun_path - 1));
}

ChannelRequest parse_request(const std::string& text) {
  const char* where = "request";
  const Json json = parse_json(text, where, kRequestLimits);
  if (!json.is_object()) fail(ExitCode::usage, where, ": must be {\"verb\": …, \"arguments\": {…}}");
  for (const auto& [key, value] : json.items())
    if (key != "verb" && key != "arguments") fail(ExitCode::usage, where, ": unknown key '", key.substr(0, 100), "'");
  ChannelRequest request;
  request.verb = json_get<std::string>(json, "verb", where);
  request.arguments = json.contains("arguments") ? json.at("arguments") : Json::object();
  if (!request.arguments.is_object()) fail(ExitCode::usage, where, ": 'arguments' must be an object");
  return request;
}

std::string user_name(std::uint32_t uid) {
  std::string names(kNameBytes, '\0');
  passwd entry{};
  passwd* found = nullptr;
  if (::getpwuid_r(uid, &entry, names.data(), names.size(), &found) == 0 && found != nullptr) return found->pw_name;
  return text::cat("uid ", uid);
}

bool may_steer(std::uint32_t uid) { return uid == 0 || uid == ::geteuid(); }

std::vector<QueuedFile> read_queue(const std::string& directory, const std::vector<std::string>& without,
                                   std::size_t count, std::size_t bytes_max) {
  const std::string folder = queue_path(directory);
  std::vector<std::string> names;
  if (DIR* open = ::opendir(folder.c_str())) {
    while (const dirent* entry = ::readdir(open)) {
      const std::string name = entry->d_name;
      if (name.ends_with(kQueuedEnding) && std::find(without.begin(), without.end(), name) == without.end())
        names.push_back(name);
    }
    ::closedir(open);
  }
  std::sort(names.begin(), names.end());
  names.resize(std::min(names.size(), count));
  std::vector<QueuedFile> files;
  for (const auto& name : names) {
    QueuedFile& file = files.emplace_back(QueuedFile{name, {}, {}});
    try {
      std::uint32_t uid = 0;
      const std::string content = read_queued(folder + "/" + name, bytes_max, uid);
      if (!may_steer(uid)) fail(ExitCode::usage, "it is ", user_name(uid), "'s, who may not steer this run");
      file.request = parse_request(content);
      file.request->uid = uid;
      file.request->author = user_name(uid);
      file.request->token = "file:" + name;
      file.request->queued = true;
    } catch (const Failure& fault) {
      file.fault = fault.what();
    }
  }
  return files;
}

void remove_queued(const std::string& directory, const std::string& name) {
  ::unlink((queue_path(directory) + "/" + name).c_str());
}

void put_aside_queued(const std::string& directory, const std::string& name) {
  const std::string path = queue_path(directory) + "/" + name;
  ::rename(path.c_str(), (path + ".refused").c_str());
}

void queue_request(const std::string& directory, const Json& request) {
  static std::atomic<unsigned> count = 0;
  const std::string folder = queue_path(directory);
  if (::mkdir(folder.c_str(), 0700) != 0 && errno != EEXIST)
    fail(ExitCode::input, folder, ": cannot be created: ", std::strerror(errno));
  std::string when = std::to_string(static_cast<std::uint64_t>(wall_seconds() * 1e6));
  when.insert(0, 17 - std::min<std::size_t>(17, when.size()), '0');  // so that names sort like times
  const std::string name = text::cat(when, "-", ::getpid(), "-", count++, kQueuedEnding);
  write_file_atomically(folder + "/" + name, dump_json(request) + "\n");
  sync_folder(directory);
}

std::vector<ChannelRequest> queued_requests(const std::string& directory) {
  const ChannelLimits limits;
  std::vector<ChannelRequest> requests;
  for (auto& file : read_queue(directory, {}, limits.waiting, limits.request_bytes))
    if (file.request) requests.push_back(std::move(*file.request));
  return requests;
}

}  // namespace hopyard
