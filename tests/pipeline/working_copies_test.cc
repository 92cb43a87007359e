// Copies of parameters in bfloat16 and float16 on the link and in host memory: the bits of a trial without them, and
// half the bytes.
#include <ATen/Functions.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <cstring>
#include <mutex>

#include "fakes/small_world.h"
#include "fakes/trial_home.h"
#include "partitioner/shard_tasks.h"
#include "pipeline/host_copies.h"
#include "pipeline/step_program.h"

namespace hopyard {
namespace {

using fakes::EngineSetup;
using fakes::SmallWorld;
using fakes::TrialToRun;

const AdapterSpec kLora{.kind = AdapterSpec::Kind::lora, .rank = 3, .dropout = 0.2, .targets = {"all"}};

class WorkingCopies : public ::testing::Test {
 protected:
  void SetUp() override { at::set_num_threads(1); }

  static TrialToRun trial_of(const SmallWorld& world, ModelTask task, const std::function<void(ModelSpec&)>& change) {
    ModelSpec spec;
    spec.checkpoint = world.folder / "model";
    spec.task = task;
    change(spec);
    TrialToRun trial;
    trial.source = std::make_shared<ModelSource>(spec, data_shape(*world.data, task));
    trial.train.batch_size = 4;
    trial.train.micro_batch_size = 2;
    trial.train.optimizer.lr = 1e-2;
    trial.train.precision = Precision::bf16;
    return trial;
  }

  static fakes::EngineResult train(const SmallWorld& world, const std::vector<TrialToRun>& trials,
                                   const EngineSetup& setup) {
    MemoryDiskTier disk;
    return fakes::train(world, trials, setup, disk);
  }

