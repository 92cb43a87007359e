#include "schemes_bench.h"

#include <array>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <numbers>

#include "base/files.h"
#include "base/rng.h"
#include "data/partition_writer.h"
#include "formats/safetensors.h"
#include "sweeps.h"
#include "worker_runs.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;

/// Of each partition.
enum class Homes { one, all };

struct Scheme {
  const char* name;
  Homes homes;
  std::string data, train, workers, execute;  ///< keys of these sections
};

/// Where a step is several workers' work, each of them is home of all data.
std::vector<Scheme> schemes(std::uint32_t workers) {
  const std::string all = text::cat("replication: ", workers), one = "replication: 1";
  const auto team = [&](const char* sum) {
    return text::cat(", data_parallel: {degree: ", workers, ", sum: ", sum, "}");
  };
  return {{"task parallelism", Homes::all, ", order: free", "", all + ", scheduler: task, state_replicas: 1", ""},
          {"data parallelism, exact", Homes::all, "", team("ordered"), all, ""},
          {"data parallelism, all-reduce", Homes::all, "", team("all-reduce"), all, ""},
          {"parameter server, staleness 2", Homes::all, "", team("server, staleness: 2"), all, ""},
          {"MOP, one trial at a time", Homes::one, "", "", one, "active_trials: 1"},
          {"MOP × interleaving", Homes::one, "", "", one, ""}};
}

BenchRow row_of(const std::string& what, const FinishedRun& run, std::uint32_t workers, Bytes data_bytes) {
  return {what,
          run.wall_s,
          "s",
          {},
          {},
          true,
          text::cat(text::format_bytes(run.hop_bytes + run.exchanged_bytes), " over the network, at most ",
                    text::format_bytes(run.stored), " of states and ", text::format_bytes(data_bytes),
                    " of data stored, devices busy ", text::format_number(100 * run.busy_s / (workers * run.wall_s), 3),
                    " %, best score ", text::format_number(run.score, 4))};
}

Bytes bytes_below(const std::string& folder) {
  Bytes bytes = 0;
  for (const auto& file : fs::recursive_directory_iterator(folder))
    if (file.is_regular_file()) bytes += file.file_size();
  return bytes;
}

std::vector<BenchRow> table(const std::string& model, const WorkersConfig& base, std::uint32_t workers) {
  std::vector<BenchRow> rows;
  for (const Scheme& scheme : schemes(workers)) {
    WorkersConfig config = base;
    config.data = scheme.data;
    config.train_more += scheme.train;
    config.workers = scheme.workers;
    config.execute = scheme.execute;
    const std::string name = text::cat("scheme", rows.size());
    const FinishedRun run = run_workers(write_config(config, name), name, workers);
    const Bytes data = bytes_below(base.train) * (scheme.homes == Homes::all ? workers : 1);
    rows.push_back(row_of(text::cat(model, ", ", workers, " workers: ", scheme.name), run, workers, data));
    fs::remove_all(text::cat(kWorkersFolder, "/", name));
  }
  return rows;
}

// An MLP
// ---------------------------------------------------------------------------------------------------------------

constexpr std::uint32_t kFeatures = 64, kClasses = 8;

