// Coordinator and workers together: an experiment over several workers has the bits of one in one process.
#include "experiment/hopping_trainer.h"

#include <array>

#include "base/rng.h"
#include "experiment/worker_fixture.h"
#include "hopper/bounds.h"

namespace hopyard {
namespace {

/// What happens to workers while they train.
struct Sabotage {
  double every_s = 0;  ///< 0: nothing does
  std::uint64_t seed = 0;
};

class HoppingTest : public WorkerTest {
 protected:
  HoppingTest() { partitions_ = 3; }

  /// Breaks a worker or its links now and then, and brings it back.
  void sabotage(fakes::MemoryNetwork& network, const Sabotage& kind, const Journal& journal,
                const std::atomic<bool>& over) {
    KeyedStream chance(kind.seed);
    while (true) {
      sleep_seconds(kind.every_s * (0.5 + chance.uniform()));
      const auto trials = journal.trials();
      const auto ended = [](const TrialRecord& record) { return record.state > TrialState::active; };
      if (over || (!trials.empty() && std::all_of(trials.begin(), trials.end(), ended))) return;
      auto& life = lives_[chance.below(lives_.size())];
      switch (chance.below(4)) {
        case 0:  // the connection
          network.kill(life->id);
          life->ending();
          life->join();
          break;
        case 1: {  // the process
          network.kill(life->id);
          life->ending();
          WorkerNode& node = nodes_[static_cast<std::size_t>(&life - lives_.data())];
          life.reset();
          life = live(node, network);
          break;
        }
        case 2:
          network.stop(life->id);
          sleep_seconds(kind.every_s * chance.uniform());
          network.go_on(life->id);
          break;
        default:
          network.tear_links_after(chance.below(state_bytes()));
          sleep_seconds(kind.every_s / 4);
          network.tear_links_after(~Bytes{0});
      }
      ++broken_;
    }
  }

  /// What the experiment ended with; nothing when the journal died.
  std::optional<ExperimentEnd> run_hopping(Journal& journal, const Sabotage& kind = {}) {
    fakes::MemoryNetwork network;
    const auto end = network.open_coordinator();
    for (auto& node : nodes_) lives_.push_back(live(node, network));
    const auto searcher = make_searcher(search_, space_, 5);
    const auto scheduler = make_visit_scheduler(VisitSchedulerKind::seed, 3);
    std::optional<ExperimentEnd> result;
    std::atomic<bool> over{false};
    std::thread saboteur([&] {
      if (kind.every_s > 0) sabotage(network, kind, journal, over);
    });
    try {
      const auto event = [this](const std::string& line) { log_ += line + '\n'; };
      HoppingTrainer trainer({*end, place_partitions(partitions_, 3, replication_), std::vector<ShopWorker>(3),
                              *scheduler, false, 2, 30, event});
      Experiment experiment({*searcher, journal, trainer, partitions_, search_.metric, orders_max_, "resources",
                             [this](const TrialSpec& spec, std::uint32_t number) { return resolve(spec, number); },
                             event, [] {}, interrupted_, 5});
      result = experiment.run();
      report_ = trainer.report();
    } catch (const DyingJournal::Death&) {
    } catch (const std::exception& error) {
      ADD_FAILURE() << error.what() << '\n' << log_;
    }
    over = true;
    saboteur.join();
    lives_.clear();
    return result;
  }

  /// The coordinator's journal dies again and again, until the experiment has ended.
  void run_through_deaths(Journal& journal) {
    int deaths = 0;
    for (int step = 2;; ++deaths) {
      ASSERT_LT(deaths, 60) << log_;
      DyingJournal dying(journal, step + deaths % 3, deaths % 2 == 0);
      if (run_hopping(dying, {0.1, static_cast<std::uint64_t>(deaths)}) == ExperimentEnd::finished) break;
    }
    EXPECT_GT(deaths, 3);
  }

  void expect_as_in_one_run(const Journal& journal) const {
    const auto alone = journal_->trials(), together = journal.trials();
    ASSERT_EQ(together.size(), alone.size());
    for (std::size_t i = 0; i < alone.size(); ++i) {
      EXPECT_EQ(together[i].state, TrialState::finished) << together[i].reason << '\n' << log_;
      ASSERT_TRUE(together[i].last) << log_;
      EXPECT_EQ(together[i].last->digest, alone[i].last->digest) << log_;
      EXPECT_EQ(together[i].scores, alone[i].scores);
      EXPECT_EQ(together[i].curve, alone[i].curve);
    }
  }
  /// On no disk is there a version that its book does not name.
  void expect_tidy_disks() const {
    for (const auto& node : nodes_) {
      std::set<Version> named, there;
      for (const auto& state : node.book.all())
        for (const auto& blob : state.blobs) named.insert(blob.version);
      for (const auto& [version, blobs] : node.medium->versions) there.insert(version);
      EXPECT_EQ(there, named) << "worker " << node.rank;
    }
  }

  /// As if no run had been.
  void forget_nodes() {
    for (auto& node : nodes_) {
      for (const auto& state : node.book.all()) node.book.remove(state.trial, state.visits);
      node.medium->versions.clear();
    }
  }

