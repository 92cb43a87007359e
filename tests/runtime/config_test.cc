#include "runtime/config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>

#include "base/files.h"
#include "runtime/config_text.h"

namespace hopyard {
namespace {

using fakes::config_with;
using fakes::kConfigText;
using testing::ElementsAre;
using testing::HasSubstr;

ExperimentConfig parse(const std::string& text,
                       const std::vector<std::pair<std::string, std::string>>& overrides = {}) {
  return parse_config(text, "c.yaml", overrides);
}

/// The trials of a grid, last dimension fastest, as the search makes them.
std::vector<TrialSpec> trials_of(const ExperimentConfig& config) {
  std::vector<TrialSpec> trials{{}};
  for (const auto& dimension : config.space) {
    std::vector<TrialSpec> longer;
    for (const auto& trial : trials)
      for (const auto& value : dimension.values) {
        longer.push_back(trial);
        longer.back().settings.push_back({dimension.path, value});
      }
    trials = longer;
  }
  return trials;
}

void expect_equal(const ExperimentConfig& a, const ExperimentConfig& b) {
  EXPECT_EQ(a.name, b.name);
  EXPECT_EQ(a.seed, b.seed);
  EXPECT_EQ(a.data, b.data);
  EXPECT_EQ(a.search, b.search);
  EXPECT_EQ(a.space, b.space);
  EXPECT_EQ(a.devices, b.devices);
  EXPECT_EQ(a.host_memory, b.host_memory);
  EXPECT_EQ(a.disk_path, b.disk_path);
  EXPECT_EQ(a.disk_capacity, b.disk_capacity);
  EXPECT_EQ(a.execute, b.execute);
  EXPECT_EQ(a.workers, b.workers);
  for (const auto& trial : trials_of(a)) EXPECT_EQ(resolve_trial(a, trial), resolve_trial(b, trial));
}

TEST(Config, ReadsEverySection) {
  const ExperimentConfig config = parse(kConfigText);
  EXPECT_EQ(config.name, "small");
  EXPECT_EQ(config.seed, 5u);
  EXPECT_EQ(config.data, (DataSpec{.train = "data/train", .valid = "data/valid", .train_rows = 100, .partitions = 4}));
  EXPECT_EQ(config.search, SearchSpec{});
  ASSERT_EQ(config.devices.size(), 2u);
  EXPECT_EQ(config.devices[0],
            (DeviceSpec{.type = DeviceSpec::Type::emulated, .memory = 64 * MiB, .link_bytes_per_s = 4.0 * GiB}));
  EXPECT_EQ(config.devices[1], (DeviceSpec{.count = 2}));
  EXPECT_EQ(config.host_memory, 512 * MiB);
  EXPECT_EQ(config.disk_path, "spill");
  EXPECT_EQ(config.disk_capacity, 8 * GiB);
  EXPECT_EQ(config.execute, (ExecuteSpec{.scheduler = SchedulerKind::lrtf}));
}

TEST(Config, FindsWhatIsSearchedInTheOrderOfTheFile) {
  const auto space = parse(kConfigText).space;
  ASSERT_EQ(space.size(), 2u);
  EXPECT_EQ(space[0].path, "model.freeze");
  EXPECT_THAT(space[0].values, ElementsAre(SettingValue(std::int64_t{0}), SettingValue(std::int64_t{2})));
  EXPECT_EQ(space[1].path, "train.optimizer.lr");
  EXPECT_THAT(space[1].values, ElementsAre(SettingValue(1e-4), SettingValue(3e-4)));
}

TEST(Config, PutsSettingsInPlace) {
  const ExperimentConfig config = parse(kConfigText);
  const TrialSpec trial{.id = "t01", .settings = {{"model.freeze", std::int64_t{2}}, {"train.optimizer.lr", 3e-4}}};
  const TrialConfig resolved = resolve_trial(config, trial);
  EXPECT_EQ(resolved.model, (ModelSpec{.checkpoint = "data/model", .freeze = 2}));
  EXPECT_EQ(resolved.train,
            (TrainSpec{.epochs = 2, .batch_size = 16, .micro_batch_size = 8, .optimizer = {.lr = 3e-4}}));
}

TEST(Config, ReadsWhatOfAModelTrains) {
  const auto model = [](const std::string& text, const std::vector<Setting>& settings = {}) {
    return resolve_trial(parse(config_with("  freeze: {grid: [0, 2]}\n", text)), {.settings = settings}).model;
  };
  const ModelSpec plain{.checkpoint = "data/model"};
  EXPECT_EQ(model(""), plain);
  EXPECT_EQ(model("  adapter: {type: none}\n  init: checkpoint\n  reinit_layers: 0\n  pooling: cls\n  head: pooler\n"
                  "  train_only: all\n"),
            plain);
  ModelSpec spec = plain;
  spec.reinit_layers = 2, spec.pooling = Pooling::mean, spec.head = HeadKind::mlp, spec.train_only = {"bias", "norm"};
  EXPECT_EQ(model("  reinit_layers: 2\n  pooling: mean\n  head: mlp\n  train_only: [bias, norm]\n"), spec);
  spec = plain;
  spec.from_scratch = true;
  EXPECT_EQ(model("  init: scratch\n"), spec);
  spec = plain;
  spec.adapter = {AdapterSpec::Kind::lora, 4, 8, 0.1, {"query", "value"}, "runs/peft"};
  EXPECT_EQ(
      model("  adapter: {type: lora, rank: 4, alpha: 8, dropout: 0.1, targets: [query, value], from: runs/peft}\n"),
      spec);
  EXPECT_EQ(
      model("  adapter: {type: lora, rank: 4, alpha: 8, dropout: 0.1, targets: 'query, value', from: runs/peft}\n"),
      spec);
  spec.adapter = {.kind = AdapterSpec::Kind::lora};
  EXPECT_EQ(model("  adapter: {type: lora, rank: auto, alpha: auto, dropout: auto, targets: auto, from: none}\n"),
            spec);
  spec.adapter = {.kind = AdapterSpec::Kind::bottleneck, .size = 16};
  EXPECT_EQ(model("  adapter: {type: bottleneck, size: 16}\n"), spec);
}

TEST(Config, SearchesAdaptersUnderTheirTypeAndJointly) {
  const auto adapter = parse(
      config_with("  freeze: {grid: [0, 2]}\n",
                  "  adapter: {type: {grid: [none, lora]}, rank: {grid: [4, 8], when: {model.adapter.type: lora}}}\n"));
  EXPECT_EQ(resolve_trial(adapter, {.settings = {{"model.adapter.type", std::string("none")}}}).model.adapter,
            AdapterSpec());
  const TrialSpec lora{
      .settings = {{"model.adapter.type", std::string("lora")}, {"model.adapter.rank", std::int64_t{8}}}};
  EXPECT_EQ(resolve_trial(adapter, lora).model.adapter, (AdapterSpec{.kind = AdapterSpec::Kind::lora, .rank = 8}));
  EXPECT_EQ(parse(resolved_yaml(adapter)).space, adapter.space);

  const auto joint =
      parse(kConfigText, {{"search.joint",
                           "[{model: {freeze: 0, adapter: {type: lora, rank: 2, targets: 'query, key'}}}, "
                           "{model: {freeze: 1, init: scratch}}, {train: {rows: 50}}]"},
                          {"model.freeze", "0"}});
  ASSERT_EQ(joint.space.size(), 2u);
  const auto& entries = joint.space.back().joint;
  const ModelSpec first = resolve_trial(joint, {.settings = entries[0]}).model;
  EXPECT_THAT(first.adapter.targets, ElementsAre("query", "key"));
  EXPECT_EQ(first.adapter.rank, 2);
  EXPECT_TRUE(resolve_trial(joint, {.settings = entries[1]}).model.from_scratch);
  EXPECT_EQ(resolve_trial(joint, {.settings = entries[2]}).rows, 50u);
  expect_equal(parse(resolved_yaml(joint)), joint);
}

TEST(Config, ReadsRangesAndWords) {
  const ExperimentConfig config = parse(kConfigText, {{"search", "{method: random, trials: 7, metric: valid/loss}"},
                                                      {"train.optimizer.lr", "{loguniform: [1e-5, 1e-3]}"},
                                                      {"train.batch_size", "{int: [8, 32]}"},
                                                      {"train.optimizer.weight_decay", "{uniform: [0, 1]}"},
                                                      {"model.dropout", "{choice: [auto, 0.1]}"},
                                                      {"train.schedule.type", "{choice: [linear, 'cosine']}"},
                                                      {"model.frozen_dropout", "{choice: [true, false]}"}});
  EXPECT_EQ(config.search.trials, 7u);
  EXPECT_FALSE(config.search.maximize);
  ASSERT_EQ(config.space.size(), 7u);
  EXPECT_EQ(config.space[4],
            (Dimension{.path = "train.optimizer.lr", .kind = Dimension::Kind::loguniform, .low = 1e-5, .high = 1e-3}));
  const TrialSpec trial{.settings = {{"model.freeze", std::int64_t{0}},
                                     {"train.optimizer.lr", 2e-4},
                                     {"train.batch_size", std::int64_t{9}},
                                     {"train.optimizer.weight_decay", 0.5},
                                     {"model.dropout", 0.1},
                                     {"train.schedule.type", std::string("linear")},
                                     {"model.frozen_dropout", true}}};
  const TrialConfig resolved = resolve_trial(config, trial);
  EXPECT_EQ(resolved.train.batch_size, 9u);
  EXPECT_EQ(resolved.train.micro_batch_size, 8u);
  EXPECT_EQ(resolved.train.optimizer.weight_decay, 0.5);
  EXPECT_EQ(resolved.train.schedule.kind, ScheduleSpec::Kind::linear);
  EXPECT_TRUE(resolved.model.frozen_dropout);
  EXPECT_THAT(resolved.model.overrides, ElementsAre(std::pair<std::string, double>("dropout", 0.1)));
}

TEST(Config, ReadsTheNumbersOfEveryMethod) {
  const auto search = [](const std::string& text) { return parse(kConfigText, {{"search", text}}).search; };
  SearchSpec asha;
  asha.method = SearchSpec::Method::asha;
  asha.trials = 9, asha.max_epochs = 2, asha.eta = 2;
  asha.deterministic = true, asha.max_concurrent_trials = 4;
  EXPECT_EQ(search("{method: asha, trials: 9, eta: 2, min_epochs: 1, deterministic: true, max_concurrent_trials: 4}"),
            asha);
  asha.min_epochs = Epochs::of_visits(1, 4);
  EXPECT_EQ(
      search("{method: asha, trials: 9, eta: 2, min_epochs: 0.25, deterministic: true, max_concurrent_trials: 4}"),
      asha);
  SearchSpec pbt;
  pbt.method = SearchSpec::Method::pbt;
  pbt.trials = 8, pbt.max_epochs = 2, pbt.perturbation_interval = 2;
  pbt.quantile_fraction = 0.25, pbt.resample_probability = 0;
  EXPECT_EQ(search("{method: pbt, trials: 8, perturbation_interval: 2, quantile_fraction: 0.25, resample_probability: "
                   "0, max_concurrent_trials: auto}"),
            pbt);
  EXPECT_EQ(search("{method: hyperband}").max_epochs, 2u);
  EXPECT_EQ(search("{method: tpe, trials: 50}").max_epochs, 1u) << "a trial has its own epochs";
  EXPECT_EQ(search("{method: sobol, trials: 8}").trials, 8u);
}

TEST(Config, StepsConditionsAndJointSettings) {
  const ExperimentConfig config =
      parse(kConfigText, {{"model.freeze", "{int: [0, 4], step: 2}"},
                          {"train.optimizer",
                           "{type: {grid: [adamw, sgd]}, lr: 1e-3, momentum: {uniform: [0, 0.9], "
                           "step: 0.3, when: {train.optimizer.type: sgd}}}"},
                          {"search.joint", "[{train: {epochs: 1}, model: {dropout: 0.2}}, {train: {epochs: 4}}]"}});
  ASSERT_EQ(config.space.size(), 4u);
  EXPECT_EQ(config.space[0], (Dimension{.path = "model.freeze",
                                        .kind = Dimension::Kind::integer,
                                        .low = 0,
                                        .high = 4,
                                        .step = 2,
                                        .changes_in_flight = false}));
  EXPECT_EQ(config.space[2].when, (Condition{"train.optimizer.type", {std::string("sgd")}}));
  EXPECT_EQ(config.space[3].joint.size(), 2u);
  EXPECT_TRUE(parse(kConfigText).space[1].changes_in_flight) << "the learning rate";
  const TrialSpec adamw{.settings = {{"model.freeze", std::int64_t{2}},
                                     {"train.optimizer.type", std::string("adamw")},
                                     {"train.epochs", std::int64_t{1}},
                                     {"model.dropout", 0.2}}};
  EXPECT_EQ(resolve_trial(config, adamw).train.epochs, 1u);
  EXPECT_THAT(resolve_trial(config, adamw).model.overrides,
              ElementsAre(std::pair<std::string, double>("dropout", 0.2)));
  const TrialSpec sgd{.settings = {{"model.freeze", std::int64_t{2}},
                                   {"train.optimizer.type", std::string("sgd")},
                                   {"train.optimizer.momentum", 0.3},
                                   {"train.epochs", std::int64_t{4}}}};
  EXPECT_EQ(resolve_trial(config, sgd).train.optimizer.momentum, 0.3);
  EXPECT_TRUE(resolve_trial(config, sgd).model.overrides.empty());
}

TEST(Config, ReadsGroups) {
  const auto plain = parse(kConfigText).search;
  EXPECT_EQ(members_of_group(plain), 1u);
  EXPECT_EQ(plain.resamples, 0u);
  const auto seeds = parse(kConfigText, {{"search.seeds", "3"}});
  EXPECT_EQ(members_of_group(seeds.search), 3u);
  EXPECT_NE(config_digest(seeds), config_digest(parse(kConfigText)));
  EXPECT_EQ(config_digest(parse(kConfigText, {{"search.seeds", "1"}, {"search.resamples", "none"}})),
            config_digest(parse(kConfigText)));
  const auto folds = parse(kConfigText, {{"search.resamples", "4"}, {"search.resample_method", "kfold"}}).search;
  EXPECT_EQ(members_of_group(folds), 4u);
  EXPECT_EQ(folds.resample_method, rigor::ResampleKind::kfold);
  EXPECT_EQ(parse(kConfigText, {{"search.resamples", "4"}}).search.resample_method, rigor::ResampleKind::bootstrap);
}

TEST(Config, ReadsEveryOtherKey) {
  const ExperimentConfig config =
      parse(kConfigText,
            {{"data", "{train: a, valid: b, test: c, train_rows: all, valid_rows: 9, partitions: auto, order: free}"},
             {"model.freeze", "3"},
             {"model.task", "causal-lm"},
             {"train",
              "{optimizer: {type: sgd, lr: 1, momentum: 0.9, weight_decay: 1e-2, decay: all}, clip_norm: 1.5, "
              "micro_batch_size: auto, schedule: {type: cosine, warmup: 0.1}}"},
             {"search", "{metric: valid/perplexity}"},
             {"resources.devices",
              "[{type: emulated, count: 3, memory: 1GB, link: 500MB/s, latency: 2ms, threads: 4}, {type: cpu, memory: "
              "1GiB}]"},
             {"resources.disk.path", "/fast/spill"},
             {"execute",
              "{partitioner: greedy, scheduler: round_robin, double_buffer: false, lookahead: 2, interleave: false, "
              "prefetch_tasks: 0, "
              "cuts: [3, 5], active_trials: 2, sharing: off}"},
             {"workers",
              "{replication: 3, state_replicas: 1, wait_for_worker: 5s, bind: node1, secret_file: key, links: gloo, "
              "scheduler: replica}"}});
  EXPECT_EQ(config.data,
            (DataSpec{.train = "a", .valid = "b", .test = "c", .valid_rows = 9, .order = DataSpec::Order::free}));
  EXPECT_EQ(config.workers, (WorkersSpec{.replication = 3,
                                         .state_replicas = 1,
                                         .wait_for_worker_s = 5,
                                         .bind = "node1",
                                         .secret_file = "key",
                                         .scheduler = VisitSchedulerKind::replica}));
  EXPECT_FALSE(config.search.maximize);
  EXPECT_EQ(config.devices[0], (DeviceSpec{.type = DeviceSpec::Type::emulated,
                                           .count = 3,
                                           .memory = 1'000'000'000,
                                           .link_bytes_per_s = 5e8,
                                           .latency_s = 2e-3,
                                           .threads = 4}));
  EXPECT_EQ(config.devices[1], (DeviceSpec{.memory = GiB}));
  EXPECT_EQ(config.disk_path, "/fast/spill");
  EXPECT_EQ(config.execute, (ExecuteSpec{.partitioner = ExecuteSpec::Partitioner::greedy,
                                         .scheduler = SchedulerKind::round_robin,
                                         .double_buffer = false,
                                         .interleave = false,
                                         .share_frozen = false,
                                         .lookahead = 2,
                                         .prefetch_tasks = 0,
                                         .cuts = std::vector<std::uint32_t>{3, 5},
                                         .active_trials = 2}));
  EXPECT_TRUE(config.space.empty());
  const TrialConfig trial = resolve_trial(config, {});
  EXPECT_EQ(trial.model.task, ModelTask::causal_lm);
  EXPECT_EQ(trial.train, (TrainSpec{.optimizer = {.kind = OptimizerSpec::Kind::sgd,
                                                  .lr = 1,
                                                  .momentum = 0.9,
                                                  .weight_decay = 0.01,
                                                  .decay_all = true},
                                    .schedule = {.kind = ScheduleSpec::Kind::cosine, .warmup = 0.1},
                                    .clip_norm = 1.5}));
}

TEST(Config, DefaultsFollowTheTaskAndTheOptimizer) {
  const auto metric = [](const std::string& task) {
    return parse(config_with(", metric: valid/accuracy", ""), {{"model.task", task}}).search;
  };
  EXPECT_EQ(metric("sequence-classification").metric, "valid/accuracy");
  EXPECT_EQ(metric("causal-lm").metric, "valid/loss");
  EXPECT_FALSE(metric("causal-lm").maximize);
  EXPECT_EQ(metric("regression").metric, "valid/mse");
  const auto sgd = parse(kConfigText, {{"train.optimizer", "{type: sgd}"}, {"model.freeze", "0"}});
  EXPECT_EQ(resolve_trial(sgd, {}).train.optimizer.weight_decay, 0);
}

TEST(Config, TeamsAreKnownFromAllThatIsSearched) {
  using Sum = DataParallelSpec::Sum;
  EXPECT_EQ(parse(kConfigText).teams, TeamsAsked());
  const ExperimentConfig ordered = parse(kConfigText, {{"train.data_parallel", "{degree: {grid: [1, 2]}}"}});
  EXPECT_EQ(ordered.teams, (TeamsAsked{2, true}));
  const auto trial = resolve_trial(ordered, {.settings = {{"train.data_parallel.degree", std::int64_t{2}}}});
  EXPECT_EQ(trial.train.data_parallel, (DataParallelSpec{2, Sum::ordered}));
  EXPECT_EQ(parse(kConfigText, {{"train.data_parallel", "{degree: 2, sum: {grid: [ordered, all-reduce]}}"}}).teams,
            (TeamsAsked{2, false}));
  EXPECT_EQ(parse(kConfigText, {{"train.data_parallel", "{sum: all-reduce}"}}).teams, TeamsAsked());  // of one
  const ExperimentConfig reduced = parse(kConfigText, {{"train.data_parallel", "{degree: 2, sum: all-reduce}"}});
  EXPECT_EQ(resolve_trial(reduced, {}).train.data_parallel, (DataParallelSpec{2, Sum::all_reduce}));
  const ExperimentConfig served =
      parse(kConfigText, {{"train.data_parallel", "{degree: 2, sum: server, staleness: 3}"}});
  EXPECT_EQ(served.teams, (TeamsAsked{2, false}));
  EXPECT_EQ(resolve_trial(served, {}).train.data_parallel, (DataParallelSpec{2, Sum::server, 3}));
}

TEST(Config, TrialsThatStayHaveTheirStateOnceUnlessAsked) {
  const auto workers = [](const std::string& text) { return parse(kConfigText, {{"workers", text}}).workers; };
  EXPECT_EQ(workers("{scheduler: task}").state_replicas, 1u);
  EXPECT_EQ(workers("{state_replicas: 2, scheduler: task}").state_replicas, 2u);
  EXPECT_EQ(workers("{replication: 2}").state_replicas, 2u);
}

TEST(Config, MicroBatchesDefaultToTheBatch) {
  const auto config = parse(config_with("  micro_batch_size: 8\n", ""),
                            {{"train.batch_size", "{grid: [4, 64]}"}, {"model.freeze", "0"}});
  for (const std::int64_t size : {4, 64}) {
    const TrialSpec trial{.settings = {{"train.batch_size", size}, {"train.optimizer.lr", 1e-4}}};
    EXPECT_EQ(resolve_trial(config, trial).train.micro_batch_size, size);
  }
}

TEST(Config, ResolvedFormIsEqualAndStable) {
  for (const auto& overrides : std::vector<std::vector<std::pair<std::string, std::string>>>{
           {},
           {{"train", "{}"}, {"search", "{}"}, {"execute", "{}"}},
           {{"train.batch_size", "{grid: [8, 64]}"}, {"train.optimizer.type", "{grid: [adamw, sgd]}"}},
           {{"train.optimizer", "{type: sgd}"},
            {"execute", "{cuts: [3, 5], active_trials: 1}"},
            {"model.dropout", "0.25"}},
           {{"search", "{method: asha, trials: 9, eta: 2}"}, {"train.optimizer.lr", "{uniform: [1, 3], step: 0.5}"}},
           {{"search", "{method: pbt, trials: 9, deterministic: true}"}},
           {{"search.joint", "[{train: {batch_size: 8}}, {train: {batch_size: 64, micro_batch_size: 4}}]"},
            {"train.optimizer",
             "{type: {grid: [sgd, adamw]}, beta1: {grid: [0.8, 0.9], when: {train.optimizer.type: "
             "adamw}}}"}},
           {{"data.order", "free"}, {"workers", "{scheduler: lrtf, secret_file: key}"}},
           {{"workers", "{replication: auto, wait_for_worker: 1h}"}},
           {{"workers", "{scheduler: task}"}},
           {{"workers", "{links: nccl}"}, {"resources.devices", "[{type: cuda}]"}},
           {{"train.data_parallel", "{degree: {grid: [1, 2]}, sum: all-reduce}"}},
           {{"train.data_parallel", "{degree: 2, sum: server, staleness: {grid: [0, 4]}}"}},
           {{"train.precision", "{grid: [bf16, tf32]}"}},
           {{"train.precision", "fp16"}},
           {{"train.precision", "fp16"}, {"train.loss_scale", "{initial: 0.125, growth_steps: 7}"}},
           {{"train.clip_norm", "1"},
            {"resources.devices", "[{type: emulated, memory: 5B, link: 1B/s, latency: 3s}]"}}}) {
    const ExperimentConfig config = parse(kConfigText, overrides);
    const std::string resolved = resolved_yaml(config);
    const ExperimentConfig again = parse(resolved);
    expect_equal(config, again);
    EXPECT_EQ(resolved_yaml(again), resolved);
    EXPECT_EQ(config_digest(again), config_digest(config)) << resolved;
  }
}

TEST(Config, PrecisionIsATrials) {
  const auto config = parse(kConfigText, {{"train.precision", "{grid: [bf16, fp32]}"}});
  EXPECT_EQ(config.space.back().path, "train.precision");
  EXPECT_FALSE(config.space.back().changes_in_flight);
  EXPECT_FALSE(config.tf32);
  const auto precision_of = [&](const ExperimentConfig& one, const char* word) {
    return resolve_trial(one, {.id = "t", .settings = {{"train.precision", std::string(word)}}}).train.precision;
  };
  EXPECT_EQ(precision_of(config, "bf16"), Precision::bf16);
  EXPECT_EQ(precision_of(config, "fp32"), Precision::fp32);
  EXPECT_TRUE(parse(kConfigText, {{"train.precision", "tf32"}}).tf32);
  const auto mixed = parse(kConfigText, {{"train.precision", "{grid: [bf16, tf32]}"}});
  EXPECT_TRUE(mixed.tf32);
  EXPECT_EQ(precision_of(mixed, "tf32"), Precision::tf32);
}

TEST(Config, LossScaleIsGradScalersByDefault) {
  const auto scale_of = [](const std::vector<std::pair<std::string, std::string>>& overrides) {
    return resolve_trial(parse(kConfigText, overrides), {.id = "t"}).train.loss_scale;
  };
  EXPECT_EQ(scale_of({{"train.precision", "fp16"}}), (LossScaleSpec{65536, 2000}));
  EXPECT_EQ(scale_of({{"train.precision", "fp16"}, {"train.loss_scale", "{initial: 1024, growth_steps: 50}"}}),
            (LossScaleSpec{1024, 50}));
  EXPECT_THAT(resolved_yaml(parse(kConfigText, {{"train.precision", "fp16"}})),
              HasSubstr("loss_scale: {initial: 65536, growth_steps: 2000}"));
}

TEST(Config, ResolvedFormShowsDefaults) {
  const std::string resolved = resolved_yaml(parse(kConfigText));
  for (const char* shown :
       {"valid_rows: all", "dropout: auto", "freeze: {grid: [0, 2]}", "lr: {grid: [1.0e-4, 3e-4]}", "beta2: 0.999",
        "weight_decay: 0.01", "schedule: {type: constant, warmup: 0}", "goal: max", "latency: 0.01ms", "path: spill",
        "prefetch_tasks: 4", "lookahead: 8", "wait_for_worker: 10min", "precision: fp32"})
    EXPECT_THAT(resolved, HasSubstr(shown));
}

TEST(Config, DigestSeesWhatDecidesResults) {
  const std::string digest = config_digest(parse(kConfigText));
  EXPECT_EQ(digest.size(), 32u);
  const auto same = [&](const std::string& path, const std::string& value) {
    return config_digest(parse(kConfigText, {{path, value}})) == digest;
  };
  EXPECT_TRUE(same("name", "other"));
  EXPECT_TRUE(same("resources.host_memory", "1GiB"));
  EXPECT_TRUE(same("execute.scheduler", "fifo"));
  EXPECT_TRUE(same("workers.replication", "3"));
  EXPECT_TRUE(same("train.optimizer.lr", "{grid: [0.0001, 0.0003]}"));
  EXPECT_TRUE(same("train.optimizer.weight_decay", "0.010"));
  EXPECT_TRUE(same("search", "{metric: valid/accuracy, goal: max, method: grid}"));
  EXPECT_FALSE(same("seed", "6"));
  EXPECT_FALSE(same("data.partitions", "5"));
  EXPECT_FALSE(same("data.order", "free"));
  EXPECT_FALSE(same("train.micro_batch_size", "4"));
  EXPECT_TRUE(same("train.precision", "fp32"));
  EXPECT_FALSE(same("train.precision", "bf16"));
  EXPECT_FALSE(same("train.precision", "fp16"));
  EXPECT_FALSE(same("train.optimizer.lr", "{grid: [3e-4, 1e-4]}"));
  EXPECT_FALSE(same("model.dropout", "0"));
}

TEST(Config, ExamplesParse) {
  int examples = 0;
  for (const auto& entry : std::filesystem::directory_iterator(HOPYARD_SOURCE "/examples")) {
    if (entry.path().extension() != ".yaml") continue;
    ++examples;
    const std::string path = entry.path().string();
    const ExperimentConfig config = parse_config(read_file(path, MiB), path, {});
    EXPECT_EQ(config.name, entry.path().stem().string());
    expect_equal(config, parse_config(resolved_yaml(config), "resolved", {}));
  }
  EXPECT_GT(examples, 0);
}

/// Every key of the tree, as docs/CONFIG.md writes it: "optimizer.lr" in the section "train", "devices[].type".
void expect_documented(const std::string& page, const YamlNode& node, const std::string& path) {
  for (const auto& [key, value, mark] : node.members) {
    const std::string below = path.empty() ? key : path + "." + key;
    if (value.kind == YamlNode::Kind::map && value.find("grid") == nullptr)
      expect_documented(page, value, below);
    else
      EXPECT_THAT(page, HasSubstr("`" + below + "`"));
    if (value.kind == YamlNode::Kind::list && !value.items.empty())
      expect_documented(page, value.items[0], below + "[]");
  }
}

TEST(Config, PageShowsEveryKey) {
  const std::string page = read_file(HOPYARD_SOURCE "/docs/CONFIG.md", MiB);
  const std::string fence = "```yaml\n";
  const auto begin = page.find(fence) + fence.size();
  const ExperimentConfig config = parse_config(page.substr(begin, page.find("```", begin) - begin), "CONFIG.md", {});
  const YamlNode resolved = parse_yaml(resolved_yaml(config), "resolved");
  for (const auto& [section, node, mark] : resolved.members) {
    EXPECT_THAT(page, node.kind == YamlNode::Kind::map ? HasSubstr("### " + section) : HasSubstr("`" + section + "`"));
    expect_documented(page, node, "");
  }
}

}  // namespace
}  // namespace hopyard