/// Rows around a centre for each class, near enough that some are mistaken.
void write_rows(const std::string& folder, std::uint32_t rows, std::uint64_t seed) {
  fs::create_directories(folder);
  KeyedStream centres(derive(1, "centres")), noise(derive(seed, "rows"));
  std::vector<float> centre(kClasses * kFeatures);
  for (float& value : centre) value = static_cast<float>(centres.uniform() - 0.5);
  const auto normal = [&] {  // Box and Muller
    return std::sqrt(-2 * std::log(1 - noise.uniform())) * std::cos(2 * std::numbers::pi * noise.uniform());
  };
  const std::int64_t n = rows;
  const std::array<TensorToWrite, 2> columns{TensorToWrite{"features", Dtype::f32, {n, kFeatures}},
                                             TensorToWrite{"labels", Dtype::i32, {n}}};
  write_safetensors(folder + "/part-00000.safetensors", columns, [&](std::size_t column, std::span<std::byte> out) {
    for (std::uint32_t row = 0; row < rows; ++row) {
      const std::int32_t label = static_cast<std::int32_t>(row % kClasses);
      if (column == 1) std::memcpy(out.data() + row * sizeof label, &label, sizeof label);
      for (std::uint32_t i = 0; column == 0 && i < kFeatures; ++i) {
        const auto value = static_cast<float>(centre[row % kClasses * kFeatures + i] + normal());
        std::memcpy(out.data() + (row * kFeatures + i) * sizeof value, &value, sizeof value);
      }
    }
  });
  write_file_atomically(
      folder + "/dataset.json",
      text::cat(R"({"format":"hopyard-dataset","version":1,"rows":)", rows,
                R"(,"columns":{"features":{"dtype":"F32","shape":[)", kFeatures,
                R"(]},"labels":{"dtype":"I32","shape":[]}},"labels":["a","b","c","d","e","f","g","h"],)",
                R"("source":{"digest":"","file":""},"parts":[{"file":"part-00000.safetensors","rows":)", rows, "}]}"));
}

}  // namespace

std::vector<BenchRow> bench_mlp_schemes(const BenchScale& scale) {
  const bool quick = scale.quick;
  const WorkersFolder folder_of_runs;
  const std::uint32_t workers = quick ? 2 : 4, width = quick ? 32 : 1024;
  const std::string folder = text::cat(kWorkersFolder, "/mlp");
  fs::create_directories(folder + "/model");
  write_file_atomically(folder + "/model/config.json", text::cat(R"({"model_type":"mlp","input_size":)", kFeatures,
                                                                 R"(,"hidden_sizes":[)", width, ",", width, "]}"));
  write_rows(folder + "/train", quick ? 64 : 6400, 2);
  write_rows(folder + "/valid", 400, 3);
  write_partitions({folder + "/train", workers, folder + "/cut", 17});
  WorkersConfig config;
  config.train = folder + "/cut";
  config.valid = folder + "/valid";
  config.checkpoint = folder + "/model";
  config.valid_rows = quick ? 16 : 400;
  config.epochs = 2;
  config.batch_size = 64;
  config.lr =
      quick ? "{grid: [1.0e-3, 1.0e-4]}" : "{grid: [1.0e-5, 3.0e-5, 1.0e-4, 3.0e-4, 1.0e-3, 3.0e-3, 1.0e-2, 3.0e-2]}";
  config.train_more = ", micro_batch_size: 16";
  config.host_memory = "1GiB";
  return table("MLP", config, workers);
}

std::vector<BenchRow> bench_minilm_schemes(const BenchScale& scale) {
  const WorkersFolder folder_of_runs;
  constexpr std::uint32_t kWorkers = 2;
  const SweepData data(scale.quick);
  const std::string folder = text::cat(kWorkersFolder, "/", data.small ? "bert" : "minilm");
  const auto parts = write_partitions({data.valid, data.small ? 2u : 3u, folder + "-some", 17});
  write_partitions({text::cat(folder, "-some/", parts.partitions.front().folder), 4, folder, 17});
  WorkersConfig config;
  config.train = folder;
  config.valid = data.valid;
  config.checkpoint = data.checkpoint;
  config.valid_rows = data.small ? 8 : 64;
  config.devices = data.small ? "{type: emulated, count: 1, memory: 24MiB, link: 1GiB/s}"
                              : "{type: emulated, count: 1, memory: 256MiB, link: 1GiB/s, threads: 1}";
  config.train_more = ", micro_batch_size: 16";
  config.host_memory = data.small ? "256MiB" : "2GiB";
  return table(data.small ? "a small BERT" : "MiniLM", config, kWorkers);
}

}  // namespace hopyard
