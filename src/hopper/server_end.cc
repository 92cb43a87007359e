#include "hopper/server_end.h"

#include <atomic>
#include <exception>
#include <mutex>
#include <thread>

#include "base/failure.h"
#include "hopper/stale_server.h"

namespace hopyard {

namespace {

constexpr std::uint64_t kNoStep = ~std::uint64_t{0};

/// One transfer after the other, the same at both ends. Throws ExchangeBroken.
class Wire {
 public:
  explicit Wire(std::unique_ptr<Link> link) : link_(std::move(link)) {}

  void send(std::span<const std::byte> bytes) {
    send(bytes.size(), {[&](Bytes offset, Bytes count) { return bytes.subspan(offset, count); }, {}});
  }
  void receive(std::span<std::byte> bytes) {
    receive(bytes.size(), {[&](Bytes offset, Bytes count) { return bytes.subspan(offset, count); },
                           [](Bytes, std::span<const std::byte>) { return true; }});
  }
  void send(Bytes bytes, const ChunkSource& source) {
    finish(link_->send(next(bytes), source));
    sent_ += bytes;
  }
  void receive(Bytes bytes, const ChunkSink& sink) {
    finish(link_->receive(next(bytes), sink));
    received_ += bytes;
  }
  void cancel(const std::string& reason) { link_->cancel(reason); }
  ExchangeTraffic traffic() const { return {sent_, received_}; }

 private:
  Transfer next(Bytes bytes) { return {static_cast<std::uint32_t>(next_++ % (kMaxTransferTag + 1)), bytes}; }
  static void finish(const TransferResult& result) {
    if (!result.ok()) throw ExchangeBroken(result.error);
  }
  const std::unique_ptr<Link> link_;
  std::uint64_t next_ = 0;
  std::atomic<Bytes> sent_ = 0, received_ = 0;
};

// What opens a step, and what ends it. Of at most so many micro-batches: more is nonsense.
constexpr std::uint64_t kMicroBatchesMax = 1 << 20;
struct StepHeader {
  std::uint64_t micro_batches = 0, begin = 0, end = 0, last = 0;
};
struct AnswerHeader {
  std::uint64_t newer = 0, diverged = kNoStep;
};

template <class T>
std::span<std::byte> bytes_of(T& value) {
  return std::as_writable_bytes(std::span(&value, 1));
}

/// The server, and the end of the member that it is in. A thread for each other member answers it.
class HostEnd final : public ServerEnd {
  /// What `call` returns. A fault of this process that another thread met is thrown here, instead of what it broke.
  template <class Call>
  auto or_fault(const Call& call) {
    try {
      return call();
    } catch (const ExchangeBroken&) {
      const std::lock_guard lock(mutex_);
      if (fault_) std::rethrow_exception(fault_);
      throw;
    }
  }

 public:
  HostEnd(std::vector<std::unique_ptr<Wire>> wires, double wait_s) : wires_(std::move(wires)), wait_s_(wait_s) {}
  ~HostEnd() override { cancel("the server's member has left"); }

  void host(std::shared_ptr<ServedState> state) override {
    {
      const std::lock_guard lock(mutex_);
      server_ = std::make_shared<StaleServer>(std::move(state), static_cast<std::uint32_t>(wires_.size() + 1), wait_s_);
      if (!broken_.empty()) server_->break_off(broken_);
    }
    for (std::uint32_t member = 1; member <= wires_.size(); ++member)
      threads_.emplace_back([this, member] { serve_until_the_end(member); });
  }
  void begin_step(const StepReport& report) override {
    or_fault([&] { server_->begin(0, report); });
  }
  void push(std::size_t part, std::span<const float> gradients) override {
    or_fault([&] { server_->add(0, part, 0, gradients); });
  }
  Answer end_step() override {
    return or_fault([&] {
      const Answer answer = server_->end(0);
      if (answer.diverged) server_->await_others(0);  // all are to hear of it
      return answer;
    });
  }
  void pull(Served what, std::size_t part, std::span<float> to) override {
    or_fault([&] { server_->read(what, part, 0, to); });
  }
  std::vector<std::vector<double>> finish() override {
    return or_fault([&] {
      server_->await_others(0);
      return server_->losses();
    });
  }

