// A transport within one process, with faults to order. Nothing goes by time but what a caller waits for.
#pragma once

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "base/failure.h"
#include "base/text.h"
#include "fakes/memory_group.h"
#include "transport/transport.h"

namespace hopyard::fakes {

/// The network, which outlives all ends. Its methods may be called from any thread, while others use their ends.
class MemoryNetwork {
 public:
  std::unique_ptr<CoordinatorEnd> open_coordinator();
  std::unique_ptr<WorkerEnd> join(std::uint32_t rank);

  /// The worker's process is gone: the coordinator hears that it is dead, its links break, and its end hears and says
  /// nothing any more.
  void kill(const WorkerId& worker);
  /// The worker is silent: its messages, and those to it, stay on their way until it goes on.
  void stop(const WorkerId& worker);
  void go_on(const WorkerId& worker);
  /// The next message from this worker is lost, which the coordinator sees at the one after it.
  void lose_message(const WorkerId& worker);
  /// The link breaks when so many bytes of it have arrived.
  void tear_links_after(Bytes bytes);
  /// Of ends that are gone: against their contract.
  std::size_t links_beyond_their_end();

 private:
  friend class MemoryCoordinator;
  friend class MemoryWorker;
  friend class MemoryLink;

  struct Member {
    WorkerStanding standing;
    bool alive = true, stopped = false, loses_next = false, has_lost = false;
    std::deque<std::string> to_worker, to_coordinator;  // held back while it is stopped
  };
  struct Passage {  // one transfer of a link, one way
    std::deque<std::vector<std::byte>> chunks;
    Bytes announced = 0;
    bool has_announced = false, received = false;
  };
  struct Pair {
    std::set<WorkerId> ends;
    std::string broken;
    Bytes passed = 0, tear_after = ~Bytes{0};
    std::map<std::tuple<WorkerId, std::uint32_t, std::uint64_t>, Passage> passages;  // by sender, tag and number
  };
  using PairKey = std::tuple<WorkerId, WorkerId, std::uint64_t>;

  // All below: with mutex held.
  void bury(const WorkerId& worker, CoordinatorEvent::Kind kind, const std::string& reason,
            WorkerStanding::Kind standing);
  void deliver(const WorkerId& worker, std::string message);

  std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  bool coordinator_is_there_ = false;
  std::uint64_t last_incarnation_ = 0;
  std::map<WorkerId, Member> members_;
  std::deque<CoordinatorEvent> events_;
  std::map<PairKey, std::shared_ptr<Pair>> pairs_;
  std::map<std::pair<std::vector<WorkerId>, std::uint64_t>, std::shared_ptr<MemoryGroupTable>> groups_;
  Bytes tear_after_ = ~Bytes{0};
  std::map<std::uint32_t, Traffic> coordinator_traffic_;
  std::map<WorkerId, TrafficByRank> worker_traffic_;
  std::map<WorkerId, std::size_t> open_links_;
  std::size_t links_beyond_their_end_ = 0;
};

inline std::chrono::duration<double> seconds(double value) { return std::chrono::duration<double>(value); }

class MemoryLink : public Link {
 public:
  MemoryLink(MemoryNetwork& network, std::shared_ptr<MemoryNetwork::Pair> pair, WorkerId self, LinkOrder order)
      : network_(network), pair_(std::move(pair)), self_(self), order_(order) {
    ++network_.open_links_[self_];  // with mutex held
  }
  ~MemoryLink() override {
    const std::lock_guard lock(network_.mutex_);
    give_up("the link was closed");
    --network_.open_links_[self_];
  }

  TransferResult send(const Transfer& transfer, const ChunkSource& source) override {
    std::unique_lock lock(network_.mutex_);
    const std::tuple key{self_, transfer.tag, sent_[transfer.tag]++};
    auto& passage = pair_->passages[key];
    passage.announced = transfer.bytes;
    passage.has_announced = true;
    network_.changed_.notify_all();
    for (Bytes offset = 0; offset < transfer.bytes; offset += kChunkBytes) {
      const Bytes bytes = std::min(kChunkBytes, transfer.bytes - offset);
      lock.unlock();
      const auto span = source.chunk(offset, bytes);
      const std::vector<std::byte> copy(span.begin(), span.end());
      lock.lock();
      if (copy.size() != bytes) return give_up("the sender gave it up");
      if (!await(lock, [&] { return passage.chunks.size() < kChunksInFlight; })) return failed();
      passage.chunks.push_back(copy);
      network_.worker_traffic_[self_][order_.peer.rank].bulk_sent += bytes;
      network_.changed_.notify_all();
      lock.unlock();
      if (source.sent) source.sent(offset, bytes);
      lock.lock();
    }
    // A receiver may close the link as soon as it has all.
    if (!await(lock, [&] { return passage.received; }) && !passage.received) return failed();
    pair_->passages.erase(key);
    return {};
  }

