// Workers in one process, over a network and disks in memory, under a coordinator that says what the test wants.
#pragma once

#include <algorithm>
#include <deque>
#include <exception>
#include <thread>

#include "experiment/experiment_fixture.h"
#include "experiment/worker.h"
#include "fakes/memory_state_book.h"
#include "fakes/memory_transport.h"

namespace hopyard {

/// What outlives a worker's process.
struct WorkerNode {
  explicit WorkerNode(std::uint32_t number) : rank(number) {}
  const std::uint32_t rank;
  std::shared_ptr<MemoryDisk> medium = std::make_shared<MemoryDisk>();
  MemoryStateBook book;
};

/// One life of a worker's process, on threads of its own.
class WorkerLife {
 public:
  using Resolve = std::function<TrialSetup(const TrialSpec&, std::uint32_t)>;

  WorkerLife(fakes::MemoryNetwork& network, WorkerNode& node, ExecuteSpec execute,
             std::vector<std::unique_ptr<Device>> devices, Resolve resolve, Bytes host_memory)
      : network_(network),
        node_(node),
        resolve_(std::move(resolve)),
        disk(GiB, node.medium),
        shared(disk),
        host(host_memory),
        executor_(execute, 5, std::move(devices), host, nullptr),
        trainer_({executor_, host, shared, pool_, frozen_, "valid/loss", std::nullopt, [](const std::string&) {}}) {
    forget_unnamed(node.book, shared);
    join();
  }
  ~WorkerLife() {
    interrupted = true;
    if (thread_.joinable()) thread_.join();
  }

  /// Another incarnation, once the one before has ended.
  void join() {
    if (thread_.joinable()) thread_.join();
    end_ = network_.join(node_.rank);
    id = end_->id();
    thread_ = std::thread([this] { run(); });
  }
  /// How it ended; waits for that.
  std::optional<WorkerEnding> ending() {
    thread_.join();
    return ending_;
  }

 private:
  fakes::MemoryNetwork& network_;
  WorkerNode& node_;
  const Resolve resolve_;

 public:
  MemoryDiskTier disk;
  SharedVersions shared;
  HostTier host;
  std::atomic<bool> interrupted{false};
  WorkerId id;
  std::string thrown;  // after ending()

 private:
  void run() {
    try {
      Worker worker({*end_, trainer_, shared, host, node_.book, resolve_, [](const std::string&) {}, interrupted});
      ending_ = worker.run();
    } catch (const std::exception& error) {
      thrown = error.what();
    }
    end_.reset();
    if (ending_ != WorkerEnding::lost) executor_.stop();
  }

  IoPool pool_{2};
  FrozenStore frozen_{host};
  Executor executor_;
  LocalTrainer trainer_;
  std::unique_ptr<WorkerEnd> end_;
  std::optional<WorkerEnding> ending_;
  std::thread thread_;
};

/// Hears each worker's messages apart.
class ScriptedCoordinator {
 public:
  explicit ScriptedCoordinator(fakes::MemoryNetwork& network) : end_(network.open_coordinator()) {}

  void send(const WorkerId& to, const ToWorker& message) { end_->send(to, encode(message)); }

  /// The worker's next message but for its progress; a failed test when it is of another kind, or none comes.
  template <class Kind>
  Kind expect(const WorkerId& from) {
    for (const double until_s = monotonic_seconds() + 60; heard_[from].empty() && monotonic_seconds() < until_s;)
      listen(1);
    if (heard_[from].empty()) {
      ADD_FAILURE() << to_string(from) << " says nothing";
      return {};
    }
    const ToCoordinator message = std::move(heard_[from].front());
    heard_[from].pop_front();
    if (const auto* kind = std::get_if<Kind>(&message)) return *kind;
    ADD_FAILURE() << to_string(from) << " says " << encode(message);
    return {};
  }
  /// What is heard of it within this time.
  std::size_t unexpected(const WorkerId& from, double seconds) {
    for (const double until_s = monotonic_seconds() + seconds; monotonic_seconds() < until_s;) listen(0.02);
    return heard_[from].size();
  }

  /// Both ends of a hop, well ended.
  void hop(const WorkerId& from, const WorkerId& to, const HeldState& state, bool leaves = false) {
    const auto [sent, received] = try_hop(from, to, state, leaves);
    EXPECT_EQ(sent.error, "");
    EXPECT_EQ(received.error, "");
    EXPECT_EQ(sent.digest, received.digest);
  }
  std::pair<HopEnd, HopEnd> try_hop(const WorkerId& from, const WorkerId& to, const HeldState& state,
                                    bool leaves = false) {
    const std::uint64_t number = ++hops_;
    send(to, Hop{number, false, from, state.trial, state.visits, state.digest, state.blobs});
    send(from, Hop{number, true, to, state.trial, state.visits, state.digest, state.blobs, leaves});
    std::pair<HopEnd, HopEnd> ends{expect<HopEnd>(from), expect<HopEnd>(to)};
    EXPECT_EQ(ends.first.number, number);
    EXPECT_EQ(ends.second.number, number);
    EXPECT_TRUE(ends.first.sent && !ends.second.sent);
    return ends;
  }

