#include "lora_bench.h"

#include <numeric>

#include "base/failure.h"
#include "fakes/small_world.h"
#include "fakes/sweep_run.h"

namespace hopyard {

namespace {

/// 25 MB of which each trial trains 1 to 2 %; a device holds about a third.
constexpr const char* kBackbone =
    R"({"model_type":"bert","vocab_size":97,"hidden_size":256,"num_hidden_layers":8,"num_attention_heads":4,
"intermediate_size":1024,"max_position_embeddings":16,"type_vocab_size":2,"hidden_dropout_prob":0.1,
"attention_probs_dropout_prob":0.1,"hidden_act":"gelu","initializer_range":0.02,"layer_norm_eps":1e-12})";

struct Size {
  const char* backbone = kBackbone;
  const char *memory = "10MiB", *link = "50MB/s";
  std::uint32_t rows = 24;
};

Size size_of(const BenchScale& scale) {
  if (scale.quick) return {fakes::kTinyBert, "400KiB", "40MB/s", 8};
  return {};
}

/// Two ranks × four learning rates on one emulated device.
ExperimentConfig sweep(const fakes::SmallWorld& world, const Size& size, const char* sharing) {
  const std::string data = world.folder / "data";
  return parse_config(
      text::cat("version: 1\nname: lora\nseed: 17\ndata: {train: ", data, ", valid: ", data, ", train_rows: ",
                size.rows, ", valid_rows: 8, partitions: 1}\nmodel: {checkpoint: ", world.folder / "model",
                ", task: sequence-classification, head: linear, adapter: {type: lora, rank: {grid: [4, 8]}}}\n",
                "train: {epochs: 1, batch_size: 4, optimizer: {type: adamw, lr: {grid: [1.0e-4, 3.0e-4, 1.0e-3, ",
                "3.0e-3]}}}\nsearch: {method: grid, metric: valid/accuracy}\nresources: {devices: [{type: emulated, ",
                "count: 1, threads: 1, memory: ", size.memory, ", link: ", size.link,
                "}], host_memory: 1GiB, disk: {path: spill, capacity: 8GiB}}\nexecute: {sharing: ", sharing, "}\n"),
      "sweep", {});
}

fakes::SweepResult run(const ExperimentConfig& config) {
  fakes::SweepStore store;
  return fakes::run_sweep(config, store);
}

Bytes loaded_bytes(const fakes::SweepResult& result) {
  return std::accumulate(result.devices.begin(), result.devices.end(), Bytes{0},
                         [](Bytes sum, const DeviceReport& device) { return sum + device.link.loaded; });
}

std::string described(const fakes::SweepResult& result) {
  return text::cat(text::format_number(result.wall_s, 1), " s, ", text::format_bytes(loaded_bytes(result)),
                   " over the link, ", text::format_bytes(result.host_peak), " of host memory");
}

}  // namespace

std::vector<BenchRow> bench_lora(const BenchScale& scale) {
  const Size size = size_of(scale);
  const fakes::SmallWorld world(size.backbone);
  world.give_weights();
  const auto on = run(sweep(world, size, "auto")), off = run(sweep(world, size, "off"));
  require(on.outcomes == off.outcomes && on.outcomes.size() == 8, "sharing changed what a sweep gives");
  require(on.plan.groups.front().frozen_bytes > 0, "nothing was shared");
  return {{"8 LoRA trials of one backbone, emulated device with a slow link, sharing off ÷ on", off.wall_s / on.wall_s,
           "ratio", 2, 4, false,
           text::cat(described(off), " ÷ ", described(on), "; same digests; as planned ",
                     text::format_number(off.plan.predicted_s / on.plan.predicted_s, 2))}};
}

}  // namespace hopyard