  TransferResult receive(const Transfer& transfer, const ChunkSink& sink) override {
    std::unique_lock lock(network_.mutex_);
    auto& passage = pair_->passages[{order_.peer, transfer.tag, received_[transfer.tag]++}];
    if (!await(lock, [&] { return passage.has_announced; })) return failed();
    if (passage.announced != transfer.bytes)
      return give_up(text::cat("the sender means ", passage.announced, " bytes"));
    for (Bytes offset = 0; offset < transfer.bytes; offset += kChunkBytes) {
      const Bytes bytes = std::min(kChunkBytes, transfer.bytes - offset);
      if (!await(lock, [&] { return !passage.chunks.empty(); })) return failed();
      const auto chunk = std::move(passage.chunks.front());
      passage.chunks.pop_front();
      network_.changed_.notify_all();
      if ((pair_->passed += bytes) > pair_->tear_after) return give_up("the link was torn");
      network_.worker_traffic_[self_][order_.peer.rank].bulk_received += bytes;
      lock.unlock();
      const auto place = sink.place(offset, bytes);
      const bool fits = place.size() == bytes;
      if (fits) std::copy(chunk.begin(), chunk.end(), place.begin());
      const bool wanted = fits && sink.arrived(offset, place);
      lock.lock();
      if (!wanted) return give_up("the receiver gave it up");
    }
    passage.received = true;
    network_.changed_.notify_all();
    return {};
  }

  void cancel(const std::string& reason) override {
    const std::lock_guard lock(network_.mutex_);
    give_up(reason);
  }
  bool broken() const override {
    const std::lock_guard lock(network_.mutex_);
    return !pair_->broken.empty();
  }

 private:
  template <class Condition>
  bool await(std::unique_lock<std::mutex>& lock, const Condition& holds) {
    if (!network_.changed_.wait_for(lock, seconds(order_.stall_s), [&] { return !pair_->broken.empty() || holds(); })) {
      give_up("nothing moved for too long");
    }
    return pair_->broken.empty();
  }
  TransferResult give_up(const std::string& reason) {
    if (pair_->broken.empty()) pair_->broken = reason;
    network_.changed_.notify_all();
    return failed();
  }
  TransferResult failed() const {
    return {text::cat("the link to ", to_string(order_.peer), " is broken: ", pair_->broken)};
  }

