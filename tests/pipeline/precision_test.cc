// What train.precision means, against a loop that is written out, and what it takes and saves.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "device/tf32.h"
#include "fakes/small_world.h"
#include "fakes/whole_model.h"
#include "model/layer.h"
#include "pipeline/shard_compute.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;

TrialToRun trial_of(const SmallWorld& world, ModelTask task, Precision precision) {
  TrialToRun trial;
  trial.source = world.source(task);
  trial.train.batch_size = 4;
  trial.train.micro_batch_size = 2;
  trial.train.precision = precision;
  return trial;
}

fakes::EngineResult train(const SmallWorld& world, const TrialToRun& trial, std::vector<std::uint32_t> cuts = {}) {
  EngineSetup setup;
  setup.cuts = std::move(cuts);
  MemoryDiskTier disk;
  return fakes::train(world, {trial}, setup, disk);
}

/// A perceptron's parameters, [weight, bias] of each layer, in float32.
using Masters = std::vector<at::Tensor>;

Masters first_masters(const ModelSource& source, std::uint64_t seed) {
  Masters masters;
  for (std::uint32_t l = 0; l < source.description().layers.size(); ++l) {
    const LayerLayout layout = layout_of(source.description().layers[l], Part::own);
    std::vector<std::byte> flat(layout.bytes);
    source.initialise(l, Part::own, seed, flat);
    for (std::size_t p = 0; p < 2; ++p) {
      masters.push_back(at::empty(source.description().layers[l].parameters[p].shape));
      std::memcpy(masters.back().data_ptr(), flat.data() + layout.places[p].offset, layout.places[p].bytes);
    }
  }
  return masters;
}

Digest digest_of(const ModelSource& source, const Masters& masters) {
  std::vector<ParameterDigest> parts;
  for (std::size_t i = 0; i < masters.size(); ++i) {
    const auto& parameter = source.description().layers[i / 2].parameters[i % 2];
    const std::span bytes(static_cast<const std::byte*>(masters[i].const_data_ptr()), masters[i].nbytes());
    parts.push_back({parameter.name, "F32", parameter.shape, digest_bytes(bytes)});
  }
  return digest_parameters(std::move(parts));
}

/// A micro-batch forward and back in a type of half the size; its gradients, by the loss times `scale`, are added to
/// `sums` in float32. Returns the loss's sum.
at::Tensor add_gradients(const Masters& masters, const Batch& batch, at::ScalarType type, double counted,
                         const at::Tensor& scale, std::vector<at::Tensor>& sums) {
  std::vector<at::Tensor> rounded;
  for (const at::Tensor& master : masters) rounded.push_back(master.to(type).requires_grad_(true));
  at::Tensor x = batch.inputs.to(type);
  for (std::size_t l = 0; l < rounded.size(); l += 2) {
    x = at::linear(x, rounded[l], rounded[l + 1]);
    if (l + 2 < rounded.size()) x = at::gelu(x);
  }
  const at::Tensor loss = at::cross_entropy_loss(x.to(at::kFloat), batch.labels, {}, at::Reduction::Sum);
  loss.div(counted).mul(scale).sum().backward();
  for (std::size_t i = 0; i < rounded.size(); ++i) sums[i] = sums[i] + rounded[i].grad().to(at::kFloat);
  return loss.detach();
}

/// Training that is written out, with torch.amp's GradScaler for fp16.
struct WrittenOut {
  Masters masters;
  std::vector<at::Tensor> first, second;  ///< moments
  std::vector<double> losses;
  at::Tensor scale = at::ones({1}), good_steps = at::zeros({1}, at::kInt);
  double updates = 0;
  std::uint64_t skipped = 0;
  bool resumes_between_growths = false;
};

/// GradScaler's unscale_() and update(). False: no step().
bool unscale(const TrainSpec& train, std::vector<at::Tensor>& gradients, WrittenOut& run) {
  if (train.precision != Precision::fp16) return true;
  at::Tensor found_inf = at::zeros({1});
  at::_amp_foreach_non_finite_check_and_unscale_(gradients, found_inf, run.scale.reciprocal());
  at::_amp_update_scale_(run.scale, run.good_steps, found_inf, 2, 0.5, train.loss_scale.growth_steps);
  if (found_inf.item<float>() == 0) return true;
  ++run.skipped;
  return false;
}

