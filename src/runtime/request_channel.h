// How other terminals reach the process that runs an experiment: a Unix socket in the run directory, and files where no
// process listens. A request is {"verb": "stop", "arguments": {…}}; the answer is one JSON object.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "formats/json.h"

namespace hopyard {

/// Bounds on what a peer may do.
struct ChannelLimits {
  std::size_t request_bytes = 64 << 10;
  std::size_t connections = 32;  ///< at a time; the one that dawdles longest makes room for a new one
  std::size_t waiting = 64;      ///< requests that the owner has not answered yet
  double request_s = 2;          ///< from connecting to the end of the request
  double answer_s = 60;          ///< that the owner may take
  double write_s = 5;            ///< that the peer may take to read its answer
  double scan_s = 0.5;           ///< between looks for queued files
};

/// A well-formed request. Who asks is what the kernel says.
struct ChannelRequest {
  std::string verb;
  Json arguments;
  std::string author;  ///< name of the user
  std::uint32_t uid = 0;
  std::string token;    ///< one for each request; of a queued one the same after a crash
  bool queued = false;  ///< came as a file: nobody waits for the answer
  std::uint64_t ticket = 0;
};

/// The owner's end. A thread of its own speaks to peers, so that none of them stalls the run. Only the user of the run
/// directory and root are heard. A queued file goes when its request has been answered, so that a crash before loses
/// nothing: whoever serves must know a token that it has served.
class RequestChannel {
 public:
  /// `arrived` is called from the channel's thread when take() has something. The directory must be locked by this
  /// process. A directory that can hold no socket is served by files alone.
  RequestChannel(const std::string& directory, std::function<void()> arrived, const ChannelLimits& limits = {});
  ~RequestChannel();  ///< tells those who wait that the run is ending; queued files stay
  RequestChannel(const RequestChannel&) = delete;

  std::optional<ChannelRequest> take();
  void answer(const ChannelRequest& request, const Json& answer);

 private:
  class Server;
  std::unique_ptr<Server> server_;
};

/// {"ok": false, "code": …, "error": …}: how a Failure travels.
Json refusal_json(int code, const std::string& sentence);

/// Each request that has come is answered by the handler of its verb. A Failure of the handler becomes the answer.
using ChannelHandlers = std::map<std::string, std::function<Json(const ChannelRequest&)>>;
void serve(RequestChannel& channel, const ChannelHandlers& handlers);

/// The peer's end: the answer of the process that runs in this directory; nothing when none does. Failure when it may
/// not be asked, takes longer than `timeout_s`, or ends without an answer.
std::optional<Json> ask_owner(const std::string& directory, const Json& request, double timeout_s);

/// The answer, or the Failure that it refuses with.
Json accepted(Json answer, const std::string& directory);

/// Leaves a request for the next run, durable on return.
void queue_request(const std::string& directory, const Json& request);
/// Those that are there, in the order of coming. Files that are no request are left out.
std::vector<ChannelRequest> queued_requests(const std::string& directory);

/// Paths in a run directory.
std::string socket_path(const std::string& directory);
std::string queue_path(const std::string& directory);

}  // namespace hopyard
