// Workers train what a coordinator sends, and move states, with the bits of one run in one process.
#include "experiment/worker_fixture.h"

namespace hopyard {
namespace {

using Held = std::vector<std::pair<std::string, std::uint32_t>>;

TEST_F(WorkerTest, TrialsThatHopToAndFroEndWithTheDigestsOfOneRun) {
  WorkerNode nodes[] = {WorkerNode(0), WorkerNode(1)};
  std::unique_ptr<WorkerLife> lives[] = {live(nodes[0]), live(nodes[1])};
  for (const auto& life : lives) EXPECT_TRUE(coordinator_.expect<Hello>(life->id).held.empty());
  for (std::uint32_t visit = 0; visit < kVisits; ++visit) {
    for (std::uint32_t i = 0; i < 2; ++i) {
      auto& course = courses_[i];
      if (visit > 0) coordinator_.hop(lives[(visit + i + 1) % 2]->id, lives[(visit + i) % 2]->id, course.state);
      coordinator_.send(lives[(visit + i) % 2]->id, next_visit(course));
    }
    for (std::uint32_t i = 0; i < 2; ++i) {
      const WorkerId& at = lives[(visit + i) % 2]->id;
      courses_[i].take(coordinator_.expect<Trained>(at), visit + 1);
      for (const auto& life : lives) coordinator_.send(life->id, Keep{courses_[i].spec.id, visit + 1});
    }
  }
  for (const auto& course : courses_) {
    expect_as_in_one_run(course);
    EXPECT_EQ(course.scores.size(), kVisits / kPartitions);
  }
  for (int i = 0; i < 2; ++i) {
    const auto account = finish(*lives[i]);
    EXPECT_EQ(account.rows_read, 2 * 2 * 14u);
    EXPECT_EQ(account.bytes_read, account.rows_read * (8 * 4 + 8 + 4));
    EXPECT_GT(account.busy_s, 0);
    EXPECT_GT(account.hop_s, 0);
    EXPECT_GT(account.stored, 0u);
    EXPECT_EQ(nodes[i].book.all().size(), 1u);
    expect_nothing_left_over(nodes[i], *lives[i]);
  }
}

TEST_F(WorkerTest, ATrialThatStaysReadsNothingAgain) {
  setup_.window_share = 1;
  WorkerNode node(0);
  const auto life = greet(node);
  for (std::uint32_t visit = 0; visit < kVisits; ++visit) {
    train(courses_[0], life->id);
    coordinator_.send(life->id, Keep{courses_[0].spec.id, visit + 1});
  }
  expect_as_in_one_run(courses_[0]);
  EXPECT_EQ(life->disk.counters().read, 0u);
  finish(*life);
  expect_nothing_left_over(node, *life);
}

TEST_F(WorkerTest, TheOutcomesOfRowsComeWithTheScore) {
  WorkerNode node(0);
  const auto life = greet(node);
  for (std::uint32_t visit = 0; visit < kPartitions; ++visit) {
    coordinator_.send(life->id, next_visit(courses_[0]));
    const auto trained = coordinator_.expect<Trained>(life->id);
    const bool judged = visit + 1 == kPartitions;
    EXPECT_EQ(trained.commit.score.has_value(), judged);
    ASSERT_EQ(trained.rows.has_value(), judged);
    EXPECT_EQ(trained.rows ? trained.rows->losses.size() : fakes::kValidRows, fakes::kValidRows);
    courses_[0].take(trained, visit + 1);
  }
}

/// Whoever judged which validation rows: added in the order of partitions they are the evaluation of all, to the bit.
TEST_F(WorkerTest, AStateIsJudgedInPiecesWithTheBitsOfTheWhole) {
  valid_partitions_ = std::make_shared<Partitions>(Partitions::laid_out({0, 4, 7, fakes::kValidRows}, 0));
  WorkerNode nodes[] = {WorkerNode(0), WorkerNode(1)};
  const auto first = greet(nodes[0]), second = greet(nodes[1]);
  auto& course = courses_[0];
  train(course, first->id);
  coordinator_.send(first->id, next_visit(course));
  const auto trained = coordinator_.expect<Trained>(first->id);
  course.take(trained, 2);
  coordinator_.hop(first->id, second->id, course.state);

  std::vector<JudgedPartition> pieces(3);
  const auto judge = [&](const WorkerId& worker, std::vector<std::uint32_t> partitions) {
    Train order = next_visit(course);
    order.judge_on = partitions;
    coordinator_.send(worker, order);
    const auto evaluated = coordinator_.expect<Evaluated>(worker);
    EXPECT_EQ(evaluated.number, order.number);
    ASSERT_EQ(evaluated.judged.size(), partitions.size());
    for (const auto& one : evaluated.judged) pieces.at(one.partition) = one;
  };
  judge(first->id, {0, 2});
  judge(second->id, {1});
  const Judged all = add_up(pieces);
  ASSERT_TRUE(trained.commit.score && trained.rows);
  EXPECT_EQ(ModelSource::metric(all.sums, "valid/loss"), trained.commit.score->valid_loss);
  EXPECT_EQ(all.sums.items, fakes::kValidRows);
  EXPECT_EQ(all.rows, *trained.rows);

  for (const auto& life : {&first, &second}) coordinator_.send((*life)->id, Keep{course.spec.id, 2});
  for (std::uint32_t visit = 2; visit < kVisits; ++visit) train(course, second->id);
  EXPECT_EQ(course.state.digest, journal_->trials().at(0).last->digest);
  EXPECT_EQ(finish(*first).rows_judged, fakes::kValidRows + 7u);
  EXPECT_EQ(finish(*second).rows_judged, fakes::kValidRows + 3u);
}

TEST_F(WorkerTest, RowsThatAreNotHereAreNotJudged) {
  WorkerNode node(0);
  const auto life = greet(node);
  train(courses_[0], life->id);
  Train order = next_visit(courses_[0]);
  order.judge_on = {3};
  coordinator_.send(life->id, order);
  EXPECT_NE(coordinator_.expect<Broken>(life->id).sentence.find("on partition 3 of the validation rows"),
            std::string::npos);
}

TEST_F(WorkerTest, ATrialThatLeavesGivesItsMemoryBackAndMayStay) {
  WorkerNode nodes[] = {WorkerNode(0), WorkerNode(1)};
  const auto first = greet(nodes[0]), second = greet(nodes[1]);
  auto& course = courses_[0];
  train(course, first->id);
  const Bytes rested = first->host.used();
  coordinator_.hop(first->id, second->id, course.state);
  EXPECT_EQ(first->host.used(), rested);
  train(course, first->id);
  coordinator_.hop(first->id, second->id, course.state, true);
  // The end of the hop is said by another thread than the one that lets go.
  for (const double until_s = monotonic_seconds() + 10; first->host.used() >= rested && monotonic_seconds() < until_s;)
    sleep_seconds(0.01);
  EXPECT_LT(first->host.used(), rested);
  for (std::uint32_t visit = 2; visit < kVisits; ++visit) train(course, first->id);
  expect_as_in_one_run(course);
}

TEST_F(WorkerTest, ATrainingWaitsForItsState) {
  WorkerNode nodes[] = {WorkerNode(0), WorkerNode(1)};
  const auto first = greet(nodes[0]), second = greet(nodes[1]);
  train(courses_[0], first->id);
  const HeldState& state = courses_[0].state;
  coordinator_.send(second->id, Hop{100, false, first->id, state.trial, state.visits, state.digest, state.blobs});
  coordinator_.send(second->id, next_visit(courses_[0]));
  EXPECT_EQ(coordinator_.unexpected(second->id, 0.3), 0u);
  coordinator_.send(first->id, Hop{100, true, second->id, state.trial, state.visits, state.digest, state.blobs});
  EXPECT_EQ(coordinator_.expect<HopEnd>(first->id).error, "");
  EXPECT_EQ(coordinator_.expect<HopEnd>(second->id).error, "");
  courses_[0].take(coordinator_.expect<Trained>(second->id), 2);
  EXPECT_GT(finish(*second).waited_s, 0.2);
}

TEST_F(WorkerTest, ATrainingWhoseStateNobodyBringsIsSaidToMissIt) {
  WorkerNode nodes[] = {WorkerNode(0), WorkerNode(1)};
  const auto first = greet(nodes[0]), second = greet(nodes[1]);
  train(courses_[0], first->id);
  const Train order = next_visit(courses_[0]);
  coordinator_.send(second->id, order);
  EXPECT_EQ(coordinator_.expect<Missing>(second->id).number, order.number);
  coordinator_.hop(first->id, second->id, courses_[0].state);
  train(courses_[0], second->id);
}

TEST_F(WorkerTest, ATornHopIsSaidAndTheSecondTrySucceeds) {
  WorkerNode nodes[] = {WorkerNode(0), WorkerNode(1)};
  const auto first = greet(nodes[0]), second = greet(nodes[1]);
  auto& course = courses_[0];
  train(course, first->id);
  network_.tear_links_after(state_bytes() / 2);
  const auto [sent, received] = coordinator_.try_hop(first->id, second->id, course.state);
  EXPECT_NE(sent.error, "");
  EXPECT_NE(received.error, "");
  EXPECT_TRUE(nodes[1].book.all().empty());
  expect_nothing_left_over(nodes[1], *second);
  network_.tear_links_after(~Bytes{0});
  coordinator_.hop(first->id, second->id, course.state);
  for (std::uint32_t visit = 1; visit < kVisits; ++visit) train(course, second->id);
  expect_as_in_one_run(course);
}

TEST_F(WorkerTest, AnotherStateThanWasAskedForIsNotSent) {
  WorkerNode node(0);
  const auto life = greet(node);
  train(courses_[0], life->id);
  const HeldState& state = courses_[0].state;
  coordinator_.send(life->id, Hop{1, true, {1, 7}, state.trial, state.visits, "another", state.blobs});
  const auto end = coordinator_.expect<HopEnd>(life->id);
  EXPECT_NE(end.error.find("another state"), std::string::npos) << end.error;
}

TEST_F(WorkerTest, AWorkerThatDiesBeforeKeepComesBackWithBothStates) {
  WorkerNode node(0);
  auto life = live(node);
  auto& course = courses_[0];
  coordinator_.expect<Hello>(life->id);
  train(course, life->id);
  coordinator_.send(life->id, Keep{course.spec.id, 1});
  train(course, life->id);
  network_.kill(life->id);
  EXPECT_EQ(life->ending(), WorkerEnding::lost) << life->thrown;
  life.reset();
  life = live(node);
  EXPECT_EQ(held(coordinator_.expect<Hello>(life->id).held), (Held{{course.spec.id, 1}, {course.spec.id, 2}}));
  expect_nothing_left_over(node, *life);
  coordinator_.send(life->id, Keep{course.spec.id, 2});
  train(course, life->id);
  EXPECT_EQ(held(node.book.all()), (Held{{course.spec.id, 2}, {course.spec.id, 3}}));
  train(course, life->id);
  expect_as_in_one_run(course);
  coordinator_.send(life->id, Keep{course.spec.id, 4});
  finish(*life);
  EXPECT_EQ(held(node.book.all()), (Held{{course.spec.id, 4}}));
  expect_nothing_left_over(node, *life);
}

/// The state before is whole, so that the visit can be trained again where its first result does not count.
TEST_F(WorkerTest, AVisitCanBeTrainedAgainAfterItsFirstResultWasLost) {
  WorkerNode node(0);
  auto life = live(node);
  auto& course = courses_[0];
  coordinator_.expect<Hello>(life->id);
  train(course, life->id);
  const TrialCourse before = course;
  train(course, life->id);
  network_.kill(life->id);
  EXPECT_EQ(life->ending(), WorkerEnding::lost) << life->thrown;
  life->join();  // in the same process
  coordinator_.expect<Hello>(life->id);
  coordinator_.send(life->id, Keep{course.spec.id, 1});
  course = before;
  for (std::uint32_t visit = 1; visit < kVisits; ++visit) train(course, life->id);
  expect_as_in_one_run(course);
  coordinator_.send(life->id, Keep{course.spec.id, 4});
  finish(*life);
  expect_nothing_left_over(node, *life);
}

TEST_F(WorkerTest, ALostWorkerGivesUpWhatItTrainsAndJoinsAgain) {
  WorkerNode node(0);
  const auto life = greet(node);
  for (auto& course : courses_) coordinator_.send(life->id, next_visit(course));
  network_.kill(life->id);
  EXPECT_EQ(life->ending(), WorkerEnding::lost) << life->thrown;
  life->join();
  coordinator_.expect<Hello>(life->id);
  for (auto& course : courses_) {
    coordinator_.send(life->id, Keep{course.spec.id, 0});
    for (std::uint32_t visit = 0; visit < kVisits; ++visit) train(course, life->id);
    expect_as_in_one_run(course);
  }
}

TEST_F(WorkerTest, NothingIsHeardOfAVisitThatIsGivenUp) {
  WorkerNode node(0);
  const auto life = live(node);
  auto& course = courses_[0];
  coordinator_.expect<Hello>(life->id);
  train(course, life->id);
  for (int times = 0; times < 20; ++times) {  // before it begins, while it trains, perhaps while it is committed
    coordinator_.send(life->id, next_visit(course));
    sleep_seconds(times * 0.002);
    coordinator_.send(life->id, Abandon{course.spec.id});
  }
  std::size_t before_abandon = coordinator_.unexpected(life->id, 0.5);
  for (; before_abandon > 0; --before_abandon) coordinator_.expect<Trained>(life->id);  // it went already
  coordinator_.send(life->id, Keep{course.spec.id, 1});
  for (std::uint32_t visit = 1; visit < kVisits; ++visit) train(course, life->id);
  expect_as_in_one_run(course);
  coordinator_.send(life->id, Keep{course.spec.id, 4});
  finish(*life);
  EXPECT_EQ(held(node.book.all()), (Held{{course.spec.id, 4}}));
  expect_nothing_left_over(node, *life);
}

TEST_F(WorkerTest, AForgottenTrialLeavesNothing) {
  WorkerNode node(0);
  const auto life = greet(node);
  for (auto& course : courses_) train(course, life->id);
  coordinator_.send(life->id, next_visit(courses_[0]));
  for (auto& course : courses_) coordinator_.send(life->id, Keep{course.spec.id, 0});
  coordinator_.unexpected(life->id, 0.5);
  finish(*life);
  EXPECT_TRUE(node.book.all().empty());
  EXPECT_TRUE(life->disk.versions().empty());
}

TEST_F(WorkerTest, AParentAndItsCloneGoOnFromOneState) {
  WorkerNode node(0);
  auto life = greet(node);
  auto& parent = courses_[0];
  for (std::uint32_t visit = 0; visit < kPartitions; ++visit) train(parent, life->id);
  coordinator_.send(life->id, Keep{parent.spec.id, kPartitions});
  TrialCourse clone = parent;
  clone.spec.id = clone.state.trial = "c0";
  clone.spec.index = 100;
  clone.spec.lineage = Lineage{parent.spec.id, 1};
  coordinator_.send(life->id, Share{parent.spec.id, clone.spec.id, kPartitions});
  train(parent, life->id);
  coordinator_.send(life->id, Keep{parent.spec.id, 3});
  train(clone, life->id);
  network_.kill(life->id);
  EXPECT_EQ(life->ending(), WorkerEnding::lost) << life->thrown;
  life.reset();
  life = live(node);  // counts anew who names what
  EXPECT_EQ(held(coordinator_.expect<Hello>(life->id).held),
            (Held{{"c0", kPartitions}, {"c0", 3}, {parent.spec.id, 3}}));
  coordinator_.send(life->id, Keep{clone.spec.id, 3});
  train(clone, life->id);
  train(parent, life->id);
  expect_as_in_one_run(parent);
  EXPECT_EQ(clone.state.digest, parent.state.digest);
  coordinator_.send(life->id, Keep{parent.spec.id, 0});
  coordinator_.send(life->id, Keep{clone.spec.id, 4});
  finish(*life);
  EXPECT_EQ(held(node.book.all()), (Held{{"c0", 4}}));
  expect_nothing_left_over(node, *life);
}

TEST_F(WorkerTest, SettingsThatAPersonChangesHoldFromTheNextVisitOn) {
  WorkerNode node(0);
  const auto life = greet(node);
  for (auto& course : courses_) train(course, life->id);
  Train changed = next_visit(courses_[0]), unchanged = changed;
  changed.settings = courses_[1].spec.settings;
  coordinator_.send(life->id, unchanged);
  const auto one = coordinator_.expect<Trained>(life->id);
  coordinator_.send(life->id, Keep{courses_[0].spec.id, 1});
  coordinator_.send(life->id, changed);
  const auto other = coordinator_.expect<Trained>(life->id);
  EXPECT_NE(one.commit.digest, other.commit.digest);
  coordinator_.send(life->id, Keep{courses_[0].spec.id, 1});
  coordinator_.send(life->id, unchanged);
  EXPECT_EQ(coordinator_.expect<Trained>(life->id).commit.digest, one.commit.digest);
}

TEST_F(WorkerTest, WhatATrialDoesIsItsOwnFault) {
  WorkerNode node(0);
  unfit_ = {courses_[0].spec.id};
  const auto life = greet(node);
  coordinator_.send(life->id, next_visit(courses_[1]));
  Train unfit = next_visit(courses_[1]);
  unfit.spec = courses_[0].spec;
  coordinator_.send(life->id, unfit);
  const auto refused = coordinator_.expect<Failed>(life->id);
  EXPECT_EQ(refused.trial, courses_[0].spec.id);
  EXPECT_TRUE(refused.did_not_fit);
  courses_[1].take(coordinator_.expect<Trained>(life->id), 1);
  Train diverging = next_visit(courses_[1]);
  std::get<double>(diverging.settings.front().value) = 1e30;
  coordinator_.send(life->id, diverging);
  const auto diverged = coordinator_.expect<Failed>(life->id);
  EXPECT_FALSE(diverged.did_not_fit);
  for (std::uint32_t visit = 1; visit < kVisits; ++visit) train(courses_[1], life->id);
  expect_as_in_one_run(courses_[1]);
}

TEST_F(WorkerTest, AWorkerWhoseDiskFailsSaysSoAndLeaves) {
  WorkerNode node(0);
  const auto life = greet(node);
  train(courses_[0], life->id);
  life->disk.faults.writes_until_failure = 0;
  coordinator_.send(life->id, next_visit(courses_[0]));
  const auto broken = coordinator_.expect<Broken>(life->id);
  EXPECT_EQ(broken.code, ExitCode::input);
  EXPECT_NE(broken.sentence.find("injected"), std::string::npos);
  EXPECT_FALSE(life->ending().has_value());
  EXPECT_EQ(life->thrown, broken.sentence);
  EXPECT_EQ(held(node.book.all()), (Held{{courses_[0].spec.id, 1}}));
}

TEST_F(WorkerTest, AnInterruptedWorkerKeepsWhatItHolds) {
  WorkerNode node(0);
  auto life = greet(node);
  train(courses_[0], life->id);
  coordinator_.send(life->id, next_visit(courses_[0]));
  life->interrupted = true;
  EXPECT_EQ(life->ending(), WorkerEnding::interrupted) << life->thrown;
  life.reset();
  life = live(node);
  EXPECT_EQ(coordinator_.expect<Hello>(life->id).held.front(), courses_[0].state);
  coordinator_.send(life->id, Finish{true});
  coordinator_.expect<Account>(life->id);
  EXPECT_EQ(life->ending(), WorkerEnding::interrupted) << life->thrown;
}

/// Runs that rest make room for trials and hops.
TEST_F(WorkerTest, TrialsThatRestGiveBackTheirMemoryToOthers) {
  setup_.window_share = 1;
  const TrialSetup setup = fakes::trial_setup(world_, trial_, 0, setup_);
  host_memory_ = setup.window + std::max(setup.window, trial_overhead_bytes(setup) + shared_layer_bytes(setup));
  ASSERT_LT(host_memory_, 2 * (setup.window + trial_overhead_bytes(setup))) << "one trial fits, and no two";
  WorkerNode nodes[] = {WorkerNode(0), WorkerNode(1)};
  const auto first = greet(nodes[0]), second = greet(nodes[1]);
  for (std::uint32_t visit = 0; visit < kVisits; ++visit)
    for (auto& course : courses_) train(course, first->id);
  for (auto& course : courses_) {
    expect_as_in_one_run(course);
    coordinator_.hop(first->id, second->id, course.state);
  }
}

TEST_F(WorkerTest, ACoordinatorThatTalksNonsenseEndsTheWorker) {
  WorkerNode node(0);
  const auto life = greet(node);
  Train nonsense = next_visit(courses_[0]);
  nonsense.partition = kPartitions;
  coordinator_.send(life->id, nonsense);
  EXPECT_EQ(coordinator_.expect<Broken>(life->id).code, ExitCode::input);
  EXPECT_FALSE(life->ending().has_value());
}

}  // namespace
}  // namespace hopyard
