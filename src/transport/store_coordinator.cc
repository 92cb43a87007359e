#include "transport/store_coordinator.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <set>

#include "base/clock.h"
#include "base/failure.h"
#include "base/log.h"
#include "base/nonce.h"
#include "transport/frame.h"
#include "transport/liveness.h"
#include "transport/loose_thread.h"
#include "transport/outbox.h"
#include "transport/store.h"

namespace hopyard {
namespace {

constexpr double kOpenSeconds = 20;       // to resolve, listen and reach stores, ours and the agent's
constexpr std::size_t kMaxRefusals = 64;  // that wait to be heard of; more are only answered
constexpr int kMaxGarbageWarnings = 20;

using Kind = CoordinatorEvent::Kind;

struct Member {
  std::string mailbox;
  Assembly assembly;
  std::uint64_t next_sequence = 1;  // of messages to it
  std::uint64_t last_beat = 0;
};

// What the threads share. It lives as long as the last of them.
class Core {
 public:
  Core(const TransportOptions& options, std::uint32_t world_size, Endpoint at)
      : endpoint(std::move(at)),
        membership_(options.membership),
        bounds_(options.liveness),
        world_size_(world_size),
        challenge_(random_hex(16)),
        seal_(options.membership, challenge_),
        watch_(options.liveness),
        last_incarnation_(options.incarnations_before) {}

  const Endpoint endpoint;
  std::atomic<bool> ended{false};
  Outbox outbox;

  const std::string& challenge() const { return challenge_; }
  double beat_s() const { return bounds_.beat_s; }
  std::string pulse() { return seal_.seal({Frame::Kind::pulse, {}, ++pulses_, ""}, FrameSeal::Way::to_worker); }

  // From the threads that fetch.
  void take(std::string_view bytes) {
    auto frame = seal_.open(bytes, FrameSeal::Way::to_coordinator);
    const bool sealed = frame.has_value();
    if (!frame) frame = FrameSeal::open_unchecked(bytes);
    const std::lock_guard lock(mutex_);
    if (frame && frame->kind == Frame::Kind::join) {
      take_join(*frame, sealed);
    } else if (sealed) {
      take_from_member(std::move(*frame), bytes.size());
    } else if (garbage_++ < kMaxGarbageWarnings) {
      HOPYARD_WARN << "a stranger put " << bytes.size() << " bytes without a right tag into the store at "
                   << to_string(endpoint) << "; they are dropped";
    }
  }

  void watch() {
    const std::lock_guard lock(mutex_);
    for (const auto& change : watch_.step(monotonic_seconds())) {
      if (change.kind == LifeChange::Kind::dead) {
        bury(change.worker, Kind::dead,
             text::cat(to_string(change.worker), " has not beaten for ", bounds_.dead_s, " s"));
      } else {
        tell({change.kind == LifeChange::Kind::silent ? Kind::silent : Kind::awake, change.worker, ""});
      }
    }
  }

  // From the thread that sends.
  void send(const Parcel& parcel, const Store& store) {
    if (parcel.drain_first) drain(store, parcel.queue);
    push_parcel(parcel, seal_, FrameSeal::Way::to_worker, [&](const std::string& bytes) {
      push(store, parcel.queue, bytes);
      if (parcel.frame.kind != Frame::Kind::message) return;
      const std::lock_guard lock(mutex_);
      traffic_[parcel.frame.worker.rank].control_sent += bytes.size();
    });
  }

  std::optional<CoordinatorEvent> next(double timeout_s) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(timeout_s), [&] { return woken_ || !events_.empty(); });
    if (events_.empty()) {
      woken_ = false;
      return std::nullopt;
    }
    CoordinatorEvent event = std::move(events_.front());
    events_.pop_front();
    waiting_bytes_ -= event.text.size();
    refusals_ -= event.kind == Kind::refused;
    return event;
  }

  void wake() {
    const std::lock_guard lock(mutex_);
    woken_ = true;
    changed_.notify_one();
  }

  SendStatus send_message(const WorkerId& to, std::string message) {
    const std::lock_guard lock(mutex_);
    const auto found = members_.find(to);
    if (found == members_.end()) return SendStatus::gone;
    Member& member = found->second;
    const auto frames = frames_of(message.size());
    if (!outbox.add({member.mailbox, {Frame::Kind::message, to, member.next_sequence, std::move(message)}})) {
      return SendStatus::full;
    }
    member.next_sequence += frames;
    return SendStatus::queued;
  }

  void expel(const WorkerId& worker, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    bury(worker, Kind::dead, reason);
  }

  TrafficByRank traffic() const {
    const std::lock_guard lock(mutex_);
    return traffic_;
  }