  std::uint32_t replication_ = 2;
  std::array<WorkerNode, 3> nodes_{WorkerNode(0), WorkerNode(1), WorkerNode(2)};
  std::vector<std::unique_ptr<WorkerLife>> lives_;
  HoppingReport report_;
  std::uint32_t broken_ = 0;
  std::string log_;
};

TEST_F(HoppingTest, AnExperimentOverWorkersEndsAsInOneProcessAndAtHome) {
  MemoryJournal journal;
  ASSERT_EQ(run_hopping(journal), ExperimentEnd::finished);
  expect_as_in_one_run(journal);
  EXPECT_GT(report_.hops, 0u);
  EXPECT_EQ(report_.failed_hops, 0u) << log_;
  for (const auto& record : journal.trials()) {
    const auto states = nodes_[0].book.all();
    const auto last =
        std::find_if(states.begin(), states.end(), [&](const auto& state) { return state.trial == record.spec.id; });
    ASSERT_NE(last, states.end()) << record.spec.id;
    EXPECT_EQ(last->digest, record.last->digest);
  }
  EXPECT_EQ(nodes_[0].book.all().size(), 2u);
  EXPECT_TRUE(nodes_[1].book.all().empty() && nodes_[2].book.all().empty());
  expect_tidy_disks();
}

TEST_F(HoppingTest, StatesMoveAsManyBytesAsTheFormulaSays) {
  replication_ = 1;
  MemoryJournal journal;
  ASSERT_EQ(run_hopping(journal), ExperimentEnd::finished);
  Bytes state = 0;
  for (const auto& held : nodes_[0].book.all()) {
    Bytes bytes = 0;
    for (const auto& blob : held.blobs) bytes += blob.bytes;
    state = bytes;
  }
  const CommunicationCase run{2, 2, partitions_, state, 0};
  EXPECT_EQ(report_.hop_bytes_expected, hopper_bytes(run) - 2 * state);  // first weights need no hop
  EXPECT_EQ(report_.hop_bytes, report_.hop_bytes_expected);
  Bytes sent = 0;
  for (const auto& worker : report_.workers) sent += worker.account.sent;
  EXPECT_GE(sent, report_.hop_bytes);
}

TEST_F(HoppingTest, WhateverHappensToWorkersTheBitsAreThoseOfOneProcess) {
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    SCOPED_TRACE(seed);
    log_.clear();
    MemoryJournal journal;
    ASSERT_EQ(run_hopping(journal, {0.05, seed}), ExperimentEnd::finished) << log_;
    expect_as_in_one_run(journal);
    expect_tidy_disks();
    forget_nodes();
  }
  EXPECT_GT(broken_, 5u);  // how many hops there are to break depends on who is when where
}

/// The oracle trains alone.
class HoppingTeamsTest : public HoppingTest {
 protected:
  HoppingTeamsTest() { micro_batch_size_ = 1; }
  static TrialSpec spec_of(const Journal& journal) { return journal.trials().front().spec; }
  void use_teams_of(std::uint32_t degree) {
    trial_.train.data_parallel.degree = degree;
    replication_ = degree;
  }
};

TEST_F(HoppingTeamsTest, TrialsThatWorkersTrainTogetherEndAsInOneProcess) {
  for (const std::uint32_t degree : {2, 3}) {
    SCOPED_TRACE(degree);
    use_teams_of(degree);
    MemoryJournal journal;
    ASSERT_EQ(run_hopping(journal), ExperimentEnd::finished) << log_;
    expect_as_in_one_run(journal);
    expect_tidy_disks();
    EXPECT_EQ(report_.team_visits, 2 * 2 * partitions_);
    EXPECT_EQ(report_.parted_teams, 0u) << log_;
    Bytes exchanged = 0;
    for (const auto& worker : report_.workers) exchanged += worker.account.exchanged;
    const std::uint64_t steps = 3 + 3 + 3;  // of 10, 9 and 9 rows by 4
    const CommunicationCase epochs{2, 2, degree, summed_bytes(resolve(spec_of(journal), 0)), steps * degree};
    EXPECT_EQ(report_.exchange_bytes_expected, data_parallel_bytes(epochs));
    EXPECT_GE(exchanged, report_.exchange_bytes_expected);
    EXPECT_LE(exchanged, 1.01 * static_cast<double>(report_.exchange_bytes_expected));
    forget_nodes();
  }
}

TEST_F(HoppingTeamsTest, WhateverHappensToWorkersTheBitsOfTeamsAreThoseOfOneProcess) {
  std::uint64_t together = 0;
  for (std::uint64_t seed = 0; seed < 6; ++seed) {
    SCOPED_TRACE(seed);
    use_teams_of(2 + seed % 2);
    log_.clear();
    MemoryJournal journal;
    ASSERT_EQ(run_hopping(journal, {0.05, seed}), ExperimentEnd::finished) << log_;
    expect_as_in_one_run(journal);
    expect_tidy_disks();
    forget_nodes();
    together += report_.team_visits;
  }
  // How many there are depends on who is when where.
  EXPECT_GT(broken_, 0u);
  EXPECT_GT(together, 0u);
}

TEST_F(HoppingTeamsTest, ACoordinatorThatDiesGoesOnWithItsTeams) {
  use_teams_of(2);
  MemoryJournal journal;
  ASSERT_NO_FATAL_FAILURE(run_through_deaths(journal));
  expect_as_in_one_run(journal);
  expect_tidy_disks();
}

TEST_F(HoppingTest, ACoordinatorThatDiesGoesOnWhereItsJournalEnds) {
  MemoryJournal journal;
  ASSERT_NO_FATAL_FAILURE(run_through_deaths(journal));
  expect_as_in_one_run(journal);
  expect_tidy_disks();
}

}  // namespace
}  // namespace hopyard
