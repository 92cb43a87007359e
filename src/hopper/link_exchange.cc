#include "hopper/link_exchange.h"

#include <array>
#include <condition_variable>
#include <functional>
#include <mutex>
#include <thread>

#include "base/failure.h"

namespace hopyard {

namespace {

static_assert(kExchangeStagingBytes >= kChunksInFlight * kChunkBytes);

using Floats = std::span<float>;

std::span<std::byte> chunk_of(Floats part, Bytes offset, Bytes bytes) {
  return std::as_writable_bytes(part).subspan(offset, bytes);
}

/// Adds this member's pieces of a chunk to what the members before it have, which is in `before`, into part.sum.
void add_chunk(const GradientPart& part, Bytes offset, std::span<const std::byte> before) {
  const std::size_t first = offset / sizeof(float), count = before.size() / sizeof(float);
  const auto* from = reinterpret_cast<const float*>(before.data());
  const Floats sum = part.sum.subspan(first, count);
  if (part.pieces == 0) {
    std::copy(from, from + count, sum.begin());
    return;
  }
  for (std::size_t i = 0; i < count; ++i) sum[i] = from[i] + sum[i];
  for (std::uint32_t piece = 1; piece < part.pieces; ++piece) {
    const Floats more = part.more.subspan((piece - 1) * part.sum.size() + first, count);
    for (std::size_t i = 0; i < count; ++i) sum[i] += more[i];
  }
}

class LinkExchange final : public StepExchange {
 public:
  LinkExchange(MicroBatchShare share, std::shared_ptr<Link> previous, std::shared_ptr<Link> next)
      : share_(share), previous_(std::move(previous)), next_(std::move(next)) {}

  bool in_order() const override { return true; }

  void gather(std::span<double> values, MicroBatchRange own) override {
    require_whole();
    const auto bytes = std::as_writable_bytes(values);
    const auto first = bytes.first(own.begin * sizeof(double)), mine = bytes.first(own.end * sizeof(double));
    if (!is_first()) receive_small(first);
    if (!is_last()) send_small(mine);
    ++next_transfer_;
    if (!is_last()) receive_small(bytes);
    if (passes_on()) send_small(bytes);
    ++next_transfer_;
  }

  void sum(std::span<const GradientPart> parts, std::span<std::byte> staging) override {
    require_whole();
    progress_.assign(parts.size(), {});
    const std::uint64_t first = next_transfer_;
    next_transfer_ += 2 * parts.size();
    std::vector<std::function<void()>> flows;
    if (!is_first()) flows.push_back([=, this] { receive_sums(parts, staging, first); });
    if (!is_last()) flows.push_back([=, this] { send_sums(parts, first); });
    if (!is_last()) flows.push_back([=, this] { receive_whole(parts, first); });
    if (passes_on()) flows.push_back([=, this] { send_whole(parts, first); });
    const auto run = [this](const std::function<void()>& flow) {
      try {
        flow();
      } catch (const std::exception& problem) {
        cancel(problem.what());
      }
    };
    {
      std::vector<std::jthread> beside;
      for (std::size_t i = 1; i < flows.size(); ++i) beside.emplace_back(run, std::cref(flows[i]));
      run(flows[0]);
    }
    require_whole();
  }

  void cancel(const std::string& reason) override {
    {
      const std::lock_guard lock(mutex_);
      if (broken_.empty()) broken_ = reason;
      changed_.notify_all();
    }
    previous_->cancel(reason);
    next_->cancel(reason);
  }

  ExchangeTraffic traffic() const override {
    const std::lock_guard lock(mutex_);
    return traffic_;
  }

 private:
  /// How far a part has come, in bytes from its beginning.
  struct Progress {
    Bytes added = 0;  ///< with what the members before have
    Bytes sent = 0;   ///< of that, to the next member
    Bytes whole = 0;  ///< the sum over all members
  };

  bool is_first() const { return share_.member == 0; }
  bool is_last() const { return share_.member + 1 == share_.members; }
  /// Whole sums: from the last member to the first, and on to the one before the last.
  bool passes_on() const { return share_.member + 2 != share_.members; }

  void require_whole() const {
    const std::lock_guard lock(mutex_);
    if (!broken_.empty()) throw ExchangeBroken(broken_);
  }