  void cancel(const std::string& reason) override {
    {
      const std::lock_guard lock(mutex_);
      if (broken_.empty()) broken_ = reason;
      if (server_) server_->break_off(reason);
    }
    for (const auto& wire : wires_) wire->cancel(reason);
  }
  ExchangeTraffic traffic() const override {
    ExchangeTraffic all;
    for (const auto& wire : wires_) {
      all.sent += wire->traffic().sent;
      all.received += wire->traffic().received;
    }
    return all;
  }

 private:
  void serve_until_the_end(std::uint32_t member) {
    try {
      while (serve_step(member, *wires_[member - 1])) {
      }
      server_->leave(member);
    } catch (const ExchangeBroken& problem) {
      cancel(text::cat("member ", member, ": ", problem.what()));
    } catch (const std::exception& problem) {
      {
        const std::lock_guard lock(mutex_);
        if (!fault_) fault_ = std::current_exception();
      }
      cancel(text::cat("the server: ", problem.what()));
    }
  }

  /// False when it was the last one.
  bool serve_step(std::uint32_t member, Wire& wire) {
    const StepReport report = hear(wire);
    server_->begin(member, report);
    ServedState& state = server_->state();
    if (report.own.count() > 0)
      for (std::size_t part = 0; part < state.parts(); ++part) take_gradients(member, wire, part);
    const Answer answer = server_->end(member);
    AnswerHeader header{answer.newer, answer.diverged.value_or(kNoStep)};
    wire.send(bytes_of(header));
    if (answer.diverged) return false;
    if (answer.newer)
      for (std::size_t part = 0; part < state.parts(); ++part) give(member, wire, Served::parameters, part);
    if (!report.last) return true;
    for (std::size_t part = 0; part < state.parts(); ++part) give(member, wire, Served::moments, part);
    for (auto& losses : server_->losses()) {
      std::uint64_t count = losses.size();
      wire.send(bytes_of(count));
      wire.send(std::as_bytes(std::span(losses)));
    }
    std::uint64_t none = 0;
    wire.send(bytes_of(none));
    return false;
  }

  static StepReport hear(Wire& wire) {
    StepHeader header;
    wire.receive(bytes_of(header));
    if (header.begin > header.end || header.end > header.micro_batches || header.micro_batches > kMicroBatchesMax)
      throw ExchangeBroken("it means no step");
    StepReport report;
    report.micro_batches = static_cast<std::uint32_t>(header.micro_batches);
    report.own = {static_cast<std::uint32_t>(header.begin), static_cast<std::uint32_t>(header.end)};
    report.last = header.last != 0;
    report.losses.resize(std::size_t{2} * report.own.count());
    if (!report.losses.empty()) wire.receive(std::as_writable_bytes(std::span(report.losses)));
    return report;
  }

  /// Where a chunk that is under way lies.
  static std::span<std::byte> place(std::span<std::byte> staging, Bytes whole, Bytes offset, Bytes bytes) {
    return staging.subspan(whole <= staging.size() ? offset : offset % (kChunksInFlight * kChunkBytes), bytes);
  }

