#include "transport/store_worker.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <deque>

#include "base/clock.h"
#include "base/failure.h"
#include "base/nonce.h"
#include "transport/frame.h"
#include "transport/gloo_group.h"
#include "transport/gloo_link.h"
#include "transport/liveness.h"
#include "transport/loose_thread.h"
#include "transport/outbox.h"
#include "transport/store.h"

namespace hopyard {
namespace {

constexpr WorkerId kCoordinator{0, 0};
constexpr double kSlackSeconds = 0.5;  // for whoever is late to say what was wrong

struct Meeting {
  Endpoint endpoint;
  std::string challenge;  // empty where only the store itself knows it
};

// What a worker has when the coordinator has let it in.
struct Admission {
  Endpoint endpoint;
  std::string challenge, mailbox;
  WorkerId worker;
  Store receiving, sending, beating;
};

struct Attempt {
  std::optional<Admission> admission;
  bool refused = false;
  std::string error;
};

Attempt failed(std::string error) { return {std::nullopt, false, std::move(error)}; }

// "127.0.0.1:29500 CHALLENGE", as the coordinator publishes it.
std::optional<Meeting> parse_meeting(const std::string& text) {
  const auto space = text.find(' '), colon = text.rfind(':', space);
  if (space == std::string::npos || colon == std::string::npos) return std::nullopt;
  Meeting meeting;
  meeting.endpoint.host = text.substr(0, colon);
  if (meeting.endpoint.host.size() > 2 && meeting.endpoint.host.front() == '[') {
    meeting.endpoint.host = meeting.endpoint.host.substr(1, meeting.endpoint.host.size() - 2);
  }
  const char* end = text.data() + space;
  const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, meeting.endpoint.port);
  if (error != std::errc() || stop != end) return std::nullopt;
  meeting.challenge = text.substr(space + 1);
  return meeting;
}

// One try to find the coordinator and to be let in, until `until_s`. Throws what c10d throws.
Attempt try_to_join(const LaunchSpec& launch, const Membership& membership, double until_s) {
  const auto left_s = [&] { return std::max(0.001, until_s - monotonic_seconds()); };
  std::string error;
  const auto hosts = resolve(launch.master_address, error);
  if (hosts.empty()) return failed(text::cat("MASTER_ADDR=", launch.master_address, " cannot be resolved: ", error));
  Meeting meeting{{hosts.front(), launch.master_port}, ""};
  if (launch.agent_hosts_store) {
    const auto agent = connect_store(meeting.endpoint, left_s(), error);
    if (!agent) return failed(text::cat("the launcher's store: ", error));
    const auto told = poll_key(agent, names::endpoint_key(launch.restarts), left_s());
    if (!told) return failed("no coordinator has told the launcher's store where it is: has rank 0 started?");
    const auto parsed = parse_meeting(*told);
    std::string ignored;
    if (!parsed || resolve(parsed->endpoint.host, ignored).empty()) {
      return failed(text::cat("the launcher's store names no coordinator: ", told->substr(0, 100)));
    }
    meeting = *parsed;
  }
  Admission admission{.endpoint = meeting.endpoint, .mailbox = random_hex(16)};
  admission.receiving = connect_store(meeting.endpoint, left_s(), error);
  if (!admission.receiving) return failed(text::cat("no coordinator: ", error));
  const auto challenge = poll_key(admission.receiving, names::kChallenge, left_s());
  if (!challenge || (!meeting.challenge.empty() && *challenge != meeting.challenge)) {
    return failed(
        text::cat("at ", to_string(meeting.endpoint), " there is a store, and not this experiment's coordinator"));
  }
  admission.challenge = *challenge;
  // Before it asks to be let in: from then on it is missed when it does not beat.
  for (Store* store : {&admission.sending, &admission.beating}) {
    *store = connect_store(meeting.endpoint, left_s(), error);
    if (!*store) return failed(text::cat("no coordinator: ", error));
  }
  const FrameSeal seal(membership, *challenge);
  push(admission.receiving, names::kInbox,
       seal.seal({Frame::Kind::join,
                  {launch.rank, 0},
                  0,
                  encode(JoinRequest{launch.rank, launch.world_size, membership.version, membership.experiment,
                                     admission.mailbox})},
                 FrameSeal::Way::to_coordinator));
  Attempt attempt;
  std::atomic<bool> ended{false};
  const auto broke = fetch(
      admission.receiving, names::mailbox(admission.mailbox), ended,
      [&](std::string_view bytes) {
        const auto frame = seal.open(bytes, FrameSeal::Way::to_worker);
        const auto unchecked = FrameSeal::open_unchecked(bytes);
        if (frame && frame->kind == Frame::Kind::accept && frame->body == admission.mailbox) {
          admission.worker = frame->worker;
        } else if (frame && frame->kind == Frame::Kind::expel) {
          attempt.error = text::cat("it was let in too late: ", frame->body);
        } else if (unchecked && unchecked->kind == Frame::Kind::refuse) {
          attempt = {std::nullopt, true,
                     text::cat("the coordinator at ", to_string(meeting.endpoint), " turned rank ", launch.rank,
                               " away: ", unchecked->body)};
        } else {
          return;
        }
        ended = true;
      },
      until_s);
  if (!attempt.error.empty()) return attempt;
  if (!broke.empty())
    return failed(text::cat("the coordinator's store at ", to_string(meeting.endpoint), " broke: ", broke));
  if (!ended) return failed(text::cat("the coordinator at ", to_string(meeting.endpoint), " gives no answer"));
  attempt.admission = std::move(admission);
  return attempt;
}

// What the threads share. It lives as long as the last of them.
class Core {
 public:
  Core(const TransportOptions& options, const Admission& admission)
      : id(admission.worker),
        bounds(options.liveness),
        seal(options.membership, admission.challenge),
        traffic(std::make_shared<TrafficCounter>()),
        watch_(options.liveness) {
    watch_.add(kCoordinator);
  }

