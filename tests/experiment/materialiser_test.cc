// When shared activations are computed, how long they stay, and what they wait for.
#include "experiment/materialiser.h"

#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "fakes/failure_of.h"
#include "fakes/small_world.h"
#include "planner/sharing.h"

namespace hopyard {
namespace {

class MaterialiserTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::set_num_threads(1);
    install_counting_allocator();
    std::vector<std::unique_ptr<Device>> devices;
    for (std::uint32_t i = 0; i < 2; ++i) devices.push_back(make_cpu_device(DeviceSpec(), i, 64 * MiB));
    executor_ = std::make_unique<Executor>(ExecuteSpec(), 5, std::move(devices), host_, nullptr);
    materialiser_ = std::make_unique<Materialiser>(MaterialiserParts{
        *executor_, host_, disk_, pool_, frozen_, [this](const std::string& line) { events_.push_back(line); }});
  }

  TrialSetup trial(std::uint32_t number, std::uint32_t first_layer, FeatureTier tier = FeatureTier::host) {
    fakes::TrialToRun one;
    one.source = source_;
    one.first_layer = first_layer;
    one.train.batch_size = one.train.micro_batch_size = 4;
    TrialSetup setup = fakes::trial_setup(world_, one, number, {});
    setup.feature_tier = tier;
    setup.partitions = partitions_;
    return setup;
  }
  void want(const TrialSetup& setup) {
    materialiser_->want(setup);
    demands_[setup.number] = {setup, 0, 0};
  }
  void let_go(const TrialSetup& setup) {
    materialiser_->let_go(setup);
    demands_.erase(setup.number);
  }
  /// The trial's next visit.
  void demand(std::uint32_t trial, std::uint32_t partition, std::uint32_t visits_done) {
    demands_.at(trial).partition = partition;
    demands_.at(trial).visits_done = visits_done;
  }
  void get_on(bool alone) {
    std::vector<FeatureDemand> demands;
    for (const auto& [number, one] : demands_) demands.push_back({&one.setup, one.partition, one.visits_done});
    materialiser_->get_on(std::move(demands), alone);
  }

  /// Lets it work until nothing of it runs or can be started.
  void work() {
    for (int idle = 0; idle < 3; ++idle) {
      get_on(false);
      while (auto ended = executor_->wait_finished(kNothingLeftS)) {
        ASSERT_TRUE(materialiser_->owns(ended->trial));
        materialiser_->ended(std::move(*ended));
        get_on(false);
        idle = 0;
      }
    }
  }

  static constexpr double kNothingLeftS = 0.1;
  fakes::SmallWorld world_{fakes::kTinyBert};
  std::shared_ptr<ModelSource> source_ = world_.source(ModelTask::sequence_classification, 5);
  HostTier host_{4 * MiB};
  IoPool pool_{1};
  FrozenStore frozen_{host_};
  MemoryDiskTier disk_;
  std::shared_ptr<const Partitions> partitions_ = std::make_shared<Partitions>(world_.data->rows(), 4, 5);
  struct Wanted {
    TrialSetup setup;
    std::uint32_t partition = 0, visits_done = 0;
  };
  std::map<std::uint32_t, Wanted> demands_;
  std::vector<std::string> events_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Materialiser> materialiser_;
};

TEST_F(MaterialiserTest, ADepthIsComputedOnceAndGoesWithTheLastTrialThatWantsIt) {
  const TrialSetup whole = trial(0, 0), shallow = trial(1, 2), deep = trial(2, 5), deep_too = trial(3, 5);
  for (const auto& setup : {whole, shallow, deep, deep_too}) want(setup);
  const Bytes one =
      Features::bytes_for(world_.data->rows(), 8 * 32 * 4) + Features::bytes_for(fakes::kValidRows, 8 * 32 * 4);
  EXPECT_EQ(host_.used(), 2 * one) << "their place is taken at once";
  EXPECT_TRUE(materialiser_->ready(whole, 3));
  EXPECT_FALSE(materialiser_->ready(deep, 3));
  work();
  EXPECT_TRUE(materialiser_->ready(deep, 3));
  EXPECT_FALSE(materialiser_->waits());
  EXPECT_EQ(events_, (std::vector<std::string>{"materialising embeddings to encoder.0 for 1 trial",
                                               "materialising encoder.1 to encoder.3 for 2 trials"}));
  EXPECT_EQ(materialiser_->features(deep).train, materialiser_->features(deep_too).train);
  EXPECT_EQ(host_.used(), 2 * one) << "nothing else of it stays";
  fakes::TrialToRun same;
  same.source = source_;
  same.first_layer = 5;
  same.train.micro_batch_size = 4;
  HostTier elsewhere(4 * MiB);
  const auto expected = fakes::features_by_hand(world_, same, elsewhere);
  const auto got = materialiser_->features(deep);
  for (std::uint32_t row = 0; row < world_.data->rows(); ++row)
    EXPECT_EQ(std::memcmp(got.train->row(row), expected.train->row(row), 8 * 32 * 4), 0) << row;
  for (std::uint32_t row = 0; row < fakes::kValidRows; ++row)
    EXPECT_EQ(std::memcmp(got.valid->row(row), expected.valid->row(row), 8 * 32 * 4), 0) << row;
}

