// Messages and bytes between the workers of one experiment: what every form of it does. open.h has the real one (c10d's
// TCPStore and Gloo), tests/fakes/memory_transport.h one with faults to order; transport_conformance.h holds for both.
//
// Rank 0's process holds the coordinator's end, and each process (rank 0's too) a worker's end. Messages go between
// workers and coordinator; bulk bytes between any two workers. Whatever fails for a peer's sake is a value here:
// nothing hangs, and nothing throws but a broken contract (std::logic_error).
#pragma once

#include <compare>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// One life of a worker. A process that comes back under its rank gets a higher incarnation; nothing that an earlier
/// one says is heard any more.
struct WorkerId {
  std::uint32_t rank = 0;
  std::uint64_t incarnation = 0;
  auto operator<=>(const WorkerId&) const = default;
};
/// "worker 1.7": rank and incarnation.
std::string to_string(const WorkerId& worker);

/// Where the coordinator listens: a numeric address and a port.
struct Endpoint {
  std::string host;
  std::uint16_t port = 0;
  bool operator==(const Endpoint&) const = default;
};
/// "127.0.0.1:29500", "[::1]:29500".
std::string to_string(const Endpoint& endpoint);

/// A message larger than this is a broken contract: large things go over links.
constexpr Bytes kMaxMessageBytes = 16 * MiB;
/// An end holds at most so much that it has not sent yet. If so much has arrived that nobody has taken, it gives its
/// peer up: a coordinator expels the worker, a worker is lost.
constexpr Bytes kMaxQueuedBytes = 256 * MiB;

/// Who is alive is told from beats by the watcher's own clock. Time in which the watcher itself did not run counts for
/// at most a quarter of a second, so that whoever was paused does not bury all others.
struct LivenessBounds {
  double beat_s = 0.1;     ///< between two beats
  double silent_s = 0.35;  ///< without a beat: silent
  double dead_s = 0.8;     ///< without a beat: dead for good (the coordinator), or lost (a worker, of the coordinator)
  bool operator==(const LivenessBounds&) const = default;
};

/// Bytes that this end sent and received, with frames and tags, without TCP's own.
struct Traffic {
  Bytes control_sent = 0, control_received = 0;  ///< messages; beats and joining are not counted
  Bytes bulk_sent = 0, bulk_received = 0;
  bool operator==(const Traffic&) const = default;
};
using TrafficByRank = std::map<std::uint32_t, Traffic>;

enum class SendStatus {
  queued,  ///< will arrive, in order, unless one of both ends is lost
  gone,    ///< the other end is: dead, expelled, left
  full     ///< kMaxQueuedBytes are waiting already: the other end takes nothing; try again later
};

/// What a coordinator hears. Of one incarnation: joined, then messages, silent and awake, then dead or left, and
/// nothing after that.
struct CoordinatorEvent {
  enum class Kind {
    joined,
    message,
    silent,  ///< no beat for `silent_s`
    awake,   ///< beats again, in time
    dead,    ///< no beat for `dead_s`, replaced by a newer incarnation of its rank, or expelled
    left,    ///< said good-bye
    refused  ///< somebody was turned away; `worker.rank` is what they said, incarnation 0
  };
  Kind kind = Kind::message;
  WorkerId worker;
  std::string text;  ///< the message; of dead and refused, why, as a sentence
};

/// The coordinator's end. Any thread; one at a time in next(). With its end the store goes, and what workers have not
/// fetched: wait until they have left.
class CoordinatorEnd {
 public:
  virtual ~CoordinatorEnd() = default;
  /// The next event, in order of arrival; nothing when `timeout_s` has passed. Never longer.
  virtual std::optional<CoordinatorEvent> next(double timeout_s) = 0;
  /// The next() that waits, or else the next one that would, does not wait. Several calls may be one.
  virtual void wake() = 0;
  /// Never blocks. Messages to one worker arrive in order, each once.
  virtual SendStatus send(const WorkerId& to, std::string message) = 0;
  /// Ends this incarnation: `dead` follows, and the worker reads the reason when it is there to read.
  virtual void expel(const WorkerId& worker, const std::string& reason) = 0;
  /// Where workers find this end.
  virtual Endpoint endpoint() const = 0;
  virtual TrafficByRank traffic() const = 0;  ///< by the worker's rank, over all its incarnations
};

/// How a worker stands with its coordinator.
struct WorkerStanding {
  enum class Kind {
    connected,
    silent,   ///< the coordinator has not beaten for `silent_s`
    lost,     ///< for good: its connection broke, or `dead_s` passed. Join again, as a new incarnation
    expelled  ///< for good: it buried this incarnation, or has heard of a newer one of this rank
  };
  Kind kind = Kind::connected;
  std::string reason;
  bool over() const { return kind == Kind::lost || kind == Kind::expelled; }
};

