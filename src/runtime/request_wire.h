// What both ends of the request channel share. Private to the channel.
#pragma once

#include <sys/socket.h>
#include <sys/un.h>

#include <string>
#include <utility>

#include "runtime/request_channel.h"

namespace hopyard {

/// A file descriptor that is closed with the object. Move-only.
class Descriptor {
 public:
  explicit Descriptor(int number = -1) : number_(number) {}
  Descriptor(Descriptor&& other) noexcept : number_(std::exchange(other.number_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(number_, other.number_);
    return *this;
  }
  ~Descriptor();
  int operator*() const { return number_; }

 private:
  int number_;
};

/// The address of the directory's socket however long the directory's path is: it goes through an open descriptor of
/// the directory, which must stay open while the address is used (sockaddr_un holds 108 bytes).
struct SocketAddress {
  explicit SocketAddress(const std::string& directory);
  Descriptor folder;  ///< −1 when the directory cannot be opened; errno says why
  sockaddr_un address{};
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&address); }
};

/// Failure(usage) says what is wrong with the text, which is a peer's.
ChannelRequest parse_request(const std::string& text);
/// "kim", or "uid 1007" when the system has no name for it.
std::string user_name(std::uint32_t uid);
/// The user of this process, and root.
bool may_steer(std::uint32_t uid);

/// A queued file.
struct QueuedFile {
  std::string name;
  std::optional<ChannelRequest> request;
  std::string fault;  ///< why it is no request
};
/// At most `count` files of the queue in their order, without those of these names. Never follows links or waits.
std::vector<QueuedFile> read_queue(const std::string& directory, const std::vector<std::string>& without,
                                   std::size_t count, std::size_t bytes_max);
/// The file is done with: it goes, or is put aside as NAME.refused.
void remove_queued(const std::string& directory, const std::string& name);
void put_aside_queued(const std::string& directory, const std::string& name);

}  // namespace hopyard
