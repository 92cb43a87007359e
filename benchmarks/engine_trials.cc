#include "engine_trials.h"

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/clock.h"
#include "base/failure.h"
#include "base/rng.h"
#include "fakes/whole_model.h"
#include "pipeline/batches.h"
#include "pipeline/compute_thread.h"

namespace hopyard {

namespace {

constexpr std::uint32_t kRows = 64;

std::string temporary_folder() {
  std::string pattern = "build/bench_XXXXXX";
  std::filesystem::create_directories("build");
  require(::mkdtemp(pattern.data()) != nullptr, "cannot make ", pattern);
  return pattern;
}

}  // namespace

BenchModel::BenchModel(int width, int layers, int vocabulary, int tokens, std::uint32_t batch_size, int heads,
                       double dropout)
    : folder_(temporary_folder()) {
  std::ofstream(folder_ + "/config.json")
      << R"({"model_type":"gpt2","activation_function":"gelu_new","initializer_range":0.02,"layer_norm_epsilon":1e-5)"
      << ",\"resid_pdrop\":" << dropout << ",\"embd_pdrop\":" << dropout << ",\"attn_pdrop\":" << dropout
      << ",\"n_head\":" << heads << ",\"vocab_size\":" << vocabulary << ",\"n_embd\":" << width
      << ",\"n_layer\":" << layers << ",\"n_positions\":" << tokens << "}";
  const std::vector<TensorToWrite> columns{{"input_ids", Dtype::i32, {kRows, tokens}}};
  KeyedStream stream(7);
  write_safetensors(folder_ + "/part-00000.safetensors", columns, [&](std::size_t, std::span<std::byte> out) {
    for (std::size_t i = 0; i < out.size(); i += 4) {
      const auto id = static_cast<std::int32_t>(stream.below(static_cast<std::uint64_t>(vocabulary)));
      std::memcpy(out.data() + i, &id, 4);
    }
  });
  std::ofstream(folder_ + "/dataset.json")
      << R"({"format":"hopyard-dataset","version":1,"rows":)" << kRows
      << R"(,"columns":{"input_ids":{"dtype":"I32","shape":[)" << tokens << R"(]}},"vocabulary":)" << vocabulary
      << R"(,"source":{"digest":"","file":""},"parts":[{"file":"part-00000.safetensors","rows":)" << kRows << "}]}";
  data = std::make_shared<Dataset>(folder_);
  ModelSpec spec;
  spec.checkpoint = folder_;
  spec.task = ModelTask::causal_lm;
  source = std::make_shared<ModelSource>(spec, data_shape(*data, ModelTask::causal_lm));
  train.batch_size = train.micro_batch_size = batch_size;
}

BenchModel::~BenchModel() {
  std::error_code ignored;
  std::filesystem::remove_all(folder_, ignored);
}

std::vector<std::uint32_t> BenchModel::first_rows(std::uint32_t count) const {
  std::vector<std::uint32_t> rows;
  for (std::uint32_t i = 0; i < count; ++i) rows.push_back(i % kRows);
  return rows;
}

std::vector<std::uint32_t> even_cuts(const ModelSource& source, std::uint32_t layers_per_shard) {
  std::vector<std::uint32_t> cuts;
  for (std::uint32_t l = layers_per_shard; l < source.description().layers.size(); l += layers_per_shard)
    cuts.push_back(l);
  return cuts;
}

EngineTimes run_engine(const BenchModel& model, const EngineRun& run) {
  HostTier host(run.host_memory);
  const auto disk = open_rocks_disk_tier({model.folder() + "/spill", 8 * GiB});
  IoPool pool(2);
  FrozenStore frozen(host);
  std::vector<std::unique_ptr<Device>> devices;
  for (std::uint32_t i = 0; i < run.devices; ++i) {
    DeviceSpec spec;
    spec.type = run.emulated ? DeviceSpec::Type::emulated : DeviceSpec::Type::cpu;
    spec.memory = run.device_memory;
    spec.link_bytes_per_s = run.link_bytes_per_s;
    spec.threads = run.threads;
    devices.push_back(run.emulated ? make_emulated_device(spec, i, nullptr) : make_cpu_device(spec, i, spec.memory));
  }
  EngineTimes times;
  std::vector<std::shared_ptr<TrialRun>> trials;
  Executor executor(run.execute, 1, std::move(devices), host, nullptr);
  const auto costs = profile_layers(*model.source, *model.data, model.train, unbounded_cpu(run.threads));
  for (std::uint32_t t = 0; t < run.trials; ++t) {
    TrialSetup setup;
    setup.number = t;
    setup.id = "t" + std::to_string(t);
    setup.seed = t;
    setup.source = model.source;
    setup.train_data = setup.valid_data = model.data;
    setup.train = model.train;
    setup.total_steps = run.steps + 1;
    setup.costs = costs;
    setup.limits.memory = run.device_memory;
    setup.limits.load_bytes_per_s = setup.limits.store_bytes_per_s = run.link_bytes_per_s;
    setup.plan = evaluate_cuts(costs, run.cuts, setup.limits);
    setup.window = std::max(trial_window_min(setup),
                            static_cast<Bytes>(static_cast<double>(trial_state_bytes(setup)) * run.window_share));
    auto grant = grant_trial(setup, host, frozen);
    require(grant.has_value(), "the benchmark's host memory is too small");
    trials.push_back(std::make_shared<TrialRun>(setup, std::move(*grant), *disk, pool, [&] { executor.wake(); }));
    trials.back()->initialise();
  }
  const auto visit = [&](std::uint32_t index, std::uint32_t steps, std::uint64_t first) {
    const auto await = [&](std::uint32_t count) {
      for (std::uint32_t i = 0; i < count; ++i) {
        auto ended = executor.wait_finished(600);
        require(ended.has_value(), "the engine came to a stop");
        if (ended->error) std::rethrow_exception(ended->error);
      }
    };
    for (auto& trial : trials) {
      executor.start_visit(trial, {0, index, 0, model.rows(steps), first, false});
      if (run.one_at_a_time) await(1);
    }
    if (!run.one_at_a_time) await(run.trials);
  };
  visit(0, 1, 0);
  const auto before = executor.devices();
  const DiskCounters disk_before = disk->counters();
  const double begin = monotonic_seconds();
  visit(1, run.steps, 1);
  times.wall_s = monotonic_seconds() - begin;
  const auto after = executor.devices();
  for (std::size_t d = 0; d < after.size(); ++d) {
    times.busy_s += after[d].busy_s - before[d].busy_s;
    times.load_s = std::max(times.load_s, after[d].link.load_busy_s - before[d].link.load_busy_s);
    times.store_s = std::max(times.store_s, after[d].link.store_busy_s - before[d].link.store_busy_s);
    times.loaded += after[d].link.loaded - before[d].link.loaded;
    times.stored += after[d].link.stored - before[d].link.stored;
  }
  times.workspace_peak = after[0].memory_peak;
  times.disk_read = disk->counters().read - disk_before.read;
  times.disk_written = disk->counters().written - disk_before.written;
  trials.clear();
  return times;
}

double run_bare_loop(const BenchModel& model, std::uint32_t steps, int threads) {
  double seconds = 0;
  on_compute_thread(unbounded_cpu(threads), [&](Device&) {
    fakes::WholeModel whole(*model.source, 1, model.train.optimizer);
    const auto step = [&](std::uint32_t index) {
      const auto rows = model.rows(index + 1);
      const auto batches = make_batches(*model.data, ModelTask::causal_lm, std::span(rows).last(model.train.batch_size),
                                        model.train.micro_batch_size);
      whole.train_step(batches, 1e-3, std::nullopt, index);
    };
    step(0);
    const double begin = monotonic_seconds();
    for (std::uint32_t i = 1; i <= steps; ++i) step(i);
    seconds = monotonic_seconds() - begin;
  });
  return seconds;
}

}  // namespace hopyard
