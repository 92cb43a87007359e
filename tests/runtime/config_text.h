// A config that is right, to be spoiled one place at a time.
#pragma once

#include <stdexcept>
#include <string>

namespace hopyard::fakes {

inline const std::string kConfigText = R"(version: 1
name: small
seed: 5
data:
  train: data/train
  valid: data/valid
  train_rows: 100
  partitions: 4
model:
  checkpoint: data/model
  task: sequence-classification
  freeze: {grid: [0, 2]}
train:
  epochs: 2
  batch_size: 16
  micro_batch_size: 8
  optimizer: {type: adamw, lr: {grid: [1.0e-4, 3e-4]}}
  clip_norm: none
search: {method: grid, metric: valid/accuracy}
resources:
  devices:
    - {type: emulated, memory: 64MiB, link: 4GiB/s}
    - {type: cpu, count: 2}
  host_memory: 512MiB
  disk: {capacity: 8GiB}
execute: {scheduler: lrtf}
)";

/// kConfigText with `from`, which must be there, replaced by `to`.
inline std::string config_with(const std::string& from, const std::string& to) {
  std::string text = kConfigText;
  const auto at = text.find(from);
  if (at == std::string::npos) throw std::logic_error("no such text in the config: " + from);
  return text.replace(at, from.size(), to);
}

}  // namespace hopyard::fakes
