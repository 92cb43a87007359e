// What a wrong config gets told: exact sentences.
#include <gtest/gtest.h>

#include "base/rng.h"
#include "fakes/failure_of.h"
#include "runtime/config.h"
#include "runtime/config_text.h"

namespace hopyard {
namespace {

using fakes::config_with;
using fakes::kConfigText;

struct Wrong {
  std::string from, to, message;
};

TEST(ConfigErrors, NameLineColumnAndRemedy) {
  const std::string search_hint =
      "; what is searched is written {grid: […]}, {choice: […]}, {uniform: [low, high]}, {loguniform: [low, high]} or "
      "{int: [low, high]}";
  const std::vector<Wrong> table{
      {"version: 1", "version: 2", "c.yaml:1:10: version = 2 is not supported; this build reads version 1"},
      {"version: 1\n", "", "c.yaml:1:1: version is missing"},
      {"name: small", "name: 7", "c.yaml:2:7: name must be text, found '7'; put it in quotes if it is a name"},
      {"name: small", "name: ../up",
       "c.yaml:2:7: name must be at most 100 letters, digits, '_', '-' and '.', beginning with a letter, digit or '_', "
       "found '../up'"},
      {"name: small", "name: [a]", "c.yaml:2:7: name must be text, found a list"},
      {"name: small", "name:", "c.yaml:2:1: name must be text, found nothing"},
      {"seed: 5", "seed: -5", "c.yaml:3:7: seed must be a whole number from 0 to 9223372036854775807, found '-5'"},
      {"seed: 5", "seed: 5.0", "c.yaml:3:7: seed must be a whole number from 0 to 9223372036854775807, found '5.0'"},
      {"seed: 5", "seed: '5'", "c.yaml:3:7: seed must be a whole number from 0 to 9223372036854775807, found '5'"},
      {"seed: 5", "sede: 5", "c.yaml:3:1: unknown key 'sede'; did you mean 'seed'?"},
      {"seed: 5", "zzzzzzzzzzzz: 5",
       "c.yaml:3:1: unknown key 'zzzzzzzzzzzz'; known are version, name, seed, data, model, train, search, resources, "
       "execute, workers"},
      {"seed: 5", "name: 5", "c.yaml:3:1: key 'name' stands here and in line 2"},
      {"  train: data/train\n", "", "c.yaml:5:3: data.train is missing"},
      {"  valid: data/valid\n", "", "c.yaml:5:3: data.valid is missing"},
      {"train_rows: 100", "train_rows: 0",
       "c.yaml:7:15: data.train_rows must be a whole number from 1 to 4294967294, found '0'"},
      {"train_rows: 100", "train_rows: {grid: [1]}",
       "c.yaml:7:15: data.train_rows must be a whole number from 1 to 4294967294, found a map; only values of model "
       "and train can be searched"},
      {"partitions: 4", "partitions: 101",
       "c.yaml:8:15: data.partitions = 101 must be at most data.train_rows, which is 100"},
      {"partitions: 4", "order: random", "c.yaml:8:10: data.order must be one of seed, free, found 'random'"},
      {"execute: {scheduler: lrtf}", "workers: {scheduler: lrtf}",
       "c.yaml:26:22: workers.scheduler = lrtf belongs to data.order: free; by seed, there is no choice but task, "
       "which "
       "lets no trial hop"},
      {"clip_norm: none", "data_parallel: {degree: 3}",
       "c.yaml:18:27: train.data_parallel.degree = 3 must be at most the micro-batches of a batch, which are 2: lower "
       "train.micro_batch_size, so that each worker has some"},
      {"clip_norm: none", "data_parallel: {sum: mean}",
       "c.yaml:18:24: train.data_parallel.sum must be one of ordered, all-reduce, server, found 'mean'"},
      {"clip_norm: none", "data_parallel: {degree: 2, staleness: 1}",
       "c.yaml:18:41: train.data_parallel.staleness belongs to sum: server"},
      {"clip_norm: none", "data_parallel: {degree: 2, sum: server, staleness: -1}",
       "c.yaml:18:54: train.data_parallel.staleness must be a whole number from 0 to 64, found '-1'"},
      {"clip_norm: none", "data_parallel: {degree: 2}\nworkers: {scheduler: task}",
       "c.yaml: workers.scheduler is task, which trains each trial on one worker, and train.data_parallel.degree asks "
       "for 2"},
      {"execute: {scheduler: lrtf}", "workers: {links: tcp}",
       "c.yaml:26:18: workers.links must be one of gloo, nccl, found 'tcp'"},
      {"execute: {scheduler: lrtf}", "workers: {links: nccl}",
       "c.yaml: workers.links is nccl, which goes from card to card, and resources.devices has none of type cuda"},
      {"execute: {scheduler: lrtf}", "workers: {state_replicas: 0}",
       "c.yaml:26:27: workers.state_replicas must be a whole number from 1 to 65536, found '0'"},
      {"partitions: 4", "partitons: 4", "c.yaml:8:3: unknown key 'partitons' in data; did you mean 'partitions'?"},
      {"  checkpoint: data/model\n", "", "c.yaml:10:3: model.checkpoint is missing"},
      {"sequence-classification", "classification",
       "c.yaml:11:9: model.task must be one of sequence-classification, causal-lm, regression, found 'classification'"},
      {"sequence-classification", "{grid: [causal-lm]}",
       "c.yaml:11:17: model.task cannot be searched: scores of different tasks cannot be compared"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: [0, -1]}",
       "c.yaml:12:22: model.freeze must be a whole number from 0 to 1000000, found '-1'"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: []}", "c.yaml:12:18: model.freeze.grid needs at least one value"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: 2}", "c.yaml:12:18: model.freeze.grid must be a list, found '2'"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: [[0]]}", "c.yaml:12:19: model.freeze.grid[0] must be a single value"},
      {"freeze: {grid: [0, 2]}", "freeze: {gird: [0, 2]}",
       "c.yaml:12:11: model.freeze must be a whole number from 0 to 1000000, found a map" + search_hint},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: [0], int: [0, 2]}",
       "c.yaml:12:11: model.freeze must be a whole number from 0 to 1000000, found a map" + search_hint},
      {"freeze: {grid: [0, 2]}", "freeze: {uniform: [0, 2]}",
       "c.yaml:12:21: model.freeze must be a whole number from 0 to 1000000, found '0.7639320225002103'"},
      {"freeze: {grid: [0, 2]}", "freeze: {int: [0, 2]}",
       "c.yaml:12:18: model.freeze has a range without a step, which search.method grid cannot go through; give it a "
       "step, list its values with {grid: […]}, or use method: random with trials"},
      {"freeze: {grid: [0, 2]}", "freeze: {int: [2, 0]}",
       "c.yaml:12:17: model.freeze.int must have its low end first: [low, high]"},
      {"freeze: {grid: [0, 2]}", "freeze: {int: [0]}",
       "c.yaml:12:17: model.freeze.int must be a list of two numbers: [low, high]"},
      {"freeze: {grid: [0, 2]}", "freeze: {int: [0, 1.5]}",
       "c.yaml:12:21: model.freeze.int[1] must be a whole number from -9007199254740992 to 9007199254740992, found "
       "'1.5'"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: [0, 2, +0]}",
       "c.yaml:12:25: model.freeze.grid[2] = 0 stands in this list twice"},
      {"freeze: {grid: [0, 2]}", "adapter: lora",
       "c.yaml:12:12: model.adapter must be a map of keys and values, found 'lora'"},
      {"freeze: {grid: [0, 2]}", "adapter: {type: ia3}",
       "c.yaml:12:19: model.adapter.type must be one of none, lora, bottleneck, found 'ia3'"},
      {"freeze: {grid: [0, 2]}", "adapter: {rank: 8}",
       "c.yaml:12:19: model.adapter.rank belongs to type: lora; where model.adapter.type is searched, write {choice: "
       "[…], when: {model.adapter.type: lora}}"},
      {"freeze: {grid: [0, 2]}", "adapter: {type: lora, size: 8}",
       "c.yaml:12:31: model.adapter.size belongs to type: bottleneck; where model.adapter.type is searched, write "
       "{choice: […], when: {model.adapter.type: bottleneck}}"},
      {"freeze: {grid: [0, 2]}", "adapter: {type: lora, rank: 0}",
       "c.yaml:12:31: model.adapter.rank must be a whole number from 1 to 1000000, found '0'"},
      {"freeze: {grid: [0, 2]}", "adapter: {type: lora, targets: 'query,'}",
       "c.yaml:12:34: model.adapter.targets must be a list of names, or a text with commas between them: [query, "
       "value], \"query, value\", attention, all or auto"},
      {"freeze: {grid: [0, 2]}", "adapter: {type: lora, rnk: 8}",
       "c.yaml:12:25: unknown key 'rnk' in model.adapter; did you mean 'rank'?"},
      {"freeze: {grid: [0, 2]}", "init: scratch\n  reinit_layers: 1",
       "c.yaml:13:18: model.reinit_layers = 1 belongs to init: checkpoint; from scratch all layers begin anew"},
      {"freeze: {grid: [0, 2]}", "pooling: sum",
       "c.yaml:12:12: model.pooling must be one of cls, mean, max, found 'sum'"},
      {"freeze: {grid: [0, 2]}", "frozen_dropout: yes",
       "c.yaml:12:19: model.frozen_dropout must be true or false, found 'yes'"},
      {"freeze: {grid: [0, 2]}", "dropout: 1",
       "c.yaml:12:12: model.dropout must be a number from 0 to below 1, found '1'"},
      {"epochs: 2", "epochs: 0", "c.yaml:14:11: train.epochs must be a whole number from 1 to 1000000, found '0'"},
      {"epochs: 2", "epochs.x: 2", "c.yaml:14:13: train.epochs.x is no known key"},
      {"epochs: 2", "epoch: 2", "c.yaml:14:3: unknown key 'epoch' in train; did you mean 'epochs'?"},
      {"batch_size: 16", "batch_size: 0",
       "c.yaml:15:15: train.batch_size must be a whole number from 1 to 1000000, found '0'"},
      {"micro_batch_size: 8", "micro_batch_size: 17",
       "c.yaml:16:21: train.micro_batch_size = 17 must be at most train.batch_size, which is 16"},
      {"batch_size: 16\n  micro_batch_size: 8", "batch_size: {grid: [16, 4]}\n  micro_batch_size: {grid: [2, 8]}",
       "c.yaml:16:32: train.micro_batch_size = 8 must be at most the smallest train.batch_size, which is 4"},
      {"type: adamw,", "type: adam,", "c.yaml:17:21: train.optimizer.type must be one of adamw, sgd, found 'adam'"},
      {"type: adamw,", "type: sgd, beta1: 0.8,", "c.yaml:17:33: train.optimizer.beta1 belongs to type: adamw"},
      {"type: adamw,", "momentum: 0.9,", "c.yaml:17:25: train.optimizer.momentum belongs to type: sgd"},
      {"type: adamw,", "decay: none,", "c.yaml:17:22: train.optimizer.decay must be one of weights, all, found 'none'"},
      {"1.0e-4", "0", "c.yaml:17:40: train.optimizer.lr must be a number above 0, found '0'"},
      {"1.0e-4", ".nan", "c.yaml:17:40: train.optimizer.lr must be a number above 0, found '.nan'"},
      {"1.0e-4", "nan", "c.yaml:17:40: train.optimizer.lr must be a number above 0, found 'nan'"},
      {"1.0e-4", "1e999", "c.yaml:17:40: train.optimizer.lr must be a number above 0, found '1e999'"},
      {"{grid: [1.0e-4, 3e-4]}", "{loguniform: [0, 1]}",
       "c.yaml:17:46: train.optimizer.lr.loguniform[0] must be a number above 0, found '0'"},
      {"clip_norm: none", "clip_norm: 0", "c.yaml:18:14: train.clip_norm must be none or a number above 0, found '0'"},
      {"clip_norm: none", "precision: fp8",
       "c.yaml:18:14: train.precision must be one of fp32, tf32, bf16, fp16, found 'fp8'"},
      {"clip_norm: none", "loss_scale: {initial: 3}",
       "c.yaml:18:25: train.loss_scale.initial must be a power of two from 2^-14 to 2^32, found '3'"},
      {"clip_norm: none", "loss_scale: {initial: 1e-5}",
       "c.yaml:18:25: train.loss_scale.initial must be a power of two from 2^-14 to 2^32, found '1e-5'"},
      {"clip_norm: none", "loss_scale: {growth_steps: 0}",
       "c.yaml:18:30: train.loss_scale.growth_steps must be a whole number from 1 to 1000000, found '0'"},
      {"clip_norm: none", "precision: fp16\n  data_parallel: {degree: 2, sum: server}",
       "c.yaml:18:14: train.precision = fp16 does not go with data_parallel.sum: server, whose workers are at "
       "different "
       "steps and so have no scale in common; use bf16, or sum: ordered"},
      {"clip_norm: none", "precision: {grid: [fp32, bf16, tf32]}",
       "c.yaml:18:22: train.precision cannot be fp32 for some trials and tf32 for others: one switch decides for all "
       "that a process computes; search bf16 and one of them"},
      {"method: grid", "joint: [{train: {precision: tf32}}, {train: {epochs: 3}}]",
       "c.yaml:19:38: train.precision cannot be fp32 for some trials and tf32 for others: one switch decides for all "
       "that a process computes; search bf16 and one of them"},
      {"clip_norm: none", "schedule: {type: step}",
       "c.yaml:18:20: train.schedule.type must be one of constant, linear, cosine, found 'step'"},
      {"clip_norm: none", "schedule: linear",
       "c.yaml:18:13: train.schedule must be a map of keys and values, found 'linear'"},
      {"method: grid", "method: bayes",
       "c.yaml:19:18: search.method must be one of grid, random, sobol, tpe, successive_halving, asha, hyperband, pbt, "
       "external, found 'bayes'"},
      {"method: grid", "method: asha", "c.yaml:19:9: search.trials is missing"},
      {"method: grid", "method: hyperband, trials: 3",
       "c.yaml:19:37: search.trials does not belong to method: hyperband; it follows from train.epochs, min_epochs and "
       "eta"},
      {"method: grid", "seeds: 0", "c.yaml:19:17: search.seeds must be a whole number from 1 to 1000, found '0'"},
      {"method: grid", "resamples: 1",
       "c.yaml:19:21: search.resamples must be a whole number from 2 to 1000, found '1'"},
      {"method: grid", "resample_method: kfold",
       "c.yaml:19:27: search.resample_method belongs to search.resamples, which is not set"},
      {"method: grid", "seeds: 40, resamples: 40",
       "search.seeds × search.resamples is 1600; a group has at most 1000 members"},
      {"method: grid", "eta: 3", "c.yaml:19:15: search.eta belongs to method: successive_halving, asha or hyperband"},
      {"method: grid", "method: asha, trials: 9, eta: 1",
       "c.yaml:19:40: search.eta must be a whole number from 2 to 1000, found '1'"},
      {"method: grid", "method: asha, trials: 9, quantile_fraction: 0.1",
       "c.yaml:19:54: search.quantile_fraction belongs to method: pbt"},
      {"method: grid", "deterministic: true",
       "c.yaml:19:25: search.deterministic belongs to methods that react to scores"},
      {"method: grid", "method: asha, trials: 9, min_epochs: 3",
       "search.min_epochs is 3 and train.epochs 2; it must be above 0 and at most train.epochs"},
      {"method: grid", "method: asha, trials: 9, min_epochs: 0",
       "c.yaml:19:47: search.min_epochs must be a number above 0, found '0'"},
      {"method: grid", "method: asha, trials: 9, min_epochs: 1e-4",
       "c.yaml:19:47: search.min_epochs is no fraction of an epoch in 1000 parts or fewer"},
      {"method: grid", "method: asha, trials: 9, min_epochs: 0.3",
       "search.min_epochs is 0.3 and data.partitions 4; a rung ends with a sub-epoch, so partitions must be a multiple "
       "of "
       "10"},
      {"epochs: 2\n  batch_size: 16\n  micro_batch_size: 8\n  optimizer: {type: adamw, lr: {grid: [1.0e-4, 3e-4]}}\n  "
       "clip_norm: none\nsearch: {method: grid,",
       "epochs: {grid: [1, 2]}\nsearch: {method: asha, trials: 9,",
       "c.yaml:14:19: train.epochs cannot be searched with this search.method, which decides it"},
      {"{grid: [1.0e-4, 3e-4]}", "{uniform: [0.1, 1], step: 2}",
       "c.yaml:17:58: train.optimizer.lr.step must fit between the ends"},
      {"{grid: [1.0e-4, 3e-4]}", "{grid: [0.1, 1], step: 0.1}",
       "c.yaml:17:55: train.optimizer.lr.step belongs to a range"},
      {"freeze: {grid: [0, 2]}", "freeze: {int: [0, 4], step: 0.5}",
       "c.yaml:12:31: model.freeze.step must be a whole number from 1 to 9007199254740992, found '0.5'"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: [0, 2], when: sgd}",
       "c.yaml:12:32: model.freeze.when must be a map of one searched path and its value or values: "
       "{train.optimizer.type: sgd}"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: [0, 2], when: {train.epochs: 2}}",
       "'model.freeze' exists only under 'train.epochs', which is not searched; search it too or leave out the "
       "condition"},
      {"freeze: {grid: [0, 2]}", "freeze: {grid: [0, 2], when: {train.optimizer.lr: 5}}",
       "'model.freeze' exists only where 'train.optimizer.lr' is 5, which it never is"},
      {"method: grid", "joint: []", "c.yaml:19:17: search.joint needs at least one entry"},
      {"method: grid", "joint: [3]",
       "c.yaml:19:18: search.joint[0] must be a part of a config, for example {model: {freeze: 2}}"},
      {"method: grid", "joint: [{seed: 3}]",
       "c.yaml:19:25: seed cannot be a joint setting; only values of model and train can"},
      {"method: grid", "joint: [{train: {epochs: {grid: [1, 2]}}}]",
       "c.yaml:19:42: train.epochs.grid must be a single value, which joint settings put in its place"},
      {"method: grid", "joint: [{model: {freeze: 1}}]", "'model.freeze' is searched twice; keep one"},
      {"method: grid", "joint: [{train: {batch_size: 0}}]",
       "c.yaml:19:39: train.batch_size must be a whole number from 1 to 1000000, found '0'"},
      {"method: grid", "method: random", "c.yaml:19:9: search.trials is missing"},
      {"method: grid", "trials: 3",
       "c.yaml:19:18: search.trials does not belong to method: grid, which runs every combination"},
      {"valid/accuracy", "valid/mse",
       "c.yaml:19:32: search.metric must be one of valid/accuracy, valid/loss, found 'valid/mse'"},
      {"type: emulated,", "type: cuda,",
       "c.yaml:22:41: resources.devices[0].link belongs to emulated devices; that of a cuda device is measured"},
      {"type: emulated,", "type: gpu,",
       "c.yaml:22:14: resources.devices[0].type must be one of cpu, emulated, cuda, found 'gpu'"},
      {" memory: 64MiB,", "", "c.yaml:22:7: resources.devices[0].memory is missing"},
      {", link: 4GiB/s", "", "c.yaml:22:7: resources.devices[0].link is missing"},
      {"link: 4GiB/s", "link: 4GiB",
       "c.yaml:22:45: resources.devices[0].link = 4GiB: write a unit, for example 4GiB/s"},
      {"memory: 64MiB", "memory: 64 Mb",
       "c.yaml:22:32: resources.devices[0].memory must be a size above 0 such as 256MiB (B, KB, MB, GB, TB, KiB, MiB, "
       "GiB, TiB), found '64 Mb'"},
      {"link: 4GiB/s", "link: 4GiB/s, latency: 3",
       "c.yaml:22:62: resources.devices[0].latency = 3: write a unit, for example 10ms"},
      {"type: cpu, count: 2", "type: cpu, link: 1GiB/s",
       "c.yaml:23:25: resources.devices[1].link belongs to emulated devices; a cpu device copies nothing"},
      {"type: cpu, count: 2", "type: cpu, threads: 0",
       "c.yaml:23:28: resources.devices[1].threads must be a whole number from 1 to 1024, found '0'"},
      {"type: cpu, count: 2", "type: cpu, count: 64",
       "c.yaml:22:5: resources.devices must give 1 to 64 devices, found 65"},
      {"host_memory: 512MiB", "host_memory: 268435456",
       "c.yaml:24:16: resources.host_memory = 268435456: write a unit, for example 256MiB"},
      {"host_memory: 512MiB", "host_memory: -1GiB",
       "c.yaml:24:16: resources.host_memory must be a size above 0 such as 256MiB (B, KB, MB, GB, TB, KiB, MiB, GiB, "
       "TiB), found '-1GiB'"},
      {"host_memory: 512MiB", "host_memry: 512MiB", "c.yaml:21:3: resources.host_memory is missing"},
      {"{capacity: 8GiB}", "{path: spill}", "c.yaml:25:9: resources.disk.capacity is missing"},
      {"scheduler: lrtf", "scheduler: lrft",
       "c.yaml:26:22: execute.scheduler must be one of lrtf, oldest, fifo, random, lpt, "
       "round_robin, found 'lrft'"},
      {"scheduler: lrtf", "cuts: [3, 3]", "c.yaml:26:21: execute.cuts[1] = 3 must be above 3, the cut before it"},
      {"scheduler: lrtf", "cuts: [0]",
       "c.yaml:26:18: execute.cuts[0] must be a whole number from 1 to 1000000, found '0'"},
      {"scheduler: lrtf", "active_trials: 0",
       "c.yaml:26:26: execute.active_trials must be a whole number from 1 to 1000000, found '0'"},
      {"scheduler: lrtf", "sharing: on", "c.yaml:26:20: execute.sharing must be one of auto, off, found 'on'"},
  };
  for (const auto& wrong : table) {
    const std::string text = config_with(wrong.from, wrong.to);
    EXPECT_EQ(fakes::failure_of(ExitCode::usage, [&] { parse_config(text, "c.yaml", {}); }), wrong.message)
        << wrong.from << " -> " << wrong.to;
  }
}