  const WorkerId id;
  const LivenessBounds bounds;
  const FrameSeal seal;
  const std::shared_ptr<TrafficCounter> traffic;
  std::atomic<bool> ended{false};
  Outbox outbox;

  // From the thread that fetches.
  void take(std::string_view bytes) {
    auto frame = seal.open(bytes, FrameSeal::Way::to_worker);
    if (!frame || frame->worker != id) return;  // a stranger's
    if (frame->kind == Frame::Kind::expel) return end(WorkerStanding::Kind::expelled, frame->body);
    if (frame->kind != Frame::Kind::part && frame->kind != Frame::Kind::message) return;
    traffic->add(kCoordinator.rank, &Traffic::control_received, bytes.size());
    const auto took = assembly_.take(std::move(*frame));
    if (took == Assembly::Took::gap)
      return end(WorkerStanding::Kind::lost, "messages of the coordinator were lost on their way");
    if (took != Assembly::Took::whole) return;
    std::unique_lock lock(mutex_);
    messages_.push_back(assembly_.message());
    waiting_bytes_ += messages_.back().size();
    changed_.notify_all();
    if (waiting_bytes_ <= kMaxQueuedBytes) return;
    lock.unlock();
    end(WorkerStanding::Kind::lost, "the coordinator sends more than anybody takes here");
  }

  // From the thread that beats.
  void pulse(const std::string& bytes) {
    const auto frame = seal.open(bytes, FrameSeal::Way::to_worker);
    if (!frame || frame->kind != Frame::Kind::pulse || frame->sequence <= last_pulse_) return;
    last_pulse_ = frame->sequence;
    const std::lock_guard lock(mutex_);
    watch_.heard(kCoordinator);
  }

  void watch() {
    std::unique_lock lock(mutex_);
    for (const auto& change : watch_.step(monotonic_seconds())) {
      if (change.kind == LifeChange::Kind::dead) {
        lock.unlock();
        return end(WorkerStanding::Kind::lost, text::cat("the coordinator has not beaten for ", bounds.dead_s, " s"));
      }
      if (!standing_.over()) {
        standing_.kind =
            change.kind == LifeChange::Kind::silent ? WorkerStanding::Kind::silent : WorkerStanding::Kind::connected;
      }
    }
  }

  // The first end counts, but that an expulsion says more than a loss.
  void end(WorkerStanding::Kind kind, const std::string& reason) {
    const std::lock_guard lock(mutex_);
    if (standing_.kind == WorkerStanding::Kind::expelled || (standing_.over() && kind == WorkerStanding::Kind::lost))
      return;
    standing_ = {kind, reason};
    if (kind == WorkerStanding::Kind::expelled) messages_.clear();
    outbox.close();
    changed_.notify_all();
  }

  SendStatus send(std::string message) {
    const std::lock_guard lock(mutex_);
    if (standing_.over()) return SendStatus::gone;
    const auto frames = frames_of(message.size());
    if (!outbox.add({names::kInbox, {Frame::Kind::message, id, next_sequence_, std::move(message)}})) {
      return SendStatus::full;
    }
    next_sequence_ += frames;
    return SendStatus::queued;
  }

  std::optional<std::string> receive(double timeout_s) {
    std::unique_lock lock(mutex_);
    changed_.wait_for(lock, std::chrono::duration<double>(timeout_s),
                      [&] { return !messages_.empty() || standing_.over(); });
    if (messages_.empty()) return std::nullopt;
    std::string message = std::move(messages_.front());
    messages_.pop_front();
    waiting_bytes_ -= message.size();
    return message;
  }

  WorkerStanding standing() const {
    const std::lock_guard lock(mutex_);
    return standing_;
  }

 private:
  Assembly assembly_;             // of the thread that fetches
  std::uint64_t last_pulse_ = 0;  // of the thread that beats