void clip(const TrainSpec& train, std::vector<at::Tensor>& gradients) {
  if (!train.clip_norm) return;
  double squares = 0;
  for (const auto& gradient : gradients) squares += squared_norm(gradient);
  for (auto& gradient : gradients) gradient.mul_(clip_factor(std::sqrt(squares), *train.clip_norm));
}

void step(const TrainSpec& train, const std::vector<at::Tensor>& gradients, WrittenOut& run) {
  const auto& spec = train.optimizer;
  run.updates += 1;
  for (std::size_t i = 0; i < run.masters.size(); ++i) {
    const double decay = i % 2 == 0 ? spec.weight_decay : 0;
    if (spec.kind == OptimizerSpec::Kind::sgd)
      at::_fused_sgd_({run.masters[i]}, {gradients[i]}, {}, decay, 0, spec.lr, 0, false, false, false);
    else
      at::_fused_adamw_({run.masters[i]}, {gradients[i]}, {run.first[i]}, {run.second[i]}, {},
                        {at::full({}, run.updates)}, spec.lr, spec.beta1, spec.beta2, decay, spec.eps, false, false);
  }
}

WrittenOut write_out(const SmallWorld& world, const TrialToRun& trial) {
  const TrainSpec& train = trial.train;
  const bool scaled = train.precision == Precision::fp16;
  WrittenOut run{.masters = first_masters(*trial.source, trial.seed)};
  for (const auto& master : run.masters) {
    run.first.push_back(at::zeros_like(master));
    run.second.push_back(at::zeros_like(master));
  }
  if (scaled) run.scale.fill_(train.loss_scale.initial);
  for (std::uint32_t visit = 0; visit < trial.visits; ++visit) {
    const auto rows = fakes::visit_rows(trial, visit);
    for (std::size_t begin = 0; begin < rows.size(); begin += 4) {
      const auto batch_rows = std::span(rows).subspan(begin, std::min<std::size_t>(4, rows.size() - begin));
      std::vector<at::Tensor> sums;
      for (const auto& master : run.masters) sums.push_back(at::zeros_like(master));
      double loss = 0;
      for (const Batch& batch : make_batches(*world.data, trial.source->spec().task, batch_rows, 2))
        loss += add_gradients(run.masters, batch, scaled ? at::kHalf : at::kBFloat16,
                              static_cast<double>(batch_rows.size()), run.scale, sums)
                    .item<double>();
      run.losses.push_back(loss / static_cast<double>(batch_rows.size()));
      const at::NoGradGuard no_grad;
      if (!unscale(train, sums, run)) continue;
      clip(train, sums);
      step(train, sums, run);
    }
    run.resumes_between_growths |= visit + 1 < trial.visits && run.good_steps.item<int>() > 0;
  }
  return run;
}

void expect_written_out(const SmallWorld& world, const TrialToRun& trial, const WrittenOut& run, const char* what) {
  for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {1}, {1, 2}})
    for (const bool emulated : {false, true})
      for (const double share : {1.0, 0.3}) {
        EngineSetup setup;
        setup.cuts = cuts;
        setup.emulated = emulated;
        setup.window_share = share;
        MemoryDiskTier disk;
        const auto result = fakes::train(world, {trial}, setup, disk);
        const auto where = text::cat(what, ", ", cuts.size(), " cuts, emulated ", emulated, ", share ", share);
        EXPECT_EQ(result.errors[0], "") << where;
        EXPECT_EQ(result.outcomes[0], to_hex(digest_of(*trial.source, run.masters))) << where;
        EXPECT_EQ(result.skipped_steps[0], run.skipped) << where;
        ASSERT_EQ(result.curves[0].size(), run.losses.size());
        for (std::size_t i = 0; i < run.losses.size(); ++i) EXPECT_EQ(result.curves[0][i].loss, run.losses[i]) << i;
      }
}

constexpr const char* kWrittenOutMlp =
    R"({"model_type":"mlp","input_size":16,"hidden_sizes":[40,24],"activation":"gelu"})";

TEST(Precision, Bf16IsTheLoopThatIsWrittenOut) {
  at::set_num_threads(1);
  const SmallWorld world(kWrittenOutMlp, 40);
  for (const auto kind : {OptimizerSpec::Kind::sgd, OptimizerSpec::Kind::adamw}) {
    TrialToRun trial = trial_of(world, ModelTask::sequence_classification, Precision::bf16);
    trial.evaluate = false;
    trial.train.optimizer.kind = kind;
    expect_written_out(world, trial, write_out(world, trial), "bf16");
  }
}