 private:
  // All below: with mutex_ held.
  void take_join(const Frame& frame, bool sealed) {
    const auto request = decode_join(frame.body);
    if (!request || !mailboxes_seen_.insert(request->mailbox).second) return;  // garbage, or said again by a stranger
    const auto mailbox = names::mailbox(request->mailbox);
    if (const auto refusal = refusal_of(*request, sealed, membership_, world_size_)) {
      if (!sealed) mailboxes_seen_.erase(request->mailbox);  // strangers must not fill our memory
      outbox.add({mailbox, {Frame::Kind::refuse, {request->rank, 0}, 0, *refusal}});
      if (refusals_ >= kMaxRefusals) return;
      ++refusals_;
      return tell({Kind::refused,
                   {request->rank, 0},
                   text::cat("a worker of rank ", request->rank, " was turned away: ", *refusal)});
    }
    const WorkerId worker{request->rank, ++last_incarnation_};
    for (const auto& [other, _] : members_) {
      if (other.rank != worker.rank) continue;
      bury(other, Kind::dead, text::cat("rank ", other.rank, " has joined anew, as ", to_string(worker)));
      break;
    }
    members_[worker].mailbox = mailbox;
    watch_.add(worker);
    outbox.add({mailbox, {Frame::Kind::accept, worker, 0, request->mailbox}});
    tell({Kind::joined, worker, ""});
  }

  void take_from_member(Frame frame, std::size_t bytes) {
    const auto found = members_.find(frame.worker);
    if (found == members_.end()) return;  // an earlier incarnation
    Member& member = found->second;
    const WorkerId worker = frame.worker;
    if (frame.kind == Frame::Kind::beat) {
      if (frame.sequence > member.last_beat) watch_.heard(worker);
      member.last_beat = std::max(member.last_beat, frame.sequence);
      return;
    }
    if (frame.kind == Frame::Kind::leave) return bury(worker, Kind::left, "");
    if (frame.kind != Frame::Kind::part && frame.kind != Frame::Kind::message) return;
    traffic_[worker.rank].control_received += bytes;
    switch (member.assembly.take(std::move(frame))) {
      case Assembly::Took::again:
        return;
      case Assembly::Took::gap:
        return bury(worker, Kind::dead, text::cat("messages of ", to_string(worker), " were lost on their way"));
      case Assembly::Took::part:
        return watch_.heard(worker);
      case Assembly::Took::whole:
        break;
    }
    watch_.heard(worker);
    if (waiting_bytes_ > kMaxQueuedBytes) {
      return bury(worker, Kind::dead, text::cat(to_string(worker), " sends more than anybody takes here"));
    }
    tell({Kind::message, worker, member.assembly.message()});
  }

  void bury(const WorkerId& worker, Kind kind, const std::string& reason) {
    const auto found = members_.find(worker);
    if (found == members_.end()) return;
    outbox.drop_messages_to(worker);
    if (kind == Kind::dead) {
      outbox.add({found->second.mailbox, {Frame::Kind::expel, worker, 0, reason.substr(0, 1024)}, true});
    }
    members_.erase(found);
    watch_.remove(worker);
    tell({kind, worker, reason});
  }

  void tell(CoordinatorEvent event) {
    waiting_bytes_ += event.text.size();
    events_.push_back(std::move(event));
    changed_.notify_one();
  }

  const Membership membership_;
  const LivenessBounds bounds_;
  const std::uint32_t world_size_;
  const std::string challenge_;
  const FrameSeal seal_;
  std::uint64_t pulses_ = 0;  // of the thread that watches

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<CoordinatorEvent> events_;
  bool woken_ = false;
  Bytes waiting_bytes_ = 0;
  std::size_t refusals_ = 0;
  int garbage_ = 0;
  std::map<WorkerId, Member> members_;
  std::set<std::string> mailboxes_seen_;
  LivenessWatch watch_;
  TrafficByRank traffic_;
  std::uint64_t last_incarnation_;
};

// Where to listen: MASTER_ADDR:MASTER_PORT, or, where an agent's store is there, the bound address and any port.
Endpoint place_to_listen(const LaunchSpec& launch, const TransportOptions& options) {
  const std::string& name = launch.agent_hosts_store ? options.bind_address : launch.master_address;
  const char* setting = launch.agent_hosts_store ? "the address to bind to" : "MASTER_ADDR";
  std::string error;
  const auto hosts = resolve(name, error);
  if (hosts.empty()) fail(ExitCode::usage, setting, "=", name, " cannot be resolved: ", error);
  std::string bind_error;
  const auto bind_hosts = resolve(options.bind_address, bind_error);
  if (bind_hosts.empty()) {
    fail(ExitCode::usage, "the address to bind to, ", options.bind_address, ", cannot be resolved: ", bind_error);
  }
  if (!is_loopback(hosts.front()) && is_loopback(bind_hosts.front())) {
    fail(ExitCode::usage, setting, "=", name, " is ", hosts.front(),
         ", which others can reach, and this worker binds to ", options.bind_address,
         " only: set the address to bind to to the one that the others shall reach");
  }
  return {hosts.front(), launch.agent_hosts_store ? std::uint16_t{0} : launch.master_port};
}