  void take_gradients(std::uint32_t member, Wire& wire, std::size_t part) {
    const Bytes whole = server_->state().values(Served::parameters, part).size_bytes();
    const auto staging = server_->state().staging(member);
    wire.receive(whole, {[&](Bytes offset, Bytes bytes) { return place(staging, whole, offset, bytes); },
                         [&](Bytes offset, std::span<const std::byte> bytes) {
                           server_->add(member, part, offset / sizeof(float),
                                        {reinterpret_cast<const float*>(bytes.data()), bytes.size() / sizeof(float)});
                           return true;
                         }});
  }
  void give(std::uint32_t member, Wire& wire, Served what, std::size_t part) {
    const Bytes whole = server_->state().values(what, part).size_bytes();
    if (whole == 0) return;
    const auto staging = server_->state().staging(member);
    wire.send(whole, {[&](Bytes offset, Bytes bytes) -> std::span<const std::byte> {
                        const auto chunk = place(staging, whole, offset, bytes);
                        server_->read(what, part, offset / sizeof(float),
                                      {reinterpret_cast<float*>(chunk.data()), chunk.size() / sizeof(float)});
                        return chunk;
                      },
                      {}});
  }

  const std::vector<std::unique_ptr<Wire>> wires_;  // by member, from 1
  const double wait_s_;
  std::mutex mutex_;                     // guards setting what is below
  std::shared_ptr<StaleServer> server_;  // once, before threads_ and the member's own steps
  std::string broken_;
  std::exception_ptr fault_;
  std::vector<std::jthread> threads_;  // end first
};

class RemoteEnd final : public ServerEnd {
 public:
  explicit RemoteEnd(std::unique_ptr<Link> link) : wire_(std::move(link)) {}
  ~RemoteEnd() override { wire_.cancel("a member has left its server"); }

  void host(std::shared_ptr<ServedState>) override { require(false, "the first member alone has the server"); }
  void begin_step(const StepReport& report) override {
    StepHeader header{report.micro_batches, report.own.begin, report.own.end, report.last};
    wire_.send(bytes_of(header));
    if (!report.losses.empty()) wire_.send(std::as_bytes(std::span(report.losses)));
  }
  void push(std::size_t, std::span<const float> gradients) override { wire_.send(std::as_bytes(gradients)); }
  Answer end_step() override {
    AnswerHeader header;
    wire_.receive(bytes_of(header));
    return {header.newer != 0, header.diverged == kNoStep ? std::nullopt : std::optional(header.diverged)};
  }
  void pull(Served, std::size_t, std::span<float> to) override {
    if (!to.empty()) wire_.receive(std::as_writable_bytes(to));
  }
  std::vector<std::vector<double>> finish() override {
    std::vector<std::vector<double>> all;
    for (;;) {
      std::uint64_t count = 0;
      wire_.receive(bytes_of(count));
      if (count == 0) return all;
      if (count > 2 * kMicroBatchesMax) throw ExchangeBroken("the server's losses are of no batch");
      wire_.receive(std::as_writable_bytes(std::span(all.emplace_back(count))));
    }
  }
  void cancel(const std::string& reason) override { wire_.cancel(reason); }
  ExchangeTraffic traffic() const override { return wire_.traffic(); }

 private:
  Wire wire_;
};

}  // namespace

OpenedServer open_server_end(WorkerEnd& worker, const ExchangeOrder& order) {
  const auto members = static_cast<std::uint32_t>(order.members.size());
  require(members >= 2 && order.member < members, "a server for ", members, " members, of which this is number ",
          order.member);
  const auto open = [&](std::uint32_t peer) {
    return worker.open_link({order.members[peer], order.number, order.open_s, order.wait_s});
  };
  if (order.member > 0) {
    auto opened = open(0);
    if (opened.link == nullptr) return {nullptr, opened.error};
    return {std::make_shared<RemoteEnd>(std::move(opened.link)), ""};
  }
  std::vector<OpenedLink> opened(members - 1);
  {
    std::vector<std::jthread> beside;  // they come in any order
    for (std::uint32_t member = 1; member < members; ++member)
      beside.emplace_back([&, member] { opened[member - 1] = open(member); });
  }
  std::vector<std::unique_ptr<Wire>> wires;
  for (auto& one : opened) {
    if (one.link == nullptr) return {nullptr, one.error};
    wires.push_back(std::make_unique<Wire>(std::move(one.link)));
  }
  return {std::make_shared<HostEnd>(std::move(wires), order.wait_s), ""};
}

}  // namespace hopyard