  MemoryNetwork& network_;
  const std::shared_ptr<MemoryNetwork::Pair> pair_;
  const WorkerId self_;
  const LinkOrder order_;
  std::map<std::uint32_t, std::uint64_t> sent_, received_;  // transfers, by tag; guarded by the network's mutex
};

class MemoryWorker : public WorkerEnd {
 public:
  MemoryWorker(MemoryNetwork& network, WorkerId id) : network_(network), id_(id) {}
  ~MemoryWorker() override {
    const std::lock_guard lock(network_.mutex_);
    network_.bury(id_, CoordinatorEvent::Kind::left, "", WorkerStanding::Kind::lost);
    network_.links_beyond_their_end_ += network_.open_links_[id_];
  }
  WorkerId id() const override { return id_; }
  SendStatus send(std::string message) override {
    require(message.size() <= kMaxMessageBytes, "a message of ", message.size(), " bytes");
    const std::lock_guard lock(network_.mutex_);
    auto& member = network_.members_[id_];
    if (!member.alive) return SendStatus::gone;
    network_.worker_traffic_[id_][0].control_sent += message.size();
    if (std::exchange(member.loses_next, false)) {
      member.has_lost = true;
    } else if (member.stopped) {
      member.to_coordinator.push_back(std::move(message));
    } else {
      network_.deliver(id_, std::move(message));
    }
    return SendStatus::queued;
  }
  std::optional<std::string> receive(double timeout_s) override {
    std::unique_lock lock(network_.mutex_);
    auto& member = network_.members_[id_];
    const auto there = [&] { return !member.to_worker.empty() && !member.stopped; };
    network_.changed_.wait_for(lock, seconds(timeout_s), [&] { return there() || member.standing.over(); });
    if (!there()) return std::nullopt;
    std::string message = std::move(member.to_worker.front());
    member.to_worker.pop_front();
    network_.worker_traffic_[id_][0].control_received += message.size();
    return message;
  }
  WorkerStanding standing() const override {
    const std::lock_guard lock(network_.mutex_);
    return network_.members_[id_].standing;
  }
  OpenedLink open_link(const LinkOrder& order) override {
    require(id_ != order.peer, "a link of ", to_string(id_), " to itself");
    std::unique_lock lock(network_.mutex_);
    auto& pair = network_.pairs_[{std::min(id_, order.peer), std::max(id_, order.peer), order.number}];
    if (!pair) pair = std::make_shared<MemoryNetwork::Pair>();
    pair->tear_after = network_.tear_after_;
    pair->ends.insert(id_);
    network_.changed_.notify_all();
    const auto kept = pair;
    const auto& self = network_.members_[id_];
    network_.changed_.wait_for(lock, seconds(order.open_s), [&] { return kept->ends.size() == 2 || !self.alive; });
    if (kept->ends.size() == 2) {
      return {std::make_unique<MemoryLink>(network_, kept, id_, order), ""};
    }
    return {nullptr, text::cat("no link to ", to_string(order.peer), ": it has not come within ", order.open_s, " s")};
  }
  OpenedGroup open_group(const GroupOrder& order) override {
    require(std::count(order.members.begin(), order.members.end(), id_) == 1, to_string(id_), " is no member");
    std::shared_ptr<MemoryGroupTable> table;
    {
      const std::lock_guard lock(network_.mutex_);
      auto& known = network_.groups_[{order.members, order.number}];
      if (!known) known = std::make_shared<MemoryGroupTable>();
      table = known;
    }
    if (!table->come(id_, order.members.size(), order.open_s))
      return {nullptr,
              text::cat("no group of ", order.members.size(), ": not all have come within ", order.open_s, " s")};
    return {std::make_unique<MemoryGroup>(table, order.stall_s), ""};
  }
  TrafficByRank traffic() const override {
    const std::lock_guard lock(network_.mutex_);
    return network_.worker_traffic_[id_];
  }

 private:
  MemoryNetwork& network_;
  const WorkerId id_;
};

class MemoryCoordinator : public CoordinatorEnd {
 public:
  explicit MemoryCoordinator(MemoryNetwork& network) : network_(network) {}
  ~MemoryCoordinator() override {
    const std::lock_guard lock(network_.mutex_);
    network_.coordinator_is_there_ = false;
    for (auto& [id, _] : network_.members_) {
      network_.bury(id, CoordinatorEvent::Kind::dead, "the coordinator is gone", WorkerStanding::Kind::lost);
    }
    network_.events_.clear();
  }
  std::optional<CoordinatorEvent> next(double timeout_s) override {
    std::unique_lock lock(network_.mutex_);
    network_.changed_.wait_for(lock, seconds(timeout_s), [&] { return woken_ || !network_.events_.empty(); });
    if (network_.events_.empty()) {
      woken_ = false;
      return std::nullopt;
    }
    auto event = std::move(network_.events_.front());
    network_.events_.pop_front();
    return event;
  }
  void wake() override {
    const std::lock_guard lock(network_.mutex_);
    woken_ = true;
    network_.changed_.notify_all();
  }
  SendStatus send(const WorkerId& to, std::string message) override {
    require(message.size() <= kMaxMessageBytes, "a message of ", message.size(), " bytes");
    const std::lock_guard lock(network_.mutex_);
    const auto found = network_.members_.find(to);
    if (found == network_.members_.end() || !found->second.alive) return SendStatus::gone;
    network_.coordinator_traffic_[to.rank].control_sent += message.size();
    found->second.to_worker.push_back(std::move(message));
    network_.changed_.notify_all();
    return SendStatus::queued;
  }
  void expel(const WorkerId& worker, const std::string& reason) override {
    const std::lock_guard lock(network_.mutex_);
    network_.bury(worker, CoordinatorEvent::Kind::dead, reason, WorkerStanding::Kind::expelled);
  }
  Endpoint endpoint() const override { return {"memory", 0}; }
  TrafficByRank traffic() const override {
    const std::lock_guard lock(network_.mutex_);
    return network_.coordinator_traffic_;
  }

