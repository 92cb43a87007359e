#include "fakes/small_world.h"

#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/rng.h"
#include "fakes/whole_model.h"
#include "model/judge.h"
#include "model/layer.h"

namespace hopyard::fakes {
namespace {

/// For models that take features.
void write_features(const std::string& folder, std::uint32_t rows) {
  std::filesystem::create_directories(folder);
  const std::int64_t n = rows;
  const std::vector<TensorToWrite> columns{{"features", Dtype::f32, {n, 16}}, {"labels", Dtype::i32, {n}}};
  KeyedStream stream(98);
  write_safetensors(folder + "/part-00000.safetensors", columns, [&](std::size_t index, std::span<std::byte> out) {
    for (std::size_t i = 0; i < out.size() / 4; ++i) {
      const auto drawn = static_cast<std::int32_t>(stream.below(index == 0 ? 1000 : 3));
      const float feature = static_cast<float>(drawn) / 500 - 1;
      std::memcpy(out.data() + i * 4, index == 0 ? static_cast<const void*>(&feature) : &drawn, 4);
    }
  });
  std::ofstream(folder + "/dataset.json")
      << R"({"format":"hopyard-dataset","version":1,"rows":)" << rows
      << R"(,"columns":{"features":{"dtype":"F32","shape":[16]},"labels":{"dtype":"I32","shape":[]}},)"
      << R"("labels":["a","b","c"],"source":{"digest":"","file":""},)"
      << R"("parts":[{"file":"part-00000.safetensors","rows":)" << rows << "}]}";
}

void write_data(const std::string& folder, std::uint32_t rows) {
  std::filesystem::create_directories(folder);
  const std::int64_t n = rows;
  const std::vector<TensorToWrite> columns{
      {"attention_mask", Dtype::u8, {n, 8}}, {"input_ids", Dtype::i32, {n, 8}}, {"labels", Dtype::i32, {n}}};
  KeyedStream stream(99);
  write_safetensors(folder + "/part-00000.safetensors", columns, [&](std::size_t index, std::span<std::byte> out) {
    for (std::size_t i = 0; i < out.size() / (index == 0 ? 1 : 4); ++i) {
      const auto value = static_cast<std::int32_t>(index == 1 ? stream.below(97) : stream.below(3));
      if (index == 0) {
        out[i] = std::byte{static_cast<unsigned char>(i % 8 < 5 + i / 8 % 4)};
      } else {
        std::memcpy(out.data() + i * 4, &value, 4);
      }
    }
  });
  std::ofstream(folder + "/dataset.json")
      << R"({"format":"hopyard-dataset","version":1,"rows":)" << rows
      << R"(,"columns":{"input_ids":{"dtype":"I32","shape":[8]},"attention_mask":{"dtype":"U8","shape":[8]},)"
      << R"("labels":{"dtype":"I32","shape":[]}},"labels":["a","b","c"],"vocabulary":97,)"
      << R"("source":{"digest":"","file":""},"parts":[{"file":"part-00000.safetensors","rows":)" << rows << "}]}";
}

}  // namespace

SmallWorld::SmallWorld(const char* config, std::uint32_t rows) {
  std::filesystem::create_directories(folder / "model");
  folder.write("model/config.json", config);
  (std::string(config).find("mlp") != std::string::npos ? write_features : write_data)(folder / "data", rows);
  data = std::make_shared<Dataset>(folder / "data");
}

std::shared_ptr<ModelSource> SmallWorld::source(ModelTask task, std::int64_t freeze,
                                                std::vector<std::string> train_only) const {
  ModelSpec spec;
  spec.checkpoint = folder / "model";
  spec.task = task;
  spec.freeze = freeze;
  spec.train_only = std::move(train_only);
  return std::make_shared<ModelSource>(spec, data_shape(*data, task));
}

void SmallWorld::give_weights() const {
  const auto drawn = source(ModelTask::sequence_classification);
  drawn->export_to(folder / "model", [&](std::uint32_t layer, Part part, std::span<std::byte> out) {
    drawn->initialise(layer, part, 1, out);
  });
}

std::string outcome(const Digest& digest, const std::optional<MetricSums>& judged) {
  if (!judged) return to_hex(digest);
  char text[96];
  std::snprintf(text, sizeof text, " loss %a correct %a items %lld", judged->loss, judged->correct,
                static_cast<long long>(judged->items));
  return to_hex(digest) + text;
}

std::vector<std::uint32_t> visit_rows(const TrialToRun& trial, std::uint32_t visit) {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t i = 0; i < trial.rows_per_visit; ++i) rows.push_back((visit * 7 + i * 3) % 40);
  return rows;
}