/// Gives the bytes of a transfer, chunk after chunk, from wherever they lie. Called by the thread that is in send().
struct ChunkSource {
  /// The bytes [offset, offset + bytes), to be left alone until `sent` of the same offset. The place to take a digest:
  /// chunks before this one are on their way meanwhile. An empty span gives the transfer up, and the link with it.
  std::function<std::span<const std::byte>(Bytes offset, Bytes bytes)> chunk;
  /// Those bytes are needed no more. May be empty. Not called for what was in flight when the transfer failed.
  std::function<void(Bytes offset, Bytes bytes)> sent;
};

/// Takes the bytes of a transfer, chunk after chunk. Called by the thread that is in receive().
struct ChunkSink {
  /// Where the bytes [offset, offset + bytes) are to be written; they change until `arrived` of the same offset, or
  /// until receive() returns. An empty span gives the transfer up, and the link with it.
  std::function<std::span<std::byte>(Bytes offset, Bytes bytes)> place;
  /// They are there: the place to take a digest, while later chunks arrive. False gives up like an empty span.
  std::function<bool(Bytes offset, std::span<const std::byte> bytes)> arrived;
};

/// Chunks are so long but for the last: a multiple of the 1 MiB over which digests are taken.
constexpr Bytes kChunkBytes = 4 * MiB;
/// So many chunks of a transfer are on their way at a time.
constexpr std::size_t kChunksInFlight = 4;

/// Which transfer of a link, the same at both ends. Transfers of other tags may run at the same time, either way.
struct Transfer {
  std::uint32_t tag = 0;
  Bytes bytes = 0;  ///< the receiver checks that the sender means as many
};
constexpr std::uint32_t kMaxTransferTag = (1u << 30) - 1;

/// How a transfer ended: `error` is empty, or a sentence.
struct TransferResult {
  std::string error;
  bool ok() const { return error.empty(); }
};

/// Bytes between two workers. After an error it is broken for good at both ends (the other end hears of it at once, or
/// by its own bound): drop it and open one with the next number. Bytes are not authenticated: exchange digests in
/// messages, which are. Any thread.
class Link {
 public:
  virtual ~Link() = default;
  /// Returns when the receiver has said that all bytes are in their places.
  virtual TransferResult send(const Transfer& transfer, const ChunkSource& source) = 0;
  virtual TransferResult receive(const Transfer& transfer, const ChunkSink& sink) = 0;
  /// Breaks the link: whoever is in send() or receive() returns soon, with this reason.
  virtual void cancel(const std::string& reason) = 0;
  virtual bool broken() const = 0;
};

/// The link to open, the same at both ends but for `peer`.
struct LinkOrder {
  WorkerId peer;
  std::uint64_t number = 0;  ///< never used before by these two incarnations: the coordinator counts
  double open_s = 5;         ///< so long to wait for the other end
  double stall_s = 5;        ///< so long for a chunk to make its way, or it is a failure
};
struct OpenedLink {
  std::unique_ptr<Link> link;  ///< null on failure
  std::string error;
};

/// What several workers add up together, by the transport's own collective. After an error it is broken for good, and
/// the others hear of it at once, or by their own bound. One thread at a time, but for cancel() and broken().
class Group {
 public:
  virtual ~Group() = default;
  /// All members call it with as many values, in the same order of calls. Afterwards each has the sums over all of
  /// them, the same bits; in which order they were added is the transport's affair.
  virtual TransferResult all_reduce(std::span<float> values) = 0;
  virtual TransferResult all_reduce(std::span<double> values) = 0;
  /// Breaks the group: whoever is in all_reduce() here returns soon, with this reason. Where others are in it as well,
  /// they may still come to its end, but not to that of the next.
  virtual void cancel(const std::string& reason) = 0;
  virtual bool broken() const = 0;
};

/// The group to open, the same at all its members.
struct GroupOrder {
  std::vector<WorkerId> members;  ///< this worker among them
  std::uint64_t number = 0;       ///< never used before by a group of these incarnations: the coordinator counts
  double open_s = 5;              ///< so long to wait for the others
  double stall_s = 5;             ///< so long for 4 MiB to be added up, the wait for the slowest member included
};
struct OpenedGroup {
  std::unique_ptr<Group> group;  ///< null on failure
  std::string error;
};

/// A worker's end. Any thread; one at a time in receive(). Links and groups end before it.
class WorkerEnd {
 public:
  /// Says good-bye, if there is somebody to say it to; takes at most a second.
  virtual ~WorkerEnd() = default;
  virtual WorkerId id() const = 0;
  /// Never blocks. Messages arrive in order, each once.
  virtual SendStatus send(std::string message) = 0;
  /// The coordinator's next message; nothing when `timeout_s` has passed, and at once when the standing is over and
  /// what had arrived is taken. An expelled worker's messages are dropped.
  virtual std::optional<std::string> receive(double timeout_s) = 0;
  virtual WorkerStanding standing() const = 0;
  /// Blocks until both ends are there, or `open_s` has passed. One link of a pair may be open beside others.
  virtual OpenedLink open_link(const LinkOrder& order) = 0;
  /// Blocks until all members are there, or `open_s` has passed.
  virtual OpenedGroup open_group(const GroupOrder& order) = 0;
  virtual TrafficByRank traffic() const = 0;  ///< control: under rank 0, the coordinator's; bulk: by the peer's rank
};

}  // namespace hopyard
