#include "cuda/nccl_link.h"

#include <algorithm>
#include <cstring>
#include <deque>
#include <optional>
#include <utility>

#include "base/failure.h"
#include "cuda/first_kept.h"

namespace hopyard {

namespace {

/// Beyond the bound of the link beneath, so that its words are heard.
constexpr double kSlackSeconds = 0.5;

/// Opens a transfer that is not a small one, over the link beneath.
struct Header {
  std::uint64_t magic = 0x314c43434e505948;  // "HYPNCCL1"
  std::uint64_t bytes = 0, over_nccl = 0;
  bool operator==(const Header&) const = default;
};

/// The sender's words between chunks, over the link beneath. Before a chunk: it is in host memory here. Heard, there is
/// a place for it, so that neither card waits for what a caller does. Behind the last: heard, all are in their places.
struct Token {
  std::uint64_t magic = 0x314b4f5450594800, chunk = 0;
  bool operator==(const Token&) const = default;
};
constexpr std::uint64_t kBehindTheLast = ~std::uint64_t{0};
/// While there is no chunk to speak of, by which the sender sees that the receiver is there. The receiver listens all
/// the time.
constexpr std::uint64_t kStillHere = kBehindTheLast - 1;
constexpr double kStillHereSeconds = 0.25;

Bytes bytes_of(const Transfer& transfer, std::size_t chunk) {
  return std::min(kChunkBytes, transfer.bytes - chunk * kChunkBytes);
}
std::size_t chunks_of(const Transfer& transfer) { return (transfer.bytes + kChunkBytes - 1) / kChunkBytes; }

/// What the threads of transfers share with the link, and may outlive it with.
struct Core {
  const std::unique_ptr<Link> inner;
  NcclLanes lanes;
  const WorkerId peer;
  const int peer_member;
  const double stall_s;
  FirstKept<std::string> broken;  // why; empty while all is well

  std::mutex mutex;      // guards sending
  bool sending = false;  ///< there is a transfer in lanes.sending

  /// Breaks the link, if it is whole; the words that it broke with.
  std::string break_off(const std::string& reason) {
    std::string first = broken.keep(reason);
    inner->cancel(first);
    lanes.sending.communicator->abort();
    lanes.receiving.communicator->abort();
    return first;
  }
  bool claim() {
    const std::lock_guard lock(mutex);
    return !std::exchange(sending, true);
  }
  void let_go() {
    const std::lock_guard lock(mutex);
    sending = false;
  }
};

using Asker = NcclPassage::Asker;

void ask_to_send(Core& core, std::size_t chunk, Bytes bytes) {
  NcclStaging& staging = *core.lanes.sending.staging;
  staging.to_card(chunk, bytes);
  core.lanes.sending.communicator->ask(
      [&](NcclCalls& nccl, CommHandle comm) {
        nccl.send(comm, staging.card(chunk), bytes, core.peer_member, staging.nccl_stream());
      },
      core.stall_s);
  staging.ends_here(chunk);
}

void ask_to_receive(Core& core, std::size_t chunk, Bytes bytes) {
  NcclStaging& staging = *core.lanes.receiving.staging;
  core.lanes.receiving.communicator->ask(
      [&](NcclCalls& nccl, CommHandle comm) {
        nccl.receive(comm, staging.card(chunk), bytes, core.peer_member, staging.nccl_stream());
      },
      core.stall_s);
  staging.to_host(chunk, bytes, true);
}

void speak_and_send(Core& core, const Transfer& transfer, Asker& asker) {
  const auto say_token = [&](std::uint64_t chunk) { say(*core.inner, transfer.tag, Token{.chunk = chunk}); };
  for (std::size_t chunk = 0;;) {
    switch (asker.next(kStillHereSeconds)) {
      case Asker::Next::chunk:
        say_token(chunk);
        ask_to_send(core, chunk, bytes_of(transfer, chunk));
        asker.asked();
        ++chunk;
        break;
      case Asker::Next::nothing:
        say_token(kStillHere);
        break;
      case Asker::Next::all:
        say_token(kBehindTheLast);
        return;
      case Asker::Next::given_up:
        return;
    }
  }
}

void listen_and_receive(Core& core, const Transfer& transfer, Asker& asker) {
  constexpr double kAsLongAsItTakes = 1e6;  // the caller's own code: the sender's bound ends it
  for (std::size_t chunk = 0;;) {
    // Heard only when the caller is ready for it.
    const auto token = hear<Token>(*core.inner, transfer.tag, [&](const Token& said) {
      if (said == Token{.chunk = kStillHere}) return true;
      const auto next = asker.next(kAsLongAsItTakes);
      return said == Token{.chunk = kBehindTheLast} ? next == Asker::Next::all
                                                    : said == Token{.chunk = chunk} && next == Asker::Next::chunk;
    });
    if (token.chunk == kBehindTheLast) return;
    if (token.chunk == kStillHere) continue;
    ask_to_receive(core, chunk, bytes_of(transfer, chunk));
    asker.asked();
    ++chunk;
  }
}

class NcclLink final : public Link {
 public:
  NcclLink(std::shared_ptr<Core> core, std::shared_ptr<TrafficCounter> traffic)
      : core_(std::move(core)), traffic_(std::move(traffic)) {}
  ~NcclLink() override { cancel("the link was closed"); }