TrialSetup trial_setup(const SmallWorld& world, const TrialToRun& trial, std::uint32_t number,
                       const EngineSetup& setup) {
  TrialSetup one;
  one.number = number;
  one.id = "t" + std::to_string(number);
  one.seed = trial.seed;
  one.source = trial.source;
  one.train_data = one.valid_data = world.data;
  one.train_rows = world.data->rows();
  one.valid_rows = trial.evaluate ? kValidRows : 0;
  one.train = trial.train;
  one.first_layer = trial.first_layer;
  one.total_steps = batch_count(trial.rows_per_visit, one.train.batch_size) * trial.visits;
  one.costs = layer_sizes(*one.source, one.train);
  one.limits.memory = setup.device_memory;
  one.limits.frozen_copies = one.limits.own_copies = setup.copies && computes_in_half(one.train.precision);
  one.frozen_in_window = setup.frozen_in_window;
  one.plan = plan_cuts(one, setup.cuts);
  const Bytes whole = trial_state_bytes(one);
  one.window = std::max(trial_window_min(one), static_cast<Bytes>(static_cast<double>(whole) * setup.window_share));
  return one;
}

TrialFeatures features_by_hand(const SmallWorld& world, const TrialToRun& trial, HostTier& host) {
  if (trial.first_layer == 0) return {};
  WholeModel whole(*trial.source, trial.seed, trial.train.optimizer, trial.train.precision);
  const Bytes row_bytes =
      hopyard::row_bytes(trial.source->description().layers[trial.first_layer - 1], trial.train.precision);
  const auto make = [&](std::uint32_t count) {
    auto features = std::make_shared<Features>(*host.reserve(Features::bytes_for(count, row_bytes)), count, row_bytes);
    std::vector<std::uint32_t> rows(count);
    for (std::uint32_t row = 0; row < count; ++row) rows[row] = row;
    std::vector<at::Tensor> tensors;
    for (const Batch& batch :
         make_batches(*world.data, trial.source->spec().task, rows, trial.train.micro_batch_size)) {
      const at::NoGradGuard no_graph;
      at::Tensor x;
      for (std::uint32_t l = 0; l < trial.first_layer; ++l)
        x = whole.module(l).forward(x, batch, Pass{false, 0, l, at::Generator()});
      tensors.push_back(x.contiguous());
    }
    for (const auto& copy : scatter_rows(*features, rows, tensors)) std::memcpy(copy.to, copy.from, copy.bytes);
    features->note(rows, trial.first_layer, row_shape_of(tensors));
    return features;
  };
  return {make(world.data->rows()), trial.evaluate ? make(kValidRows) : nullptr, nullptr};
}