// Tells the agent's store where ours is and which challenge is there.
std::string publish(const LaunchSpec& launch, const std::string& value) {
  std::string error;
  const auto hosts = resolve(launch.master_address, error);
  if (hosts.empty()) return text::cat("MASTER_ADDR=", launch.master_address, " cannot be resolved: ", error);
  const auto agent = connect_store({hosts.front(), launch.master_port}, kOpenSeconds / 2, error);
  if (!agent) return text::cat("the launcher's store: ", error);
  try {
    put(agent, names::endpoint_key(launch.restarts), value);
    agent->check({names::endpoint_key(launch.restarts)});  // a reply: it has arrived
  } catch (const std::exception& problem) {
    return text::cat("the launcher's store: ", plain_text(problem));
  }
  return "";
}

class StoreCoordinator : public CoordinatorEnd {
 public:
  StoreCoordinator(const LaunchSpec& launch, const TransportOptions& options) {
    ListeningSocket socket(place_to_listen(launch, options));
    core_ = std::make_shared<Core>(options, launch.world_size, socket.endpoint());
    store_ = host_store(socket);
    put(store_, names::kChallenge, core_->challenge());
    put(store_, names::kPulse, core_->pulse());
    if (launch.agent_hosts_store) {
      const auto error = bounded(kOpenSeconds, [launch, value = to_string(core_->endpoint) + " " + core_->challenge()] {
        return publish(launch, value);
      });
      if (!error || !error->empty()) {
        fail(ExitCode::usage,
             error ? *error : text::cat("the launcher's store does not answer within ", kOpenSeconds, " s"));
      }
    }
    start_threads();
  }

  ~StoreCoordinator() override {
    core_->outbox.close();
    sender_ = {};  // what is queued goes out first
    core_->ended = true;
  }

  std::optional<CoordinatorEvent> next(double timeout_s) override { return core_->next(timeout_s); }
  void wake() override { core_->wake(); }
  SendStatus send(const WorkerId& to, std::string message) override {
    require(message.size() <= kMaxMessageBytes, "a message of ", message.size(), " bytes, of at most ",
            kMaxMessageBytes);
    return core_->send_message(to, std::move(message));
  }
  void expel(const WorkerId& worker, const std::string& reason) override { core_->expel(worker, reason); }
  Endpoint endpoint() const override { return core_->endpoint; }
  TrafficByRank traffic() const override { return core_->traffic(); }

 private:
  Store client() const {
    std::string error;
    auto store = connect_store({store_->getHost(), core_->endpoint.port}, kOpenSeconds, error);
    if (!store) fail(ExitCode::internal, "the coordinator cannot reach its own store: ", error);
    return store;
  }

  void start_threads() {
    sender_ = LooseThread("store send", [core = core_, store = client()] {
      try {
        while (const auto parcel = core->outbox.take()) core->send(*parcel, store);
      } catch (const std::exception& problem) {
        HOPYARD_ERROR << "the coordinator's store broke: " << plain_text(problem);
      }
    });
    for (const auto& queue : {names::kInbox, names::kBeats}) {
      fetchers_.emplace_back("store " + queue, [core = core_, store = client(), queue] {
        const auto broke = fetch(store, queue, core->ended, [&](std::string_view bytes) { core->take(bytes); });
        if (!broke.empty()) HOPYARD_ERROR << "the coordinator's store broke: " << broke;
      });
    }
    watcher_ = LooseThread("store watch", [core = core_, store = client()] {
      try {
        double next_pulse_s = 0, next_tick_s = 0;
        for (; !core->ended; sleep_seconds(core->beat_s() / 2)) {
          core->watch();
          const double now_s = monotonic_seconds();
          if (now_s < next_pulse_s) continue;
          put(store, names::kPulse, core->pulse());
          next_pulse_s = now_s + core->beat_s();
          if (now_s < next_tick_s) continue;
          for (const auto& queue : {names::kInbox, names::kBeats}) tick(store, queue);
          next_tick_s = now_s + kTickSeconds;
        }
        for (const auto& queue : {names::kInbox, names::kBeats}) tick(store, queue);
      } catch (const std::exception& problem) {
        HOPYARD_ERROR << "the coordinator's store broke: " << plain_text(problem);
      }
    });
  }

  std::shared_ptr<Core> core_;
  Store store_;
  // The threads end before the store does.
  std::vector<LooseThread> fetchers_;
  LooseThread sender_, watcher_;
};

}  // namespace

std::unique_ptr<CoordinatorEnd> make_store_coordinator(const LaunchSpec& launch, const TransportOptions& options) {
  return std::make_unique<StoreCoordinator>(launch, options);
}

}  // namespace hopyard
