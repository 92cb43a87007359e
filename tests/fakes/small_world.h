// A small model, small data and an engine around them, for tests of the whole engine.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "fakes/memory_disk_tier.h"
#include "fakes/recording_device.h"
#include "fakes/temporary_folder.h"
#include "pipeline/batches.h"
#include "pipeline/executor.h"
#include "pipeline/profiler.h"
#include "pipeline/step_exchange.h"

namespace hopyard::fakes {

inline constexpr const char* kTinyBert =
    R"({"model_type":"bert","vocab_size":97,"hidden_size":32,"num_hidden_layers":4,"num_attention_heads":4,
"intermediate_size":64,"max_position_embeddings":16,"type_vocab_size":2,"hidden_dropout_prob":0.1,
"attention_probs_dropout_prob":0.1,"hidden_act":"gelu","initializer_range":0.02,"layer_norm_eps":1e-12})";
inline constexpr const char* kTinyGpt2 =
    R"({"model_type":"gpt2","vocab_size":97,"n_embd":32,"n_layer":3,"n_head":4,"n_positions":16,"n_inner":null,
"resid_pdrop":0.1,"embd_pdrop":0.1,"attn_pdrop":0.1,"activation_function":"gelu_new","initializer_range":0.02,
"layer_norm_epsilon":1e-5})";
inline constexpr const char* kTinyMlp =
    R"({"model_type":"mlp","input_size":16,"hidden_sizes":[40,24],"activation":"gelu","dropout":0.1})";

/// A folder with config.json only, and a data folder with `rows` rows of 8 tokens (of 16 features for an mlp) in 3
/// classes.
class SmallWorld {
 public:
  explicit SmallWorld(const char* config, std::uint32_t rows = 40);

  std::shared_ptr<ModelSource> source(ModelTask task, std::int64_t freeze = 0,
                                      std::vector<std::string> train_only = {}) const;

  /// A checkpoint: layers then begin with these weights whatever the trial's seed.
  void give_weights() const;

  TemporaryFolder folder;
  std::shared_ptr<Dataset> data;
};

inline constexpr std::uint32_t kValidRows = 10;

/// What training gave, to the last bit: the digest, and what was judged on the validation rows.
std::string outcome(const Digest& digest, const std::optional<MetricSums>& judged);

/// How an engine is to be set up; everything that must not change bits.
struct EngineSetup {
  std::vector<std::uint32_t> cuts;
  bool emulated = true;
  std::uint32_t devices = 1;
  Bytes device_memory = 64 * MiB;
  double link_bytes_per_s = 4e9;
  Bytes host_memory = 256 * MiB;
  double window_share = 1;  ///< of the trial's state; less than 1 streams from disk
  bool frozen_in_window = false;
  bool copies = true;  ///< in bfloat16, of what computes in it
  ExecuteSpec execute;
  /// Makes device i, which has the memory; empty: as `emulated` says.
  std::function<std::unique_ptr<Device>(std::uint32_t device, Bytes memory)> make_device = {};
  LinkActions* actions = nullptr;  ///< where to write down what goes over the links
  MicroBatchShare share = {};      ///< this engine's part of each step, and
  std::function<std::shared_ptr<VisitTie>(std::uint32_t visit)> tie =
      {};                                         ///< its end, for the first trial; empty: it is alone
  std::function<void(Executor&)> meanwhile = {};  ///< what another thread does while trials train
};

/// What is trained.
struct TrialToRun {
  std::shared_ptr<ModelSource> source;
  std::uint64_t seed = 1;
  TrainSpec train;
  std::uint32_t visits = 2, rows_per_visit = 14;
  bool evaluate = true;
  std::uint32_t first_layer = 0;  ///< what is before is not computed: features stand for it
};

std::vector<std::uint32_t> visit_rows(const TrialToRun& trial, std::uint32_t visit);

struct EngineResult {
  std::vector<std::string> outcomes;            ///< outcome() of each trial
  std::vector<std::string> errors;              ///< empty for a trial that trained to its end
  std::vector<bool> broken;                     ///< the error was an exchange's
  std::vector<std::vector<CurvePoint>> curves;  ///< the losses of all steps of each trial
  std::vector<std::uint64_t> skipped_steps;     ///< of each trial
  std::vector<DeviceReport> devices;
  Bytes host_peak = 0;
};

/// A trial as the engine takes it.
TrialSetup trial_setup(const SmallWorld& world, const TrialToRun& trial, std::uint32_t number,
                       const EngineSetup& setup);

/// What the layers before the trial's first give, by a plain loop in the micro-batches of an engine that reads rows in
/// order. They are a data set's rows however they are computed: nothing of the trial's own order is in them.
TrialFeatures features_by_hand(const SmallWorld& world, const TrialToRun& trial, HostTier& host);

/// Trains the trials' visits to the end, commits after each, and starts each visit from the committed state.
EngineResult train(const SmallWorld& world, const std::vector<TrialToRun>& trials, const EngineSetup& setup,
                   DiskTier& disk);

/// The oracle: the same training by a plain loop over the whole model.
std::string train_whole(const SmallWorld& world, const TrialToRun& trial);

/// Computes in fp16, with a loss scale that gradients overflow in some of the first steps, and in some later ones.
void skip_some_steps(TrainSpec& train);

}  // namespace hopyard::fakes