EngineResult train(const SmallWorld& world, const std::vector<TrialToRun>& trials, const EngineSetup& setup,
                   DiskTier& disk) {
  install_counting_allocator();
  HostTier host(setup.host_memory);
  IoPool pool(2);
  FrozenStore frozen(host);
  std::vector<std::unique_ptr<Device>> devices;
  for (std::uint32_t i = 0; i < setup.devices; ++i) {
    DeviceSpec spec;
    spec.memory = setup.device_memory;
    spec.link_bytes_per_s = setup.link_bytes_per_s;
    spec.type = setup.emulated ? DeviceSpec::Type::emulated : DeviceSpec::Type::cpu;
    if (setup.make_device)
      devices.push_back(setup.make_device(i, spec.memory));
    else
      devices.push_back(setup.emulated ? make_emulated_device(spec, i, nullptr)
                                       : make_cpu_device(spec, i, spec.memory));
    if (setup.actions != nullptr)
      devices.back() = std::make_unique<RecordingDevice>(std::move(devices.back()), *setup.actions);
  }
  EngineResult result;
  result.outcomes.resize(trials.size());
  result.errors.resize(trials.size());
  result.broken.resize(trials.size());
  result.curves.resize(trials.size());
  result.skipped_steps.resize(trials.size());
  {
    Executor executor(setup.execute, 5, std::move(devices), host, nullptr);
    std::vector<std::shared_ptr<TrialRun>> runs;  // end before the executor, which their disk work wakes
    std::vector<TrialSetup> setups;
    std::vector<TrialFeatures> features;
    for (const auto& trial : trials) features.push_back(features_by_hand(world, trial, host));
    const auto make_run = [&](const TrialSetup& one) {
      auto grant = grant_trial(one, host, frozen, features[one.number]);
      require(grant.has_value(), "the host tier of the test is too small");
      return std::make_shared<TrialRun>(one, std::move(*grant), disk, pool, [&executor] { executor.wake(); });
    };
    for (std::uint32_t i = 0; i < trials.size(); ++i) {
      setups.push_back(trial_setup(world, trials[i], i, setup));
      runs.push_back(make_run(setups.back()));
      runs.back()->initialise();
    }
    std::size_t left = 0;
    const auto start = [&](std::uint32_t i, std::uint32_t index) {
      const std::uint64_t steps = batch_count(trials[i].rows_per_visit, trials[i].train.batch_size);
      const bool evaluate = trials[i].evaluate && index + 1 == trials[i].visits;
      Visit visit{0, index, index, visit_rows(trials[i], index), steps * index, evaluate};
      if (setup.tie && i == 0) {
        visit.share = setup.share;
        visit.tie = setup.tie(index);
      }
      executor.start_visit(runs[i], std::move(visit));
      ++left;
    };
    std::jthread other;
    if (setup.meanwhile) other = std::jthread([&] { setup.meanwhile(executor); });
    for (std::uint32_t i = 0; i < trials.size(); ++i) start(i, 0);
    while (left > 0) {
      auto finished = executor.wait_finished(20);
      require(finished.has_value(), "the engine came to a stop:\n", executor.diagnosis());
      --left;
      const std::uint32_t i = finished->trial;
      if (finished->error) {
        try {
          std::rethrow_exception(finished->error);
        } catch (const Failure&) {
          throw;  // what does not fit ends the test's run
        } catch (const ExchangeBroken& error) {
          result.errors[i] = error.what();
          result.broken[i] = true;
        } catch (const std::exception& error) {
          result.errors[i] = error.what();
        }
        continue;
      }
      result.skipped_steps[i] += finished->skipped_steps;
      auto& curve = result.curves[i];
      curve.insert(curve.end(), finished->curve.begin(), finished->curve.end());
      const auto state = runs[i]->commit();
      runs[i]->cache().drop_superseded();
      runs[i].reset();
      runs[i] = make_run(setups[i]);
      runs[i]->restore(state);
      if (finished->visit.index + 1 < trials[i].visits)
        start(i, finished->visit.index + 1);
      else
        result.outcomes[i] = outcome(
            runs[i]->digest(), finished->judged.empty() ? std::nullopt : std::optional(add_up(finished->judged).sums));
    }
    result.devices = executor.devices();
  }
  result.host_peak = host.peak();
  return result;
}

void skip_some_steps(TrainSpec& train) {
  train.precision = Precision::fp16;
  train.loss_scale = {.initial = 0x1p20, .growth_steps = 2};
}

std::string train_whole(const SmallWorld& world, const TrialToRun& trial) {
  WholeModel whole(*trial.source, trial.seed, trial.train.optimizer, trial.train.precision, trial.train.loss_scale);
  std::uint64_t step = 0;
  const std::uint64_t total = batch_count(trial.rows_per_visit, trial.train.batch_size) * trial.visits;
  for (std::uint32_t visit = 0; visit < trial.visits; ++visit) {
    const auto rows = visit_rows(trial, visit);
    for (std::size_t begin = 0; begin < rows.size(); begin += trial.train.batch_size, ++step) {
      const auto count = std::min<std::size_t>(trial.train.batch_size, rows.size() - begin);
      const auto batches = make_batches(*world.data, trial.source->spec().task, std::span(rows).subspan(begin, count),
                                        trial.train.micro_batch_size);
      whole.train_step(batches, learning_rate(trial.train.schedule, trial.train.optimizer.lr, step, total),
                       trial.train.clip_norm, step);
    }
  }
  if (!trial.evaluate) return outcome(whole.digest(), std::nullopt);
  MetricSums sums;
  for (std::uint32_t begin = 0; begin < kValidRows; begin += trial.train.batch_size) {
    std::vector<std::uint32_t> rows;
    for (std::uint32_t row = begin; row < std::min(kValidRows, begin + trial.train.batch_size); ++row)
      rows.push_back(row);
    Judge judge(*trial.source);
    for (const Batch& batch : make_batches(*world.data, trial.source->spec().task, rows, trial.train.micro_batch_size))
      judge.add(whole.logits(batch), batch);
    sums.add(judge.read().sums);
  }
  return outcome(whole.digest(), sums);
}

}  // namespace hopyard::fakes