TEST(Precision, Fp16IsGradScalersLoopWrittenOut) {
  at::set_num_threads(1);
  const SmallWorld world(kWrittenOutMlp, 40);
  for (const auto kind : {OptimizerSpec::Kind::sgd, OptimizerSpec::Kind::adamw})
    for (const bool clipped : {false, true})
      for (const double initial : {65536.0, 0x1p20}) {
        TrialToRun trial = trial_of(world, ModelTask::sequence_classification, Precision::fp16);
        trial.evaluate = false;
        trial.visits = 3;  // each begins from what was committed
        trial.train.optimizer.kind = kind;
        trial.train.loss_scale = {.initial = initial, .growth_steps = 3};
        if (clipped) trial.train.clip_norm = 0.05;
        const WrittenOut run = write_out(world, trial);
        EXPECT_GT(run.updates, 2);
        EXPECT_TRUE(run.resumes_between_growths);
        if (initial > 65536) {
          EXPECT_GT(run.skipped, 0u) << "nothing overflowed";
        }
        expect_written_out(world, trial, run, text::cat("fp16 from ", initial, ", clipped ", clipped).c_str());
      }
}

TEST(Precision, HalfTrainsMuchLikeFp32) {
  // A value is rounded by at most 2^-9 of itself (2^-12 in fp16). A logit comes out of a few dozen roundings in a row,
  // whose errors partly cancel: 1 % of a loss leaves room for those of the largest of these models, five blocks deep,
  // and is far below what a wrong mask, scale or sum would show.
  constexpr double kTolerance = 0.01;
  at::set_num_threads(1);
  const SmallWorld mlp(fakes::kTinyMlp), bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const SmallWorld* world : {&mlp, &bert, &gpt2}) {
    const ModelTask task = world == &gpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification;
    const auto exact = train(*world, trial_of(*world, task, Precision::fp32)).curves[0];
    for (const Precision precision : {Precision::bf16, Precision::fp16}) {
      TrialToRun trial = trial_of(*world, task, precision);
      trial.train.loss_scale.initial = 1024;
      const auto result = train(*world, trial);
      const auto& rounded = result.curves[0];
      EXPECT_EQ(result.skipped_steps[0], 0u);
      ASSERT_EQ(exact.size(), rounded.size());
      double apart = 0;
      for (std::size_t i = 0; i < exact.size(); ++i) {
        EXPECT_NEAR(rounded[i].loss, exact[i].loss, kTolerance * exact[i].loss) << "step " << i;
        apart += std::abs(rounded[i].loss - exact[i].loss);
      }
      EXPECT_GT(apart, 0) << "nothing was rounded";
    }
  }
}

TEST(Precision, SmallUpdatesAreNotLostInRounding) {
  at::set_num_threads(1);
  const SmallWorld world(fakes::kTinyMlp);
  TrialToRun trial = trial_of(world, ModelTask::sequence_classification, Precision::bf16);
  trial.train.optimizer.lr = 1e-6;  // far less than a bfloat16 parameter can change by
  trial.evaluate = false;
  fakes::WholeModel whole(*trial.source, trial.seed, trial.train.optimizer);
  EXPECT_NE(train(world, trial).outcomes[0], to_hex(whole.digest()));
}

TEST(Precision, Tf32ChangesNothingOnTheCpu) {
  at::set_num_threads(1);
  const SmallWorld world(fakes::kTinyBert);
  const auto task = ModelTask::sequence_classification;
  const std::string exact = train(world, trial_of(world, task, Precision::fp32), {2}).outcomes[0];
  allow_tf32(true);
  const std::string rounded = train(world, trial_of(world, task, Precision::tf32), {2}).outcomes[0];
  allow_tf32(false);
  EXPECT_EQ(rounded, exact);
}

