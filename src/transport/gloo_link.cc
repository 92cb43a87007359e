#include "transport/gloo_link.h"

#include <ATen/ops/from_blob.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <chrono>
#include <cstring>
#include <deque>
#include <set>

#include "base/failure.h"
#include "transport/gloo_meeting.h"
#include "transport/loose_thread.h"
#include "transport/store.h"

namespace hopyard {
namespace {

using Connection = c10::intrusive_ptr<c10d::ProcessGroupGloo>;
using Work = c10::intrusive_ptr<c10d::Work>;

// Opens every transfer: what a receiver must know before it lets bytes in, since Gloo ends the process when a message
// is longer than its buffer.
struct Header {
  std::uint64_t magic = 0x314b4e494c594850;  // "PHYLINK1"
  std::uint64_t tag = 0, bytes = 0, chunk_bytes = kChunkBytes;
  bool operator==(const Header&) const = default;
};

// Breaks the link when a transfer ends badly, and keeps the words.
class GlooLink : public Link {
 public:
  GlooLink(Meeting meeting, const WorkerId& self, const LinkOrder& order, std::shared_ptr<TrafficCounter> traffic)
      : peer_(order.peer),
        peer_in_group_(self < order.peer ? 1 : 0),
        stall_(milliseconds(order.stall_s)),
        traffic_(std::move(traffic)),
        store_(std::move(meeting.store)),
        group_(std::move(meeting.group)) {}

  ~GlooLink() override {
    cancel("the link was closed");
    part(std::move(store_), {}, {}, kGiveUpSeconds);
  }

  TransferResult send(const Transfer& transfer, const ChunkSource& source) override {
    return run(transfer, "sent to", [&](Run& run) {
      Header header{.tag = transfer.tag, .bytes = transfer.bytes};
      finish(run, {post_send(run, data_slot(transfer), as_bytes(header)), 0, sizeof header});
      std::deque<Chunk> flying;
      for (Bytes offset = 0; offset < transfer.bytes || !flying.empty();) {
        if (offset < transfer.bytes && flying.size() < kChunksInFlight) {
          const Bytes bytes = std::min(kChunkBytes, transfer.bytes - offset);
          const auto span = source.chunk(offset, bytes);
          if (span.size() != bytes) throw std::runtime_error("the sender gave it up");
          flying.push_back(
              {post_send(run, data_slot(transfer), {const_cast<std::byte*>(span.data()), bytes}), offset, bytes});
          offset += bytes;
          continue;
        }
        const Chunk chunk = std::move(flying.front());
        flying.pop_front();
        finish(run, chunk);
        traffic_->add(peer_.rank, &Traffic::bulk_sent, chunk.bytes);
        if (source.sent) source.sent(chunk.offset, chunk.bytes);
      }
      Header receipt;
      finish(run, {post_receive(run, receipt_slot(transfer), as_bytes(receipt)), transfer.bytes, sizeof receipt});
      if (!(receipt == header)) throw std::runtime_error("the receipt is of another transfer");
      traffic_->add(peer_.rank, &Traffic::bulk_sent, sizeof header);
      traffic_->add(peer_.rank, &Traffic::bulk_received, sizeof receipt);
    });
  }

  TransferResult receive(const Transfer& transfer, const ChunkSink& sink) override {
    return run(transfer, "received from", [&](Run& run) {
      Header header;
      finish(run, {post_receive(run, data_slot(transfer), as_bytes(header)), 0, sizeof header});
      if (!(header == Header{.tag = transfer.tag, .bytes = transfer.bytes})) {
        throw std::runtime_error(text::cat("the sender means transfer ", header.tag, " of ", header.bytes, " bytes"));
      }
      std::deque<std::pair<Chunk, std::span<std::byte>>> flying;
      for (Bytes offset = 0; offset < transfer.bytes || !flying.empty();) {
        if (offset < transfer.bytes && flying.size() < kChunksInFlight) {
          const Bytes bytes = std::min(kChunkBytes, transfer.bytes - offset);
          const auto span = sink.place(offset, bytes);
          if (span.size() != bytes) throw std::runtime_error("the receiver gave it up");
          flying.push_back({{post_receive(run, data_slot(transfer), span), offset, bytes}, span});
          offset += bytes;
          continue;
        }
        const auto [chunk, span] = std::move(flying.front());
        flying.pop_front();
        finish(run, chunk);
        traffic_->add(peer_.rank, &Traffic::bulk_received, chunk.bytes);
        if (!sink.arrived(chunk.offset, span)) throw std::runtime_error("the receiver gave it up");
      }
      finish(run, {post_send(run, receipt_slot(transfer), as_bytes(header)), transfer.bytes, sizeof header});
      traffic_->add(peer_.rank, &Traffic::bulk_received, sizeof header);
      traffic_->add(peer_.rank, &Traffic::bulk_sent, sizeof header);
    });
  }