TEST(ConfigErrors, OverridesAreNamed) {
  const auto message = [](const std::string& path, const std::string& value) {
    return fakes::failure_of(ExitCode::usage, [&] { parse_config(kConfigText, "c.yaml", {{path, value}}); });
  };
  EXPECT_EQ(message("train.epochs", "0"), "--set: train.epochs must be a whole number from 1 to 1000000, found '0'");
  EXPECT_EQ(message("train.epoch", "1"), "--set: unknown key 'epoch' in train; did you mean 'epochs'?");
  EXPECT_EQ(message("data", "{train: x}"), "--set: data.valid is missing");
  EXPECT_EQ(message("name.x", "1"), "--set name.x: 'name' is a value, so nothing can be set inside it");
}

TEST(ConfigErrors, WholeFiles) {
  const auto message = [](const std::string& text) {
    return fakes::failure_of(ExitCode::usage, [&] { parse_config(text, "c.yaml", {}); });
  };
  EXPECT_EQ(message(""), "c.yaml: is empty");
  EXPECT_EQ(message("- a\n"), "c.yaml: must be a map of keys and values");
  EXPECT_EQ(message("version: 1\nname: x\n"), "c.yaml:1:1: data is missing");
}

// Any two lines exchanged, lost or doubled: read or refused, never anything else.
TEST(ConfigErrors, SpoiledTextReadsOrFails) {
  KeyedStream random(23);
  const std::string alphabet = " {}[],:-0123456789.eMiBgrid\n";
  int refused = 0;
  for (int round = 0; round < 3000; ++round) {
    std::string text = kConfigText;
    for (std::uint64_t changes = random.below(3) + 1; changes > 0; --changes) {
      const std::size_t at = random.below(text.size());
      if (random.below(2) == 0)
        text[at] = alphabet[random.below(alphabet.size())];
      else
        text.erase(at, random.below(6));
    }
    try {
      resolved_yaml(parse_config(text, "c.yaml", {}));
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::usage) << failure.what();
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
  EXPECT_LT(refused, 3000);
}

}  // namespace
}  // namespace hopyard