TEST(Precision, BoundariesTakeHalfAndStatesAsMuch) {
  const SmallWorld world(fakes::kTinyGpt2);
  const auto setup_of = [&](Precision precision) {
    EngineSetup setup;
    setup.cuts = {1, 3};
    setup.copies = false;
    return fakes::trial_setup(world, trial_of(world, ModelTask::causal_lm, precision), 0, setup);
  };
  const TrialSetup exact = setup_of(Precision::fp32), rounded = setup_of(Precision::bf16);
  const BoundarySizes wide = boundary_sizes(exact), narrow = boundary_sizes(rounded);
  ASSERT_EQ(wide.activations.size(), narrow.activations.size());
  for (std::size_t i = 0; i < wide.activations.size(); ++i) EXPECT_EQ(wide.activations[i], 2 * narrow.activations[i]);
  EXPECT_EQ(wide.gradient, 2 * narrow.gradient);
  EXPECT_EQ(trial_state_bytes(exact), trial_state_bytes(rounded));
  for (std::size_t s = 0; s < exact.plan.shards.size(); ++s) {
    EXPECT_EQ(exact.plan.shards[s].forward_load_bytes, rounded.plan.shards[s].forward_load_bytes);
    EXPECT_EQ(exact.plan.shards[s].store_bytes, rounded.plan.shards[s].store_bytes);
  }
  // The head's tied words are a second copy only where their owner is in another shard.
  const Bytes copies = rounded.costs.back().copy_bytes, words = rounded.costs.back().borrowed_copy_bytes;
  EXPECT_EQ(words, 97u * 32 * 2);
  const auto workspace = [&](std::uint32_t begin, const std::vector<LayerCost>& costs) {
    return make_shard(costs, begin, static_cast<std::uint32_t>(costs.size()), {}).forward_workspace;
  };
  auto without = rounded.costs;
  for (auto& cost : without) cost.copy_bytes = cost.borrowed_copy_bytes = 0;
  const auto head = static_cast<std::uint32_t>(without.size()) - 1;
  EXPECT_EQ(workspace(head, rounded.costs) - workspace(head, without), copies + words);
  Bytes all = 0;
  for (const auto& cost : rounded.costs) all += cost.copy_bytes;
  EXPECT_EQ(workspace(0, rounded.costs) - workspace(0, without), all);
}

/// The most bytes that two micro-batches take, forward and back, beside the layers' state: the gradients of the first
/// are there when the second has saved all of its activations.
Bytes peak_of(const SmallWorld& world, const TrialToRun& trial) {
  install_counting_allocator();
  const ModelSource& source = *trial.source;
  const auto modules = source.make_layers();
  std::vector<LayerLayout> own, shared;
  for (const auto& module : modules) {
    own.push_back(layout_of(module->description(), Part::own));
    shared.push_back(layout_of(module->description(), Part::shared));
  }
  std::vector<LoadedLayer> layers(modules.size());
  for (std::uint32_t l = 0; l < modules.size(); ++l) {
    layers[l].index = l;
    layers[l].layer = modules[l].get();
    layers[l].own = &own[l];
    layers[l].shared = &shared[l];
    layers[l].trainable = true;
    layers[l].parameters = first_values(source, l, Part::own, own[l]);
    for (const auto& parameter : modules[l]->description().parameters)
      if (parameter.tied_to)
        layers[l].borrowed.push_back(layers[parameter.tied_to->layer].value(parameter.tied_to->parameter));
  }
  const auto batches = make_batches(*world.data, source.spec().task, world.data->first_rows(4), 2);
  MemoryAccount account("test", std::numeric_limits<Bytes>::max());
  const AccountScope charged(&account);
  make_copies(layers, compute_type(trial.train.precision));
  const ComputeContext context{
      .source = source, .layers = layers, .batches = batches, .has_head = true, .batch_rows = 4};
  {
    const BoundLayers bound(layers, true);
    backward_shard(context, {}, {}, false);
  }
  const Bytes peak = account.peak();
  layers.clear();
  return peak;
}

TEST(Precision, WorkspaceIsAsPredicted) {
  at::set_num_threads(1);
  const SmallWorld bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const SmallWorld* world : {&bert, &gpt2})
    for (const Precision precision : {Precision::fp32, Precision::bf16, Precision::fp16}) {
      const ModelTask task = world == &gpt2 ? ModelTask::causal_lm : ModelTask::sequence_classification;
      TrialToRun trial = trial_of(*world, task, precision);
      const auto costs = profile_layers(*trial.source, *world->data, trial.train, unbounded_cpu(1));
      const auto shard = make_shard(costs, 0, static_cast<std::uint32_t>(costs.size()), {});
      auto without = costs;
      for (auto& cost : without) cost.copy_bytes = cost.borrowed_copy_bytes = 0;
      const auto lighter = make_shard(without, 0, static_cast<std::uint32_t>(costs.size()), {});
      const Bytes peak = peak_of(*world, trial);
      EXPECT_LE(usable_memory(peak), shard.backward_workspace) << to_string(precision);
      EXPECT_GE(peak, shard.backward_workspace * 9 / 10) << to_string(precision);
      EXPECT_EQ(peak > lighter.backward_workspace, computes_in_half(precision)) << "copies count for nothing";
    }
}

}  // namespace
}  // namespace hopyard