 private:
  MemoryNetwork& network_;
  bool woken_ = false;  // guarded by the network's mutex
};

inline std::unique_ptr<CoordinatorEnd> MemoryNetwork::open_coordinator() {
  const std::lock_guard lock(mutex_);
  coordinator_is_there_ = true;
  return std::make_unique<MemoryCoordinator>(*this);
}

inline std::unique_ptr<WorkerEnd> MemoryNetwork::join(std::uint32_t rank) {
  const std::lock_guard lock(mutex_);
  if (!coordinator_is_there_) return nullptr;
  const WorkerId worker{rank, ++last_incarnation_};
  for (auto& [other, _] : members_) {
    if (other.rank == rank) {
      bury(other, CoordinatorEvent::Kind::dead, "its rank has joined anew", WorkerStanding::Kind::expelled);
    }
  }
  members_[worker];
  events_.push_back({CoordinatorEvent::Kind::joined, worker, ""});
  changed_.notify_all();
  return std::make_unique<MemoryWorker>(*this, worker);
}

inline void MemoryNetwork::kill(const WorkerId& worker) {
  const std::lock_guard lock(mutex_);
  bury(worker, CoordinatorEvent::Kind::dead, to_string(worker) + " has not beaten", WorkerStanding::Kind::lost);
  for (auto& [key, pair] : pairs_) {
    if (pair->ends.count(worker) && pair->broken.empty()) pair->broken = to_string(worker) + " is gone";
  }
  for (auto& [key, group] : groups_) group->gone(worker);
}

inline void MemoryNetwork::stop(const WorkerId& worker) {
  const std::lock_guard lock(mutex_);
  members_[worker].stopped = true;
  events_.push_back({CoordinatorEvent::Kind::silent, worker, ""});
  changed_.notify_all();
}

inline void MemoryNetwork::go_on(const WorkerId& worker) {
  const std::lock_guard lock(mutex_);
  auto& member = members_[worker];
  member.stopped = false;
  if (member.alive) events_.push_back({CoordinatorEvent::Kind::awake, worker, ""});
  for (auto& message : std::exchange(member.to_coordinator, {})) deliver(worker, std::move(message));
  changed_.notify_all();
}

inline void MemoryNetwork::lose_message(const WorkerId& worker) {
  const std::lock_guard lock(mutex_);
  members_[worker].loses_next = true;
}

inline void MemoryNetwork::tear_links_after(Bytes bytes) {
  const std::lock_guard lock(mutex_);
  tear_after_ = bytes;
}

inline std::size_t MemoryNetwork::links_beyond_their_end() {
  const std::lock_guard lock(mutex_);
  return links_beyond_their_end_;
}

inline void MemoryNetwork::deliver(const WorkerId& worker, std::string message) {
  auto& member = members_[worker];
  if (!member.alive) return;
  if (member.has_lost) {
    return bury(worker, CoordinatorEvent::Kind::dead, "messages were lost on their way",
                WorkerStanding::Kind::expelled);
  }
  coordinator_traffic_[worker.rank].control_received += message.size();
  events_.push_back({CoordinatorEvent::Kind::message, worker, std::move(message)});
  changed_.notify_all();
}

inline void MemoryNetwork::bury(const WorkerId& worker, CoordinatorEvent::Kind kind, const std::string& reason,
                                WorkerStanding::Kind standing) {
  auto& member = members_[worker];
  if (!std::exchange(member.alive, false)) return;
  member.standing = {standing, reason};
  if (standing == WorkerStanding::Kind::expelled) member.to_worker.clear();
  events_.push_back({kind, worker, reason});
  changed_.notify_all();
}

}  // namespace hopyard::fakes
