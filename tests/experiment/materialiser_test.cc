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

  TrialSetup trial(std::uint32_t number, std::uint32_t first_layer) {
    fakes::TrialToRun one;
    one.source = source_;
    one.first_layer = first_layer;
    one.train.batch_size = one.train.micro_batch_size = 4;
    return fakes::trial_setup(world_, one, number, {});
  }

  /// Lets it work until nothing of it runs or can be started.
  void work() {
    for (int idle = 0; idle < 3; ++idle) {
      materialiser_->get_on(false);
      while (auto ended = executor_->wait_finished(kNothingLeftS)) {
        ASSERT_TRUE(materialiser_->owns(ended->trial));
        materialiser_->ended(std::move(*ended));
        materialiser_->get_on(false);
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
  std::vector<std::string> events_;
  std::unique_ptr<Executor> executor_;
  std::unique_ptr<Materialiser> materialiser_;
};

TEST_F(MaterialiserTest, ADepthIsComputedOnceAndGoesWithTheLastTrialThatWantsIt) {
  const TrialSetup whole = trial(0, 0), shallow = trial(1, 2), deep = trial(2, 5), deep_too = trial(3, 5);
  for (const auto& setup : {whole, shallow, deep, deep_too}) materialiser_->want(setup);
  const Bytes one =
      Features::bytes_for(world_.data->rows(), 8 * 32 * 4) + Features::bytes_for(fakes::kValidRows, 8 * 32 * 4);
  EXPECT_EQ(host_.used(), 2 * one) << "their place is taken at once";
  EXPECT_TRUE(materialiser_->features(whole).has_value());
  EXPECT_FALSE(materialiser_->features(deep).has_value());
  EXPECT_TRUE(materialiser_->waits());
  work();
  EXPECT_FALSE(materialiser_->waits());
  EXPECT_EQ(events_, (std::vector<std::string>{"materialising embeddings to encoder.0 for 1 trial",
                                               "materialising encoder.1 to encoder.3 for 2 trials"}));
  EXPECT_EQ(materialiser_->features(deep)->train, materialiser_->features(deep_too)->train);
  EXPECT_EQ(host_.used(), 2 * one) << "nothing else of it stays";
  fakes::TrialToRun same;
  same.source = source_;
  same.first_layer = 5;
  same.train.micro_batch_size = 4;
  HostTier elsewhere(4 * MiB);
  const auto expected = fakes::features_by_hand(world_, same, elsewhere);
  const auto got = *materialiser_->features(deep);
  for (std::uint32_t row = 0; row < world_.data->rows(); ++row)
    EXPECT_EQ(std::memcmp(got.train->row(row), expected.train->row(row), 8 * 32 * 4), 0) << row;
  for (std::uint32_t row = 0; row < fakes::kValidRows; ++row)
    EXPECT_EQ(std::memcmp(got.valid->row(row), expected.valid->row(row), 8 * 32 * 4), 0) << row;
}

TEST_F(MaterialiserTest, FeaturesGoWithTheLastTrialThatWantsThem) {
  const TrialSetup one = trial(1, 3), two = trial(2, 3), whole = trial(3, 0);
  for (const auto& setup : {one, two}) materialiser_->want(setup);
  work();
  const Bytes held = host_.used();
  materialiser_->let_go(whole);
  materialiser_->let_go(one);
  materialiser_->let_go(one);
  EXPECT_EQ(host_.used(), held);
  materialiser_->let_go(two);
  EXPECT_EQ(host_.used(), 0u);
  materialiser_->want(two);  // taken up again later: computed again
  work();
  EXPECT_TRUE(materialiser_->features(two).has_value());
}

TEST_F(MaterialiserTest, WaitsForRoomAndGoesOnOnceItIsThere) {
  auto taken = host_.reserve(host_.capacity() - 64 * KiB);
  const TrialSetup deep = trial(1, 5);
  materialiser_->want(deep);
  work();
  EXPECT_TRUE(materialiser_->waits());
  EXPECT_FALSE(materialiser_->features(deep).has_value());
  const auto sentence = fakes::failure_of(ExitCode::capacity, [&] {
    for (int i = 0; i < 100; ++i, sleep_seconds(0.05)) materialiser_->get_on(true);
  });
  EXPECT_NE(sentence.find("resources.host_memory"), std::string::npos) << sentence;
  taken = host_.reserve(0);
  work();
  EXPECT_TRUE(materialiser_->features(deep).has_value());
}

TEST_F(MaterialiserTest, WithLittleRoomALayerAtATimeIsBroughtIn) {
  const TrialSetup deep = trial(1, 5);
  materialiser_->want(deep);
  const Bytes largest = HostBuffer::rounded(deep.costs[1].parameter_bytes);
  auto taken = host_.reserve(host_.capacity() - host_.used() - largest - 4 * KiB);
  work();
  EXPECT_TRUE(materialiser_->features(deep).has_value());
  EXPECT_LE(host_.peak(), host_.capacity());
}

}  // namespace
}  // namespace hopyard