 private:
  void listen(double seconds) {
    const auto event = end_->next(seconds);
    if (!event || event->kind != CoordinatorEvent::Kind::message) return;
    auto message = decode_to_coordinator(event->text, to_string(event->worker));
    if (!std::holds_alternative<Progress>(message)) heard_[event->worker].push_back(std::move(message));
  }

  std::unique_ptr<CoordinatorEnd> end_;
  std::map<WorkerId, std::deque<ToCoordinator>> heard_;
  std::uint64_t hops_ = 0;
};

/// A trial's way through its visits, as a coordinator knows it.
struct TrialCourse {
  TrialSpec spec;
  HeldState state;  ///< of the last visit
  std::uint64_t steps = 0;
  double loss_sum = 0, loss_items = 0;
  std::vector<TrialScore> scores;

  void take(const Trained& trained, std::uint32_t visits) {
    state = {spec.id, visits, trained.commit.digest, trained.blobs};
    for (auto& blob : state.blobs) blob.version = 0;
    steps = trained.commit.steps;
    loss_sum = trained.commit.score ? 0 : trained.commit.loss_sum;
    loss_items = trained.commit.score ? 0 : trained.commit.loss_items;
    if (trained.commit.score) scores.push_back(*trained.commit.score);
  }
};

/// The oracle is an Experiment in one process.
class WorkerTest : public ExperimentTest {
 protected:
  static constexpr std::uint32_t kPartitions = 2, kVisits = 4;

  void SetUp() override {
    ExperimentTest::SetUp();
    trial_.train.epochs = kVisits / kPartitions;
    trial_.train.micro_batch_size = micro_batch_size_;
    search_.metric = "valid/loss";
    ASSERT_EQ(run(GiB), ExperimentEnd::finished);
    for (const auto& record : journal_->trials()) courses_.push_back({record.spec, {}, 0, 0, 0, {}});
    ASSERT_EQ(courses_.size(), 2u);
  }

  void TearDown() override { EXPECT_EQ(network_.links_beyond_their_end(), 0u); }

  std::unique_ptr<WorkerLife> live(WorkerNode& node) { return live(node, network_); }
  std::unique_ptr<WorkerLife> live(WorkerNode& node, fakes::MemoryNetwork& network) {
    std::vector<std::unique_ptr<Device>> devices;
    devices.push_back(make_device());
    return std::make_unique<WorkerLife>(
        network, node, setup_.execute, std::move(devices),
        [this](const TrialSpec& spec, std::uint32_t number) {
          TrialSetup setup = resolve(spec, number);
          setup.valid_partitions = valid_partitions_;
          return setup;
        },
        host_memory_);
  }

  /// Lives, and has said hello.
  std::unique_ptr<WorkerLife> greet(WorkerNode& node) {
    auto life = live(node);
    coordinator_.expect<Hello>(life->id);
    return life;
  }

  Train next_visit(const TrialCourse& course) {
    TrialEntry entry;
    entry.setup = resolve(course.spec, course.spec.index);
    entry.status.visits_per_epoch = kPartitions;
    const std::uint32_t visits = course.state.visits;
    return {++orders_,
            course.spec,
            course.spec.settings,
            visits,
            course.state.digest,
            entry.partition_after(visits),
            (visits + 1) % kPartitions == 0,
            course.steps,
            course.loss_sum,
            course.loss_items,
            {}};
  }
  void train(TrialCourse& course, const WorkerId& worker) {
    coordinator_.send(worker, next_visit(course));
    course.take(coordinator_.expect<Trained>(worker), course.state.visits + 1);
  }

  void expect_as_in_one_run(const TrialCourse& course) const {
    for (const auto& record : journal_->trials()) {
      if (record.spec.id != course.spec.id) continue;
      EXPECT_EQ(course.state.digest, record.last->digest) << course.spec.id;
      EXPECT_EQ(course.scores, record.scores) << course.spec.id;
      EXPECT_EQ(course.steps, record.last->steps);
    }
  }
  /// Nothing is in the disk tier that the book does not name, and all that it names is.
  static void expect_nothing_left_over(const WorkerNode& node, const WorkerLife& life) {
    std::set<Version> named;
    for (const auto& state : node.book.all())
      for (const auto& blob : state.blobs) named.insert(blob.version);
    const auto versions = life.disk.versions();
    EXPECT_EQ(std::set<Version>(versions.begin(), versions.end()), named);
  }
  static std::vector<std::pair<std::string, std::uint32_t>> held(const std::vector<HeldState>& states) {
    std::vector<std::pair<std::string, std::uint32_t>> held;
    for (const auto& state : states) held.emplace_back(state.trial, state.visits);
    return held;
  }
  /// Ends the worker, which has done all that it was told before.
  Account finish(WorkerLife& life) {
    coordinator_.send(life.id, Finish());
    const auto account = coordinator_.expect<Account>(life.id);
    EXPECT_EQ(life.ending(), WorkerEnding::finished) << life.thrown;
    return account;
  }

  std::shared_ptr<const Partitions> valid_partitions_;  // null: all validation rows, as one
  Bytes host_memory_ = 64 * MiB;
  std::uint32_t micro_batch_size_ = 4;  ///< of batches of 4
  fakes::MemoryNetwork network_;
  std::uint64_t orders_ = 0;
  ScriptedCoordinator coordinator_{network_};
  std::vector<TrialCourse> courses_;
};

}  // namespace hopyard