  /// False when the exchange broke before.
  bool await(Bytes Progress::*what, std::size_t part, Bytes reached) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return progress_[part].*what >= reached || !broken_.empty(); });
    return broken_.empty();
  }
  void reach(Bytes Progress::*what, std::size_t part, Bytes reached) {
    const std::lock_guard lock(mutex_);
    progress_[part].*what = reached;
    changed_.notify_all();
  }
  void count(Bytes ExchangeTraffic::*what, Bytes bytes) {
    const std::lock_guard lock(mutex_);
    traffic_.*what += bytes;
  }
  /// Both ways of one link, transfers differ in their tags.
  static Transfer transfer_of(std::uint64_t number, Bytes bytes) {
    return {static_cast<std::uint32_t>(number % (kMaxTransferTag + 1)), bytes};
  }
  /// A flow ends with it: the other flows, and the other members, do as well.
  bool ended_well(const TransferResult& result) {
    if (!result.ok()) cancel(result.error);
    return result.ok();
  }

  void receive_sums(std::span<const GradientPart> parts, std::span<std::byte> staging, std::uint64_t first) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const GradientPart& part = parts[i];
      const bool holds_all = part.sum.size_bytes() <= staging.size();
      const ChunkSink sink{[&](Bytes offset, Bytes bytes) {
                             const Bytes place = holds_all ? offset : offset % (kChunksInFlight * kChunkBytes);
                             return staging.subspan(place, bytes);
                           },
                           [&](Bytes offset, std::span<const std::byte> before) {
                             add_chunk(part, offset, before);
                             count(&ExchangeTraffic::received, before.size());
                             reach(&Progress::added, i, offset + before.size());
                             return true;
                           }};
      if (!ended_well(previous_->receive(transfer_of(first + 2 * i, part.sum.size_bytes()), sink))) return;
    }
  }

  void send_sums(std::span<const GradientPart> parts, std::uint64_t first) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const ChunkSource source{[&](Bytes offset, Bytes bytes) -> std::span<const std::byte> {
                                 if (!is_first() && !await(&Progress::added, i, offset + bytes)) return {};
                                 return chunk_of(parts[i].sum, offset, bytes);
                               },
                               [&](Bytes offset, Bytes bytes) {
                                 count(&ExchangeTraffic::sent, bytes);
                                 reach(&Progress::sent, i, offset + bytes);
                               }};
      if (!ended_well(next_->send(transfer_of(first + 2 * i, parts[i].sum.size_bytes()), source))) return;
    }
  }

  void receive_whole(std::span<const GradientPart> parts, std::uint64_t first) {
    for (std::size_t i = 0; i < parts.size(); ++i) {
      // To where the member's own sum is, once that has left.
      const ChunkSink sink{[&](Bytes offset, Bytes bytes) -> std::span<std::byte> {
                             if (!await(&Progress::sent, i, offset + bytes)) return {};
                             return chunk_of(parts[i].sum, offset, bytes);
                           },
                           [&](Bytes offset, std::span<const std::byte> bytes) {
                             count(&ExchangeTraffic::received, bytes.size());
                             reach(&Progress::whole, i, offset + bytes.size());
                             return true;
                           }};
      if (!ended_well(previous_->receive(transfer_of(first + 2 * i + 1, parts[i].sum.size_bytes()), sink))) return;
    }
  }

  void send_whole(std::span<const GradientPart> parts, std::uint64_t first) {
    const auto which = is_last() ? &Progress::added : &Progress::whole;
    for (std::size_t i = 0; i < parts.size(); ++i) {
      const ChunkSource source{[&](Bytes offset, Bytes bytes) -> std::span<const std::byte> {
                                 if (!await(which, i, offset + bytes)) return {};
                                 return chunk_of(parts[i].sum, offset, bytes);
                               },
                               [&](Bytes, Bytes bytes) { count(&ExchangeTraffic::sent, bytes); }};
      if (!ended_well(next_->send(transfer_of(first + 2 * i + 1, parts[i].sum.size_bytes()), source))) return;
    }
  }

  void receive_small(std::span<std::byte> bytes) {
    const ChunkSink sink{[&](Bytes offset, Bytes count) { return bytes.subspan(offset, count); },
                         [](Bytes, std::span<const std::byte>) { return true; }};
    if (!ended_well(previous_->receive(transfer_of(next_transfer_, bytes.size()), sink))) require_whole();
    count(&ExchangeTraffic::received, bytes.size());
  }
  void send_small(std::span<const std::byte> bytes) {
    const ChunkSource source{[&](Bytes offset, Bytes count) { return bytes.subspan(offset, count); }, {}};
    if (!ended_well(next_->send(transfer_of(next_transfer_, bytes.size()), source))) require_whole();
    count(&ExchangeTraffic::sent, bytes.size());
  }

  const MicroBatchShare share_;
  const std::shared_ptr<Link> previous_, next_;  // the same one where there are two members
  std::uint64_t next_transfer_ = 0;              // the same at all members

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::vector<Progress> progress_;  // of the call under way, by part
  ExchangeTraffic traffic_;
  std::string broken_;
};

}  // namespace

OpenedExchange open_link_exchange(WorkerEnd& worker, const ExchangeOrder& order) {
  const auto members = static_cast<std::uint32_t>(order.members.size());
  require(members >= 2 && order.member < members, "an exchange of ", members, " members, of which this is number ",
          order.member);
  const auto open = [&](std::uint32_t neighbour) {
    return worker.open_link({order.members[neighbour % members], order.number, order.open_s, order.wait_s});
  };
  OpenedLink next, previous;
  {
    // At the same time: neighbours wait for each other in a ring.
    std::jthread beside;
    if (members > 2) beside = std::jthread([&] { previous = open(order.member + members - 1); });
    next = open(order.member + 1);
  }
  if (next.link == nullptr) return {nullptr, next.error};
  if (members > 2 && previous.link == nullptr) return {nullptr, previous.error};
  const std::shared_ptr<Link> forth = std::move(next.link);
  const std::shared_ptr<Link> back = members > 2 ? std::shared_ptr<Link>(std::move(previous.link)) : forth;
  return {std::make_shared<LinkExchange>(MicroBatchShare{order.member, members}, back, forth), ""};
}

}  // namespace hopyard
