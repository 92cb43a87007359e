// A recorded micro-batch over a fake card, against the same asked for step by step.
#include "pipeline/recorded_pass.h"

#include <ATen/Functions.h>
#include <gtest/gtest.h>

#include <atomic>
#include <bit>

#include "cuda/cuda_device.h"
#include "fakes/fake_cuda.h"
#include "fakes/small_world.h"
#include "model/layer.h"
#include "pipeline/batches.h"

namespace hopyard {
namespace {

using fakes::FakeCuda;
using fakes::SmallWorld;

class RecordedPassTest : public ::testing::Test {
 protected:
  static constexpr std::uint32_t kRows = 7, kMicroRows = 2;  // the last micro-batch has one row

  RecordedPassTest()
      : world_(fakes::kTinyBert),
        source_(world_.source(ModelTask::sequence_classification, 2)),
        modules_(source_->make_layers()),
        card_(make_cuda_device_over(
            std::make_unique<FakeCuda>(fakes::FakeCudaSpec{.memory = 64 * MiB, .eager_compute = true}),
            {DeviceSpec::Type::cuda, 1, 64 * MiB, 0, 0, 1}, 0, nullptr)),
        record_(std::make_shared<DeviceBytes>(std::make_shared<std::atomic<Bytes>>(0), MiB)) {
    card_->enter_compute();
    for (std::uint32_t row = 0; row < kRows; ++row) rows_.push_back(row);
    layouts_.reserve(2 * modules_.size());
    for (std::uint32_t l = 0; l < modules_.size(); ++l) {
      const LayerDescription& description = modules_[l]->description();
      LoadedLayer loaded;
      loaded.index = l;
      loaded.layer = modules_[l].get();
      loaded.own = &layouts_.emplace_back(layout_of(description, Part::own));
      loaded.shared = &layouts_.emplace_back(layout_of(description, Part::shared));
      loaded.trainable = loaded.own->bytes > 0;
      loaded.parameters = first_values(*source_, l, Part::own, *loaded.own);
      loaded.frozen = first_values(*source_, l, Part::shared, *loaded.shared);
      layers_.push_back(std::move(loaded));
    }
  }

  /// A step's losses and gradients, as text that shows every bit; by the record where there is one.
  std::string step(std::uint64_t index, bool by_record) {
    auto layers = layers_;
    const bool lent = by_record && record_.lend_copies(layers);
    auto batches = make_batches(*world_.data, ModelTask::sequence_classification, rows_, kMicroRows);
    bring_batches(*card_, batches);
    const ComputeContext context{.source = *source_,
                                 .layers = layers,
                                 .batches = batches,
                                 .trial_seed = 3,
                                 .step = index,
                                 .generator = card_->generator(),
                                 .has_head = true,
                                 .batch_rows = kRows,
                                 .loss_scale = static_cast<double>(1 + index)};
    const BoundLayers bound(layers, true);
    const BackwardOutput output = lent ? record_.backward(context, {}) : backward_shard(context, {}, {}, false);
    std::string bits;
    for (const auto& loss : output.losses)
      bits += text::cat(loss.items, ' ', std::bit_cast<std::uint64_t>(loss.sum), '\n');
    for (auto& loaded : layers)
      for (const auto& gradient : gradients_of(loaded))
        if (gradient.defined()) {
          const at::Tensor shown = gradient.contiguous();
          bits.append(static_cast<const char*>(shown.const_data_ptr()), shown.nbytes());
        }
    if (by_record && !record_.is_recorded()) record_.record(*card_, context, {});
    return bits;
  }

  SmallWorld world_;
  const std::shared_ptr<ModelSource> source_;
  const std::vector<std::shared_ptr<Layer>> modules_;
  const std::unique_ptr<Device> card_;
  std::vector<std::uint32_t> rows_;
  std::vector<LayerLayout> layouts_;
  std::vector<LoadedLayer> layers_;
  RecordedPass record_;
};

TEST_F(RecordedPassTest, HasTheLossesAndGradientsOfWhatItStandsForWhateverChangesFromStepToStep) {
  for (std::uint64_t index = 0; index < 5; ++index) {
    EXPECT_EQ(step(index, true), step(index, false)) << "step " << index;
    EXPECT_EQ(record_.was_used(), index > 0);
    rows_[index] += 10;
    layers_.back().parameters.mul_(1.25);  // in place, as updates are
  }
}

TEST_F(RecordedPassTest, IsForgottenWhenTheBytesAreOthers) {
  EXPECT_EQ(step(0, true), step(0, false));
  ASSERT_TRUE(record_.is_recorded());
  layers_[0].frozen = layers_[0].frozen * 2;
  EXPECT_EQ(step(1, true), step(1, false));
  EXPECT_FALSE(record_.was_used());
  EXPECT_TRUE(record_.is_recorded()) << "over the new ones";
  EXPECT_EQ(step(2, true), step(2, false));
  EXPECT_TRUE(record_.was_used());
}

}  // namespace
}  // namespace hopyard