TEST_F(MaterialiserTest, FeaturesGoWithTheLastTrialThatWantsThem) {
  const TrialSetup one = trial(1, 3), two = trial(2, 3), whole = trial(3, 0);
  for (const auto& setup : {one, two, whole}) want(setup);
  work();
  const Bytes held = host_.used();
  let_go(whole);
  let_go(one);
  let_go(one);
  EXPECT_EQ(host_.used(), held);
  let_go(two);
  EXPECT_EQ(host_.used(), 0u);
  want(two);  // taken up again later: computed again
  work();
  EXPECT_TRUE(materialiser_->ready(two, 0));
}

TEST_F(MaterialiserTest, WaitsForRoomAndGoesOnOnceItIsThere) {
  auto taken = host_.reserve(host_.capacity() - 64 * KiB);
  const TrialSetup deep = trial(1, 5);
  want(deep);
  work();
  EXPECT_TRUE(materialiser_->waits());
  EXPECT_FALSE(materialiser_->ready(deep, 0));
  const auto sentence = fakes::failure_of(ExitCode::capacity, [&] {
    for (int i = 0; i < 100; ++i, sleep_seconds(0.05)) get_on(true);
  });
  EXPECT_NE(sentence.find("resources.host_memory"), std::string::npos) << sentence;
  taken = host_.reserve(0);
  work();
  EXPECT_TRUE(materialiser_->ready(deep, 0));
}

TEST_F(MaterialiserTest, WithLittleRoomALayerAtATimeIsBroughtIn) {
  const TrialSetup deep = trial(1, 5);
  want(deep);
  const Bytes largest = HostBuffer::rounded(deep.costs[1].parameter_bytes);
  auto taken = host_.reserve(host_.capacity() - host_.used() - largest - 4 * KiB);
  work();
  EXPECT_TRUE(materialiser_->ready(deep, 0));
  EXPECT_LE(host_.peak(), host_.capacity());
}

TEST_F(MaterialiserTest, ByVisitsTheNextOneIsThereBeforeItStartsAndWhoIsBehindComesFirst) {
  for (const FeatureTier tier : {FeatureTier::disk, FeatureTier::fused}) {
    const TrialSetup ahead = trial(1, 5, tier), behind = trial(2, 5, tier);
    for (const auto& setup : {ahead, behind}) want(setup);
    work();
    ASSERT_TRUE(materialiser_->ready(behind, 0));
    auto visit = materialiser_->hold(behind, 0);  // its first visit is under way
    demand(2, 1, 1);
    demand(1, 2, 2);
    work();
    EXPECT_TRUE(materialiser_->ready(behind, 1)) << "prefetched";
    EXPECT_FALSE(materialiser_->ready(ahead, 2)) << "would take its place";
    EXPECT_FALSE(materialiser_->waits()) << "not for room that others could give";
    visit.clear();
    work();
    EXPECT_TRUE(materialiser_->ready(ahead, 2));
    EXPECT_FALSE(materialiser_->ready(behind, 0));
    EXPECT_EQ(disk_.versions().size(), tier == FeatureTier::disk ? 3u : 0u);
    const double first = materialiser_->busy_s();
    demand(2, 0, 4);  // the next epoch
    demand(1, 0, 4);
    work();
    EXPECT_TRUE(materialiser_->ready(ahead, 0));
    EXPECT_EQ(materialiser_->busy_s() > first, tier == FeatureTier::fused);
    for (const auto& setup : {ahead, behind}) let_go(setup);
    EXPECT_TRUE(disk_.versions().empty());
    EXPECT_EQ(host_.used(), 0u);
  }
}

TEST_F(MaterialiserTest, RowsOfAVisitAreThoseOfAllRows) {
  const TrialSetup all = trial(1, 3), parts = trial(2, 5, FeatureTier::fused);
  for (const auto& setup : {all, parts}) want(setup);
  for (std::uint32_t p = 0; p < partitions_->count(); ++p) {
    demand(2, p, p);
    work();
    ASSERT_TRUE(materialiser_->ready(parts, p));
    fakes::TrialToRun same;
    same.source = source_;
    same.first_layer = 5;
    same.train.micro_batch_size = 4;
    HostTier elsewhere(4 * MiB);
    const auto expected = fakes::features_by_hand(world_, same, elsewhere);
    const auto got = materialiser_->features(parts);
    const auto rows = partitions_->members()[p];
    for (const auto row : rows)
      EXPECT_EQ(std::memcmp(got.train->row(row), expected.train->row(row), 8 * 32 * 4), 0) << row;
  }
}

}  // namespace
}  // namespace hopyard