  /// Whole or cut, in memory or through the disk, on devices with memory of their own or without.
  static void expect_same_bits(const SmallWorld& world, const TrialToRun& trial, const char* what) {
    EngineSetup plain;
    plain.emulated = plain.copies = false;
    const auto expected = train(world, {trial}, plain);
    const auto layers = static_cast<std::uint32_t>(trial.source->description().layers.size());
    for (const auto& cuts : std::vector<std::vector<std::uint32_t>>{{}, {2}, {1, 2, layers - 1}})
      for (const bool emulated : {false, true})
        for (const double share : {1.0, 0.3})
          for (const bool in_window : {false, true}) {
            EngineSetup setup;
            setup.cuts = cuts;
            setup.emulated = emulated;
            setup.window_share = share;
            setup.frozen_in_window = in_window;
            setup.execute.keep_activations = share == 1;
            const auto result = train(world, {trial}, setup);
            const auto where = text::cat(what, ": ", cuts.size(), " cuts, emulated ", emulated, ", share ", share,
                                         ", in window ", in_window);
            EXPECT_EQ(result.errors[0], "") << where;
            EXPECT_EQ(result.outcomes[0], expected.outcomes[0]) << where;
            EXPECT_EQ(result.curves[0], expected.curves[0]) << where;
          }
  }
};

TEST_F(WorkingCopies, BitsAreThoseWithoutThem) {
  const SmallWorld bert(fakes::kTinyBert), gpt2(fakes::kTinyGpt2);
  for (const UpdatePlace place : {UpdatePlace::device, UpdatePlace::host})
    for (const bool clip : {false, true}) {
      const auto with = [&](TrialToRun trial) {
        trial.train.update = place;
        if (clip) trial.train.clip_norm = 0.05;
        return trial;
      };
      const auto none = [](ModelSpec&) {};
      expect_same_bits(gpt2, with(trial_of(gpt2, ModelTask::causal_lm, none)), "tied words");
      expect_same_bits(bert,
                       with(trial_of(bert, ModelTask::sequence_classification,
                                     [](ModelSpec& spec) {
                                       spec.adapter = kLora;
                                       spec.freeze = 2;
                                     })),
                       "adapters and frozen layers");
    }
  TrialToRun frozen = trial_of(gpt2, ModelTask::causal_lm, [](ModelSpec& spec) { spec.adapter = kLora; });
  expect_same_bits(gpt2, frozen, "adapters, and frozen words that are tied");
  fakes::skip_some_steps(frozen.train);
  expect_same_bits(gpt2, frozen, "the same in fp16");
  TrialToRun tied = trial_of(gpt2, ModelTask::causal_lm, [](ModelSpec&) {});
  fakes::skip_some_steps(tied.train);
  expect_same_bits(gpt2, tied, "tied words in fp16");
}

TEST_F(WorkingCopies, InterleavedTrialsOfOneBase) {
  const SmallWorld world(fakes::kTinyBert);
  world.give_weights();
  std::vector<TrialToRun> trials;
  std::vector<std::string> expected;
  for (std::uint64_t seed = 0; seed < 4; ++seed) {
    trials.push_back(trial_of(world, ModelTask::sequence_classification, [](ModelSpec& spec) {
      spec.adapter = kLora;
      spec.freeze = 1;
    }));
    trials.back().seed = seed;
    trials.back().train.update = seed % 2 == 0 ? UpdatePlace::host : UpdatePlace::device;
    if (seed == 3) trials.back().train.precision = Precision::fp32;  // of the same base, in another form
    EngineSetup plain;
    plain.copies = false;
    expected.push_back(train(world, {trials.back()}, plain).outcomes[0]);
  }
  for (const std::uint32_t devices : {1u, 2u}) {
    EngineSetup setup;
    setup.cuts = {1, 3, 5};
    setup.devices = devices;
    const auto result = train(world, trials, setup);
    for (std::size_t i = 0; i < trials.size(); ++i) EXPECT_EQ(result.outcomes[i], expected[i]) << i;
  }
}

TEST_F(WorkingCopies, ReadingWhatIsRoundedIsTheDisks) {
  const SmallWorld world(fakes::kTinyBert);
  TrialToRun trial = trial_of(world, ModelTask::sequence_classification, [](ModelSpec&) {});
  EngineSetup setup;
  setup.cuts = {2, 4};
  const auto causes = [&] {
    MemoryDiskTier disk;
    disk.faults.delay_s = 0.005;  // of what is restored, and only then rounded
    return fakes::train(world, {trial}, setup, disk).devices[0].idle_s;
  };
  auto waits = causes();
  EXPECT_GT(waits["disk"], waits["rounding"]);
  trial.train.precision = Precision::fp32;
  EXPECT_FALSE(causes().contains("rounding"));
}

TEST_F(WorkingCopies, WhatIsCutWhileItRunsGoesOnWithoutThem) {
  const SmallWorld world(fakes::kTinyGpt2);
  const TrialToRun trial = trial_of(world, ModelTask::causal_lm, [](ModelSpec&) {});
  EngineSetup plain;
  plain.copies = false;
  const std::string expected = train(world, {trial}, plain).outcomes[0];
  bool any = false;
  for (const Bytes memory : {560 * KiB, 640 * KiB, 720 * KiB, 800 * KiB}) {
    EngineSetup setup;
    setup.device_memory = memory;
    const auto result = train(world, {trial}, setup);
    EXPECT_EQ(result.outcomes[0], expected) << memory;
    any |= result.devices[0].recuts > 0;
  }
  EXPECT_TRUE(any) << "nothing ran out of memory";
}

/// What goes over the links of an engine that takes nothing over from one task to the next.
struct Traffic {
  Bytes loaded = 0, stored = 0, planned_loaded = 0, planned_stored = 0;
};

Traffic traffic_of(const SmallWorld& world, TrialToRun trial, bool copies) {
  trial.evaluate = false;
  trial.visits = 1;
  EngineSetup setup;
  setup.cuts = {1, 3};
  setup.copies = copies;
  setup.execute.double_buffer = setup.execute.keep_activations = false;
  MemoryDiskTier disk;
  const auto result = fakes::train(world, {trial}, setup, disk);
  TrialSetup planned = fakes::trial_setup(world, trial, 0, setup);
  planned.limits.update_on_host = is_two_pass(trial.train) || updates_on_host(trial.train);
  planned.plan = plan_cuts(planned, setup.cuts);
  Traffic traffic{result.devices[0].link.loaded, result.devices[0].link.stored};
  const auto program = training_program(planned);
  for (const auto& task : program) {
    const ShardPlan& shard = planned.plan.shards[task.shard];
    if (task.kind == TaskKind::update) continue;  // in host memory
    traffic.planned_loaded += task.kind == TaskKind::forward ? shard.forward_load_bytes : shard.backward_load_bytes;
    if (task.kind == TaskKind::backward) traffic.planned_stored += shard.store_bytes;
  }
  traffic.planned_loaded *= planned.total_steps;
  traffic.planned_stored *= planned.total_steps;
  return traffic;
}

TEST_F(WorkingCopies, TheLinkCarriesWhatIsPlanned) {
  const SmallWorld bert(fakes::kTinyBert);
  const auto task = ModelTask::sequence_classification;
  for (const auto& [place, precision] : {std::pair{UpdatePlace::device, Precision::bf16},
                                         {UpdatePlace::host, Precision::bf16},
                                         {UpdatePlace::device, Precision::fp16}})
    for (const bool adapters : {false, true}) {
      TrialToRun trial = trial_of(bert, task, [&](ModelSpec& spec) {
        if (adapters) spec.adapter = kLora;
      });
      trial.train.update = place;
      trial.train.precision = precision;
      const Traffic with = traffic_of(bert, trial, true), without = traffic_of(bert, trial, false);
      // Boundaries are the rest, and the same in both.
      EXPECT_EQ(with.loaded - with.planned_loaded, without.loaded - without.planned_loaded) << adapters;
      EXPECT_EQ(with.stored - with.planned_stored, without.stored - without.planned_stored) << adapters;
      EXPECT_LT(with.loaded, without.loaded);
      if (!is_two_pass(trial.train) && place == UpdatePlace::device) continue;
      EXPECT_NEAR(2.0 * with.planned_loaded, without.planned_loaded, 0.001 * without.planned_loaded)
          << "but for padding";
      EXPECT_EQ(with.stored, without.stored);
    }
}

TEST_F(WorkingCopies, PlansCountTheirBytes) {
  const SmallWorld world(fakes::kTinyBert);
  TrialToRun trial = trial_of(world, ModelTask::sequence_classification, [](ModelSpec&) {});
  const auto setup_of = [&](std::vector<std::uint32_t> cuts, bool copies) {
    EngineSetup setup;
    setup.cuts = std::move(cuts);
    setup.copies = copies;
    return fakes::trial_setup(world, trial, 0, setup);
  };
  const TrialSetup with = setup_of({2}, true), without = setup_of({2}, false);
  Bytes copies = 0;
  for (std::uint32_t l = 0; l < with.costs.size(); ++l)
    copies += HostBuffer::rounded(packed_bytes(layout_of(with, l, Part::own).bytes));
  EXPECT_EQ(trial_state_bytes(with), trial_state_bytes(without) + copies);
  EXPECT_GT(trial_window_min(with), trial_window_min(without));
  EXPECT_EQ(trial_state_bytes(setup_of({}, true)), trial_state_bytes(setup_of({}, false))) << "stays on the device";
  // On a device, a task that updates there has room for new copies where it would have made some to compute with.
  DeviceLimits link = with.limits;
  link.load_bytes_per_s = link.store_bytes_per_s = 1e9;
  DeviceLimits bare = link;
  bare.own_copies = bare.frozen_copies = false;
  const ShardPlan shard = make_shard(with.costs, 0, 2, link), before = make_shard(with.costs, 0, 2, bare);
  const Bytes own = before.forward_load_bytes;
  EXPECT_EQ(2 * shard.forward_load_bytes, own);
  EXPECT_EQ(shard.forward_workspace, before.forward_workspace - own / 2);
  EXPECT_EQ(shard.backward_load_bytes, before.backward_load_bytes);
  EXPECT_EQ(shard.new_copy_bytes, own / 2);
  EXPECT_EQ(shard.store_bytes, before.store_bytes + own / 2);
  EXPECT_EQ(shard_need(shard, link), shard_need(before, bare)) << "the backward pass is the widest";
  link.update_on_host = bare.update_on_host = true;
  EXPECT_EQ(shard_need(make_shard(with.costs, 0, 2, link), link) + own,
            shard_need(make_shard(with.costs, 0, 2, bare), bare));
}

/// What it borrows is a copy as well.
TEST_F(WorkingCopies, TheSmallestWindowIsWhatATaskNeeds) {
  const SmallWorld world(fakes::kTinyGpt2);
  const TrialToRun trial = trial_of(world, ModelTask::causal_lm, [](ModelSpec&) {});
  EngineSetup engine;
  engine.cuts = {1};
  engine.window_share = 0;
  const TrialSetup setup = fakes::trial_setup(world, trial, 0, engine);
  Bytes last_shard = HostBuffer::rounded(copy_bytes(setup, 0, Part::own));  // of the words, for the head
  for (std::uint32_t l = 1; l < setup.costs.size(); ++l) {
    const LayerLayout own = layout_of(setup, l, Part::own);
    last_shard += HostBuffer::rounded(own.bytes) + HostBuffer::rounded(moment_bytes(setup, own)) +
                  HostBuffer::rounded(copy_bytes(setup, l, Part::own));
  }
  EXPECT_EQ(trial_window_min(setup), last_shard);
  EngineSetup plain;
  plain.copies = false;
  const auto result = train(world, {trial}, engine);
  EXPECT_EQ(result.errors[0], "");
  EXPECT_EQ(result.outcomes[0], train(world, {trial}, plain).outcomes[0]);
}

TEST_F(WorkingCopies, FrozenLayersAreRoundedOnceForAll) {
  const SmallWorld world(fakes::kTinyBert);
  world.give_weights();
  const TrialToRun trial =
      trial_of(world, ModelTask::sequence_classification, [](ModelSpec& spec) { spec.freeze = 2; });
  EngineSetup engine;
  const TrialSetup setup = fakes::trial_setup(world, trial, 0, engine);
  for (const FrozenForm form : {FrozenForm::bf16, FrozenForm::fp16}) {
    HostTier host(16 * MiB);
    FrozenStore store(host);
    const auto layers = shared_layers(setup);
    EXPECT_EQ(store.missing_bytes(*setup.source, layers, 1, form), shared_layer_bytes(setup));
    std::vector<std::shared_ptr<const FrozenLayer>> held;
    Bytes bytes = 0;
    for (const auto layer : layers) {
      held.push_back(store.get(*setup.source, layer, 1, form));
      EXPECT_EQ(store.get(*setup.source, layer, 2, form), held.back());
      const LayerLayout layout = layout_of(setup, layer, Part::shared);
      bytes += HostBuffer::rounded(packed_bytes(layout.bytes));
      std::vector<float> whole(layout.bytes / sizeof(float));
      setup.source->initialise(layer, Part::shared, 1, std::as_writable_bytes(std::span(whole)));
      const at::Tensor cast = at::from_blob(whole.data(), {static_cast<std::int64_t>(whole.size())}, at::kFloat)
                                  .to(form == FrozenForm::bf16 ? at::kBFloat16 : at::kHalf);
      EXPECT_EQ(std::memcmp(cast.const_data_ptr(), held.back()->bytes.data(), cast.nbytes()), 0) << layer;
      EXPECT_EQ(held.back()->digests, store.get(*setup.source, layer, 1)->digests) << "of the numbers as they are";
    }
    EXPECT_EQ(host.used(), bytes);
    EXPECT_LE(host.peak(), shared_layer_bytes(setup) + bytes) << "and no more";
    EXPECT_EQ(store.missing_bytes(*setup.source, layers, 1, form), 0u);
  }
}

TEST_F(WorkingCopies, FrozenLayersThatSomebodyHoldsWholeAreNotReadToBeRounded) {
  const SmallWorld world(fakes::kTinyBert);
  world.give_weights();
  const TrialToRun trial =
      trial_of(world, ModelTask::sequence_classification, [](ModelSpec& spec) { spec.freeze = 2; });
  const TrialSetup setup = fakes::trial_setup(world, trial, 0, {});
  HostTier host(16 * MiB);
  FrozenStore store(host);
  const auto layers = shared_layers(setup);
  std::vector<std::shared_ptr<const FrozenLayer>> held;
  for (const auto layer : layers) held.push_back(store.get(*setup.source, layer, 1));
  Bytes rounded = 0;
  for (const auto layer : layers) rounded += HostBuffer::rounded(copy_bytes(setup, layer, Part::shared));
  EXPECT_EQ(store.missing_bytes(*setup.source, layers, 1, FrozenForm::bf16), rounded);
  const Bytes before = host.used();
  for (std::size_t i = 0; i < layers.size(); ++i) {
    const auto copy = store.get(*setup.source, layers[i], 1, FrozenForm::bf16);
    std::vector<std::byte> packed(packed_bytes(held[i]->bytes.size()));
    pack_to_bf16(held[i]->bytes.span(), packed);
    EXPECT_EQ(std::memcmp(packed.data(), copy->bytes.data(), packed.size()), 0) << i;
    EXPECT_EQ(copy->digests, held[i]->digests);
    held.push_back(copy);
  }
  EXPECT_EQ(host.used(), before + rounded);
  EXPECT_EQ(host.peak(), before + rounded) << "nothing was read beside them";
}

TEST_F(WorkingCopies, CommitsNameNoneAndRestoredTrialsMakeThem) {
  const SmallWorld world(fakes::kTinyBert);
  const TrialToRun trial =
      trial_of(world, ModelTask::sequence_classification, [](ModelSpec& spec) { spec.freeze = 2; });
  EngineSetup engine;
  engine.cuts = {2, 4};
  engine.frozen_in_window = true;
  engine.window_share = 0.3;
  fakes::TrialHome home(world, trial, engine);
  const TrialSetup& setup = home.setup;
  const auto first = home.run();
  first->initialise();
  const auto state = first->cache().commit();
  EXPECT_GT(home.disk.used(), committed_bytes(setup)) << "copies that the window does not hold are spilled";
  EXPECT_LE(home.disk.used(), trial_disk_bytes(setup));
  const auto layers = static_cast<std::uint32_t>(setup.costs.size());
  for (const auto& place : state) EXPECT_LT(place.blob, copies_blob(setup, 0, Part::own));
  std::mutex mutex;
  std::condition_variable changed;
  std::atomic<TrialRun*> restored = nullptr;
  std::atomic<int> rounded = 0;
  const auto second = home.run([&] {
    const TrialRun* const run = restored;
    if (run != nullptr && run->rounds_copies()) ++rounded;
    const std::lock_guard lock(mutex);
    changed.notify_all();
  });
  restored = second.get();
  second->restore(state);
  for (std::uint32_t l = 0; l < layers; ++l) {
    const bool own = is_trainable(setup, l);
    const std::uint32_t master = own ? parameters_blob(l) : frozen_blob(setup, l);
    const std::uint32_t copy = copies_blob(setup, l, own ? Part::own : Part::shared);
    const std::uint32_t both[] = {master, copy};
    {
      std::unique_lock lock(mutex);
      ASSERT_TRUE(changed.wait_for(lock, std::chrono::seconds(20), [&] { return second->copies_made(both); })) << l;
    }
    second->cache().acquire_blocking(both);
    const auto floats = second->cache().bytes(master);
    std::vector<std::byte> packed(packed_bytes(floats.size()));
    pack_to_bf16(floats, packed);
    EXPECT_EQ(std::memcmp(packed.data(), second->cache().bytes(copy).data(), floats.size() / 2), 0) << l;
    second->cache().release(both, false);
  }
  EXPECT_GE(rounded, static_cast<int>(layers)) << "it tells when what it rounds is there";
  EXPECT_FALSE(second->rounds_copies());
}

}  // namespace
}  // namespace hopyard