  mutable std::mutex mutex_;  // guards all below
  std::condition_variable changed_;
  std::deque<std::string> messages_;
  Bytes waiting_bytes_ = 0;
  std::uint64_t next_sequence_ = 1;
  LivenessWatch watch_;
  WorkerStanding standing_;
};

// Beats until the end. Throws what c10d throws.
void beat(Core& core, const Store& store, const std::string& mailbox) {
  double next_tick_s = 0;
  for (std::uint64_t beats = 1; !core.ended; ++beats) {
    push(store, names::kBeats, core.seal.seal({Frame::Kind::beat, core.id, beats, ""}, FrameSeal::Way::to_coordinator));
    if (const auto pulse = poll_key(store, names::kPulse, 0)) core.pulse(*pulse);
    if (const double now_s = monotonic_seconds(); now_s >= next_tick_s) {
      tick(store, mailbox);
      next_tick_s = now_s + kTickSeconds;
    }
    sleep_seconds(core.bounds.beat_s);
  }
  tick(store, mailbox);
}

void send_all(Core& core, const Store& store) {
  while (const auto parcel = core.outbox.take()) {
    push_parcel(*parcel, core.seal, FrameSeal::Way::to_coordinator, [&](const std::string& bytes) {
      push(store, parcel->queue, bytes);
      core.traffic->add(kCoordinator.rank, &Traffic::control_sent, bytes.size());
    });
  }
  if (core.standing().over()) return;
  push(store, names::kInbox, core.seal.seal({Frame::Kind::leave, core.id, 0, ""}, FrameSeal::Way::to_coordinator));
  store->check({names::kPulse});  // a reply: all of it has arrived
}

class StoreWorker : public WorkerEnd {
 public:
  StoreWorker(const TransportOptions& options, Admission admission)
      : core_(std::make_shared<Core>(options, admission)),
        endpoint_(admission.endpoint),
        bind_address_(options.bind_address) {
    const auto mailbox = names::mailbox(admission.mailbox);
    fetcher_ = start("store mail", [store = admission.receiving, mailbox](Core& core) {
      const auto broke = fetch(store, mailbox, core.ended, [&](std::string_view bytes) { core.take(bytes); });
      if (!broke.empty()) throw std::runtime_error(broke);
    });
    sender_ = start("store send", [store = admission.sending](Core& core) { send_all(core, store); });
    beater_ = start("store beat", [store = admission.beating, mailbox](Core& core) { beat(core, store, mailbox); });
    watcher_ = start("store watch", [](Core& core) {
      for (; !core.ended; sleep_seconds(core.bounds.beat_s / 2)) core.watch();
    });
  }

  ~StoreWorker() override {
    core_->outbox.close();
    sender_ = {};  // what is queued goes out first, and then the good-bye
    core_->ended = true;
  }

  WorkerId id() const override { return core_->id; }
  SendStatus send(std::string message) override {
    require(message.size() <= kMaxMessageBytes, "a message of ", message.size(), " bytes, of at most ",
            kMaxMessageBytes);
    return core_->send(std::move(message));
  }
  std::optional<std::string> receive(double timeout_s) override { return core_->receive(timeout_s); }
  WorkerStanding standing() const override { return core_->standing(); }
  OpenedLink open_link(const LinkOrder& order) override {
    return open_gloo_link(endpoint_, bind_address_, core_->id, order, core_->traffic);
  }
  OpenedGroup open_group(const GroupOrder& order) override {
    return open_gloo_group(endpoint_, bind_address_, core_->id, order);
  }
  TrafficByRank traffic() const override { return core_->traffic->counts(); }

 private:
  template <class Body>
  LooseThread start(std::string name, Body body) {
    return LooseThread(std::move(name), [core = core_, body = std::move(body)] {
      try {
        body(*core);
      } catch (const std::exception& problem) {
        core->end(WorkerStanding::Kind::lost,
                  text::cat("the connection to the coordinator broke: ", plain_text(problem)));
      }
    });
  }

  const std::shared_ptr<Core> core_;
  const Endpoint endpoint_;
  const std::string bind_address_;
  LooseThread fetcher_, sender_, beater_, watcher_;
};

}  // namespace

JoinResult join_store(const LaunchSpec& launch, const TransportOptions& options, double timeout_s) {
  LivenessWatch{options.liveness};  // says what is wrong with the bounds
  const double until_s = monotonic_seconds() + timeout_s;
  auto attempt = bounded(timeout_s + kSlackSeconds, [launch, membership = options.membership, until_s] {
    try {
      return try_to_join(launch, membership, until_s);
    } catch (const std::exception& problem) {
      return failed(text::cat("the coordinator's store broke: ", plain_text(problem)));
    }
  });
  if (!attempt) {
    return {nullptr, false,
            text::cat("whoever listens at ", launch.master_address, ':', launch.master_port, " gives no answer within ",
                      text::format_seconds(timeout_s))};
  }
  if (!attempt->admission) return {nullptr, attempt->refused, attempt->error};
  return {std::make_unique<StoreWorker>(options, std::move(*attempt->admission)), false, ""};
}

}  // namespace hopyard