  TransferResult send(const Transfer& transfer, const ChunkSource& source) override {
    if (transfer.bytes < kNcclBytesLeast) return core_->inner->send(transfer, source);
    const bool over_nccl = core_->claim();
    const std::shared_ptr<void> claimed(nullptr, [&](void*) {
      if (over_nccl) core_->let_go();
    });
    bool go_beneath = false;
    const auto result = run(transfer, "sent to", [&](Run& run) {
      say(*core_->inner, transfer.tag, Header{.bytes = transfer.bytes, .over_nccl = over_nccl});
      if (over_nccl) return send_chunks(transfer, source, run);
      go_beneath = true;
    });
    return go_beneath ? core_->inner->send(transfer, source) : result;
  }

  TransferResult receive(const Transfer& transfer, const ChunkSink& sink) override {
    if (transfer.bytes < kNcclBytesLeast) return core_->inner->receive(transfer, sink);
    bool go_beneath = false;
    const auto result = run(transfer, "received from", [&](Run& run) {
      const auto header = hear<Header>(*core_->inner, transfer.tag);
      if (!(header == Header{.bytes = transfer.bytes, .over_nccl = header.over_nccl}))
        throw std::runtime_error(text::cat("the sender means ", header.bytes, " bytes"));
      if (header.over_nccl != 0) return receive_chunks(transfer, sink, run);
      go_beneath = true;
    });
    return go_beneath ? core_->inner->receive(transfer, sink) : result;
  }

  void cancel(const std::string& reason) override { core_->break_off(reason); }
  bool broken() const override { return !core_->broken.get().empty() || core_->inner->broken(); }

 private:
  /// Of a transfer in its thread. The passage goes last, when its own thread has nothing to wait for any more.
  struct Run {
    std::optional<NcclPassage> passage;
    Bytes reached = 0;
  };

  template <class Body>
  TransferResult run(const Transfer& transfer, const char* verb, const Body& body) {
    require(transfer.tag <= kMaxTransferTag, "transfer tag ", transfer.tag, " is above ", kMaxTransferTag);
    if (const std::string why = core_->broken.get(); !why.empty())
      return {text::cat("the link to ", to_string(core_->peer), " is broken: ", why)};
    Run run;
    std::string reason;
    try {
      body(run);
      return {};
    } catch (const std::logic_error&) {
      core_->break_off("a contract was broken");
      throw;
    } catch (const std::exception& problem) {
      reason = core_->break_off(problem.what());
    }
    return {text::cat(text::format_bytes(transfer.bytes), " could not be ", verb, ' ', to_string(core_->peer),
                      ": after ", text::format_bytes(run.reached), ", ", reason)};
  }

  NcclPassage& start(Run& run, NcclLane& lane, std::function<void(Asker&)> work) const {
    const auto why_broken = [core = core_] { return core->broken.get(); };
    return run.passage.emplace(lane, core_->stall_s + kSlackSeconds, why_broken, std::move(work));
  }

  void send_chunks(const Transfer& transfer, const ChunkSource& source, Run& run) {
    NcclLane& lane = core_->lanes.sending;
    NcclPassage& passage =
        start(run, lane, [core = core_, transfer](Asker& asker) { speak_and_send(*core, transfer, asker); });
    const std::size_t chunks = chunks_of(transfer);
    for (std::size_t next = 0, done = 0; done < chunks;) {
      if (next < chunks && next - done < kChunksInFlight) {
        const Bytes bytes = bytes_of(transfer, next);
        const auto span = source.chunk(next * kChunkBytes, bytes);
        if (span.size() != bytes) throw std::runtime_error("the sender gave it up");
        std::memcpy(lane.staging->host(next++), span.data(), bytes);
        passage.hand_over();
        continue;
      }
      passage.await(done);
      const Bytes offset = done * kChunkBytes, bytes = bytes_of(transfer, done);
      ++done;
      run.reached = offset + bytes;
      traffic_->add(core_->peer.rank, &Traffic::bulk_sent, bytes);
      if (source.sent) source.sent(offset, bytes);
    }
    passage.finish();
  }

  void receive_chunks(const Transfer& transfer, const ChunkSink& sink, Run& run) {
    NcclLane& lane = core_->lanes.receiving;
    NcclPassage& passage =
        start(run, lane, [core = core_, transfer](Asker& asker) { listen_and_receive(*core, transfer, asker); });
    const std::size_t chunks = chunks_of(transfer);
    std::deque<std::span<std::byte>> places;
    for (std::size_t next = 0, done = 0; done < chunks;) {
      if (next < chunks && places.size() < kChunksInFlight) {
        places.push_back(sink.place(next * kChunkBytes, bytes_of(transfer, next)));
        if (places.back().size() != bytes_of(transfer, next)) throw std::runtime_error("the receiver gave it up");
        ++next;
        passage.hand_over();
        continue;
      }
      passage.await(done);
      const auto span = places.front();
      places.pop_front();
      std::memcpy(span.data(), lane.staging->host(done), span.size());
      const Bytes offset = done++ * kChunkBytes;
      run.reached = offset + span.size();
      traffic_->add(core_->peer.rank, &Traffic::bulk_received, span.size());
      if (!sink.arrived(offset, span)) throw std::runtime_error("the receiver gave it up");
    }
    passage.finish();
  }

  const std::shared_ptr<Core> core_;
  const std::shared_ptr<TrafficCounter> traffic_;
};

}  // namespace

std::unique_ptr<Link> make_nccl_link(std::unique_ptr<Link> inner, NcclLanes lanes, const LinkOrder& order,
                                     int peer_member, std::shared_ptr<TrafficCounter> traffic) {
  const std::shared_ptr<Core> core(
      new Core{std::move(inner), std::move(lanes), order.peer, peer_member, order.stall_s, {}, {}});
  return std::make_unique<NcclLink>(core, std::move(traffic));
}

}  // namespace hopyard
