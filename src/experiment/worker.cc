#include "experiment/worker.h"

#include <deque>
#include <thread>

#include "base/clock.h"
#include "base/thread_name.h"
#include "experiment/held_states.h"
#include "experiment/state_hops.h"
#include "experiment/worker_trials.h"
#include "hopper/all_reduce_exchange.h"
#include "hopper/server_end.h"

namespace hopyard {

namespace {

constexpr double kWaitSeconds = 0.1;
constexpr double kProgressEverySeconds = 1;
constexpr double kLastWordsSeconds = 1;
/// Messages that wait to be handled; more wait in the transport.
constexpr std::size_t kInboxMax = 1024;

/// Takes a worker's messages on a thread of its own, so that what is trained need not end first.
class Inbox {
 public:
  Inbox(WorkerEnd& end, std::function<void()> notify)
      : end_(end), notify_(std::move(notify)), thread_([this] { work(); }) {}
  ~Inbox() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    room_.notify_all();
    thread_.join();
  }

  std::deque<std::string> take() {
    const std::lock_guard lock(mutex_);
    room_.notify_all();
    return std::exchange(messages_, {});
  }
  /// The coordinator is gone, and all that it said is here.
  bool over() const {
    const std::lock_guard lock(mutex_);
    return over_ && messages_.empty();
  }

 private:
  void work() {
    name_thread("worker inbox");
    while (true) {
      auto message = end_.receive(kWaitSeconds);
      std::unique_lock lock(mutex_);
      if (message) messages_.push_back(std::move(*message));
      over_ = !message && end_.standing().over();
      room_.wait(lock, [&] { return stopping_ || messages_.size() < kInboxMax; });
      if (stopping_) return;
      const bool is_over = over_;
      lock.unlock();
      if (message || is_over) notify_();
      if (is_over) return;
    }
  }

  WorkerEnd& end_;
  const std::function<void()> notify_;
  mutable std::mutex mutex_;  // guards all below but thread_
  std::condition_variable room_;
  std::deque<std::string> messages_;
  bool stopping_ = false, over_ = false;
  std::thread thread_;
};

}  // namespace

class Worker::Impl {
 public:
  explicit Impl(WorkerParts parts)
      : parts_(std::move(parts)),
        states_(parts_.book, parts_.disk),
        trials_({parts_.trainer, states_, parts_.resolve, [this](const ToCoordinator& message) { say(message); },
                 [this](const Team& team) { return meet(team); }}),
        hops_({parts_.end, parts_.host, parts_.disk, states_, [this] { parts_.trainer.nudge(); }, parts_.trace}),
        inbox_(parts_.end, [this] { parts_.trainer.nudge(); }) {}

  WorkerEnding run() {
    try {
      const WorkerEnding ending = work();
      if (ending != WorkerEnding::lost) parts_.trainer.stop();
      return ending;
    } catch (const Failure& failure) {
      break_off({failure.what(), failure.code()});
      throw;
    } catch (const std::exception& error) {
      break_off({error.what(), ExitCode::internal});
      throw;
    }
  }

  std::string reason;

 private:
  void break_off(const Broken& why) {
    say(why);
    parts_.trainer.stop();
  }

  WorkerEnding work() {
    say(Hello{states_.all()});
    double last_progress_s = monotonic_seconds();
    while (!parts_.interrupted) {
      for (const auto& text : inbox_.take())
        std::visit([this](auto&& message) { handle(std::move(message)); }, decode_to_worker(text, "the coordinator"));
      if (finish_) return leave();
      if (inbox_.over()) return lose();
      for (auto& end : hops_.take()) hop_ended(end);
      trials_.get_on(hops_.waits_for_memory());
      wait();
      if (monotonic_seconds() - last_progress_s < kProgressEverySeconds) continue;
      last_progress_s = monotonic_seconds();
      if (!outbox_.empty()) continue;
      Progress progress = trials_.progress();
      progress.so_far = account();
      say(progress);
    }
    say_account();
    return WorkerEnding::interrupted;
  }