  void cancel(const std::string& reason) override {
    const std::lock_guard lock(mutex_);
    if (broken_.empty()) broken_ = reason;
    for (const auto& work : under_way_) work->abort();
    group_.reset();  // the connection closes with the last transfer that is in it
  }

  bool broken() const override {
    const std::lock_guard lock(mutex_);
    return !broken_.empty();
  }

 private:
  struct Chunk {
    Work work;
    Bytes offset = 0, bytes = 0;
  };
  // One transfer in its thread. Works go before the group does, and with them Gloo's hold on the caller's memory.
  struct Run {
    Connection group;
    std::vector<Work> works;
    Bytes reached = 0;
  };

  template <class Body>
  TransferResult run(const Transfer& transfer, const char* verb, const Body& body) {
    require(transfer.tag <= kMaxTransferTag, "transfer tag ", transfer.tag, " is above ", kMaxTransferTag);
    Run run;
    {
      const std::lock_guard lock(mutex_);
      if (!broken_.empty()) return {text::cat("the link to ", to_string(peer_), " is broken: ", broken_)};
      run.group = group_;
    }
    try {
      body(run);
      return {};
    } catch (const std::logic_error&) {
      cancel("a contract was broken");
      throw;
    } catch (const std::exception& problem) {
      cancel(plain_text(problem));
    }
    forget(run.works);
    const std::lock_guard lock(mutex_);
    return {text::cat(text::format_bytes(transfer.bytes), " could not be ", verb, ' ', to_string(peer_), ": after ",
                      text::format_bytes(run.reached), ", ", broken_)};
  }

  static std::span<std::byte> as_bytes(Header& header) { return std::as_writable_bytes(std::span(&header, 1)); }
  static int data_slot(const Transfer& transfer) { return static_cast<int>(transfer.tag * 2); }
  static int receipt_slot(const Transfer& transfer) { return static_cast<int>(transfer.tag * 2 + 1); }

  Work post_send(Run& run, int slot, std::span<std::byte> bytes) { return post(run, slot, bytes, true); }
  Work post_receive(Run& run, int slot, std::span<std::byte> bytes) { return post(run, slot, bytes, false); }

  Work post(Run& run, int slot, std::span<std::byte> bytes, bool sending) {
    std::vector<at::Tensor> tensors{
        at::from_blob(bytes.data(), {static_cast<std::int64_t>(bytes.size())}, at::TensorOptions(at::kByte))};
    const std::lock_guard lock(mutex_);  // a group counts its calls without a lock of its own
    if (!broken_.empty()) throw std::runtime_error(broken_);
    Work work =
        sending ? run.group->send(tensors, peer_in_group_, slot) : run.group->recv(tensors, peer_in_group_, slot);
    under_way_.insert(work);
    run.works.push_back(work);
    return work;
  }

  void finish(Run& run, const Chunk& chunk) {
    const bool done = chunk.work->wait(stall_);
    forget({chunk.work});
    std::erase(run.works, chunk.work);
    if (!done) {
      const std::lock_guard lock(mutex_);
      throw std::runtime_error(broken_);
    }
    if (chunk.bytes != sizeof(Header) || chunk.offset > 0) run.reached = chunk.offset + chunk.bytes;
  }

  void forget(const std::vector<Work>& works) {
    const std::lock_guard lock(mutex_);
    for (const auto& work : works) under_way_.erase(work);
  }

  const WorkerId peer_;
  const int peer_in_group_;
  const std::chrono::milliseconds stall_;
  const std::shared_ptr<TrafficCounter> traffic_;
  c10::intrusive_ptr<CornerStore> store_;
  mutable std::mutex mutex_;  // guards all below
  Connection group_;
  std::set<Work> under_way_;
  std::string broken_;
};

}  // namespace

OpenedLink open_gloo_link(const Endpoint& store, const std::string& bind_address, const WorkerId& self,
                          const LinkOrder& order, std::shared_ptr<TrafficCounter> traffic) {
  require(self != order.peer, "a link of ", to_string(self), " to itself");
  const auto& [first, second] = std::minmax(self, order.peer);
  auto meeting = meet({store, bind_address,
                       text::cat("link/", first.rank, '.', first.incarnation, '-', second.rank, '.', second.incarnation,
                                 '/', order.number),
                       self < order.peer ? 0 : 1, 2, order.open_s});
  if (!meeting.error.empty()) return {nullptr, text::cat("no link to ", to_string(order.peer), ": ", meeting.error)};
  return {std::make_unique<GlooLink>(std::move(meeting), self, order, std::move(traffic)), ""};
}

}  // namespace hopyard