  void handle(Train message) { trials_.train(std::move(message)); }
  /// On a thread of its own.
  std::shared_ptr<VisitTie> meet(const Team& team) {
    ExchangeOrder order{team.members, team.member, team.number};
    order.open_s = kHopOpenSeconds;
    if (team.sum == DataParallelSpec::Sum::server) {
      const auto opened = open_server_end(parts_.end, order);
      if (!opened.end) throw ExchangeBroken(opened.error);
      return opened.end;
    }
    const bool ordered = team.sum == DataParallelSpec::Sum::ordered;
    const auto opened = ordered ? open_link_exchange(parts_.end, order) : open_all_reduce_exchange(parts_.end, order);
    if (!opened.exchange) throw ExchangeBroken(opened.error);
    return opened.exchange;
  }

  void handle(const Abandon& message) { trials_.abandon(message.trial); }
  void handle(Hop message) {
    if (!message.send) trials_.expect(message);
    if (message.leaves) trials_.leave(message.trial, message.visits);
    hops_.begin(std::move(message));
  }
  void handle(const CallOff& message) { hops_.call_off(message.number); }
  void handle(const Keep& message) { trials_.keep(message); }
  void handle(const Share& message) {
    if (!states_.share(message.parent, message.clone, message.visits))
      parts_.event(text::cat(message.clone, " is to begin at a state of ", message.parent, " that is not here"));
  }
  void handle(const Finish& message) { finish_ = message; }

  void hop_ended(const HopEnd& end) {
    trials_.hop_over(end.number);
    hop_s_ += end.seconds;
    if (!end.error.empty()) parts_.event(text::cat("hop ", end.number, ": ", end.error));
    say(end);
  }

  void wait() {
    const double begin_s = monotonic_seconds();
    const bool waits = !trials_.trains() && trials_.waits_for_state();
    trials_.wait(kWaitSeconds);
    if (waits) waited_s_ += monotonic_seconds() - begin_s;
    send_what_waits();
  }

  WorkerEnding leave() {
    say_account();
    return finish_->interrupted ? WorkerEnding::interrupted : WorkerEnding::finished;
  }

  Account account() const {
    Account account = trials_.account();
    account.hop_s = hop_s_;
    account.waited_s = waited_s_;
    account.stored = parts_.disk.peak();
    for (const auto& [rank, traffic] : parts_.end.traffic()) account.sent += traffic.bulk_sent;
    return account;
  }

  /// The last words of this incarnation, which take a moment at most.
  void say_account() {
    trials_.finish();
    say(account());
    for (const double until_s = monotonic_seconds() + kLastWordsSeconds; monotonic_seconds() < until_s;) {
      if (outbox_.empty()) break;
      sleep_seconds(kLastWordsSeconds / 50);
      send_what_waits();
    }
  }

  WorkerEnding lose() {
    reason = parts_.end.standing().reason;
    trials_.give_up();
    trials_.finish();
    return WorkerEnding::lost;
  }

  void say(const ToCoordinator& message) {
    outbox_.push_back(encode(message));
    send_what_waits();
  }

  /// There is never more of it than the coordinator has asked for.
  void send_what_waits() {
    while (!outbox_.empty()) {
      if (parts_.end.send(outbox_.front()) == SendStatus::full) return;
      outbox_.pop_front();
    }
  }

  WorkerParts parts_;
  std::optional<Finish> finish_;
  std::deque<std::string> outbox_;
  double hop_s_ = 0, waited_s_ = 0;
  HeldStates states_;
  WorkerTrials trials_;
  StateHops hops_;
  Inbox inbox_;
};

Worker::Worker(WorkerParts parts) : impl_(std::make_unique<Impl>(std::move(parts))) {}
Worker::~Worker() = default;
WorkerEnding Worker::run() { return impl_->run(); }
const std::string& Worker::reason() const { return impl_->reason; }

}  // namespace hopyard
