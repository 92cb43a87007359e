// A config with every default written out.
#include <algorithm>

#include "base/text.h"
#include "runtime/config_sections.h"
#include "runtime/search_space.h"

namespace hopyard {

namespace {

YamlNode bare(const std::string& text) {
  YamlNode node{.kind = YamlNode::Kind::scalar};
  node.text = text;
  return node;
}

void add(YamlNode& map, const std::string& key, const std::string& text) {
  if (map.find(key) != nullptr) return;
  map.members.push_back({key, bare(text), {}});
}
void add(YamlNode& map, const std::string& key, const char* text) { add(map, key, std::string(text)); }
void add(YamlNode& map, const std::string& key, bool value) { add(map, key, value ? "true" : "false"); }
void add(YamlNode& map, const std::string& key, double value) { add(map, key, to_string(SettingValue(value))); }
void add(YamlNode& map, const std::string& key, std::int64_t value) { add(map, key, std::to_string(value)); }
void add(YamlNode& map, const std::string& key, std::uint32_t value) { add(map, key, std::to_string(value)); }

YamlNode& section(YamlNode& map, const std::string& key) {
  if (YamlNode* found = map.find(key)) return *found;
  map.members.push_back({key, {.kind = YamlNode::Kind::map}, {}});
  return map.members.back().value;
}

/// Whether the value at a dotted path is searched: what depends on it has no one default.
bool is_searched(const ExperimentConfig& config, const std::string& path) {
  const auto sets = [&](const Setting& setting) { return setting.path == path; };
  return std::any_of(config.space.begin(), config.space.end(), [&](const Dimension& dimension) {
    return dimension.path == path ||
           std::any_of(dimension.joint.begin(), dimension.joint.end(),
                       [&](const auto& entry) { return std::any_of(entry.begin(), entry.end(), sets); });
  });
}

void add_data(YamlNode& data) {
  add(data, "train_rows", kAll);
  add(data, "valid_rows", kAll);
  add(data, "partitions", kAuto);
  add(data, "order", "seed");
  add(data, "group_by", kNone);
}

void add_model(YamlNode& model, const ModelSpec& defaults, const ExperimentConfig& config) {
  add(model, "freeze", defaults.freeze);
  add(model, "frozen_dropout", defaults.frozen_dropout);
  add(model, "dropout", kAuto);
  add(model, "train_only", kAll);
  add(model, "init", "checkpoint");
  add(model, "reinit_layers", "0");
  add(model, "pooling", "cls");
  add(model, "head", "pooler");
  YamlNode& adapter = section(model, "adapter");
  add(adapter, "type", "none");
  if (is_searched(config, "model.adapter.type")) return;  // what else there is depends on it
  using Kind = AdapterSpec::Kind;
  if (defaults.adapter.kind == Kind::bottleneck) add(adapter, "size", defaults.adapter.size);
  if (defaults.adapter.kind != Kind::lora) return;
  add(adapter, "from", kNone);
  for (const char* key : {"rank", "alpha", "dropout", "targets"}) add(adapter, key, kAuto);
}

void add_optimizer(YamlNode& node, const OptimizerSpec& optimizer, bool type_searched) {
  const bool adamw = optimizer.kind == OptimizerSpec::Kind::adamw;
  add(node, "type", adamw ? "adamw" : "sgd");
  add(node, "lr", optimizer.lr);
  if (!type_searched) {
    if (adamw) {
      add(node, "beta1", optimizer.beta1);
      add(node, "beta2", optimizer.beta2);
      add(node, "eps", optimizer.eps);
    } else {
      add(node, "momentum", optimizer.momentum);
    }
    add(node, "weight_decay", optimizer.weight_decay);
  }
  add(node, "decay", optimizer.decay_all ? "all" : "weights");
  add(node, "layer_decay", optimizer.layer_decay);
}

void add_train(YamlNode& node, const TrainSpec& train, const ExperimentConfig& config) {
  add(node, "epochs", train.epochs);
  add(node, "rows", kAll);
  add(node, "batch_size", train.batch_size);
  if (is_searched(config, "train.batch_size"))
    add(node, "micro_batch_size", kAuto);
  else
    add(node, "micro_batch_size", train.micro_batch_size);
  add_optimizer(section(node, "optimizer"), train.optimizer, is_searched(config, "train.optimizer.type"));
  YamlNode& schedule = section(node, "schedule");
  add(schedule, "type", "constant");
  add(schedule, "warmup", train.schedule.warmup);
  add(node, "clip_norm", kNone);
  add(node, "update", kAuto);
  add(node, "precision", to_string(train.precision));
  if (scales_loss(train)) {
    YamlNode& scale = section(node, "loss_scale");
    add(scale, "initial", train.loss_scale.initial);
    add(scale, "growth_steps", train.loss_scale.growth_steps);
  }
  YamlNode& parallel = section(node, "data_parallel");
  add(parallel, "degree", train.data_parallel.degree);
  add(parallel, "sum", to_string(train.data_parallel.sum));
  if (train.data_parallel.sum == DataParallelSpec::Sum::server)
    add(parallel, "staleness", train.data_parallel.staleness);
}

void add_search(YamlNode& node, const SearchSpec& search) {
  add(node, "method", "grid");
  add(node, "metric", search.metric);
  add(node, "goal", search.maximize ? "max" : "min");
  add(node, "seeds", search.seeds);
  add(node, "resamples", kNone);
  if (search.resamples > 0) add(node, "resample_method", "bootstrap");
  if (!reacts_to_scores(search.method) || search.method == SearchSpec::Method::external) return;
  if (search.method == SearchSpec::Method::pbt) {
    add(node, "perturbation_interval", search.perturbation_interval);
    add(node, "quantile_fraction", search.quantile_fraction);
    add(node, "resample_probability", search.resample_probability);
  } else if (trains_piecewise(search.method)) {
    add(node, "min_epochs", search.min_epochs.count());
    add(node, "eta", search.eta);
  }
  add(node, "deterministic", search.deterministic);
  add(node, "max_concurrent_trials", kAuto);
}

void add_resources(YamlNode& node, const ExperimentConfig& config) {
  YamlNode& devices = *node.find("devices");
  for (std::size_t i = 0; i < devices.items.size(); ++i) {
    YamlNode& device = devices.items[i];
    const DeviceSpec& spec = config.devices[i];
    add(device, "count", spec.count);
    add(device, "threads", static_cast<std::int64_t>(spec.threads));
    if (spec.type != DeviceSpec::Type::emulated)
      add(device, "memory", kAuto);
    else
      add(device, "latency", text::cat(to_string(SettingValue(spec.latency_s * 1e3)), "ms"));
  }
  add(*node.find("disk"), "path", config.disk_path);
}

void add_execute(YamlNode& node, const ExecuteSpec& execute) {
  add(node, "partitioner", "dp");
  add(node, "scheduler", execute.scheduler ? to_string(*execute.scheduler) : kAuto);
  add(node, "double_buffer", execute.double_buffer);
  add(node, "lookahead", execute.lookahead);
  add(node, "interleave", execute.interleave);
  add(node, "keep_activations", execute.keep_activations);
  add(node, "cuda_graphs", execute.cuda_graphs);
  add(node, "pin_memory", execute.pin_memory);
  add(node, "record_kernels", execute.record_kernels);
  add(node, "prefetch_tasks", execute.prefetch_tasks);
  add(node, "cuts", kAuto);
  add(node, "active_trials", kAuto);
  add(node, "sharing", kAuto);
  add(node, "sharing_host", kAuto);
  add(node, "sharing_disk", kAuto);
}

void add_workers(YamlNode& node, const WorkersSpec& workers, DataSpec::Order order) {
  add(node, "replication", kAuto);
  add(node, "state_replicas", workers.state_replicas);
  add(node, "wait_for_worker", "10min");
  add(node, "bind", workers.bind);
  add(node, "secret_file", kNone);
  add(node, "links", workers.links == WorkersSpec::Links::nccl ? "nccl" : "gloo");
  if (order == DataSpec::Order::free) add(node, "scheduler", to_string(workers.scheduler));
}

}  // namespace

void add_defaults(YamlNode& tree, const ExperimentConfig& config, const TrialConfig& first_trial) {
  add(tree, "seed", static_cast<std::int64_t>(config.seed));
  add_data(section(tree, "data"));
  add_model(section(tree, "model"), first_trial.model, config);
  add_train(section(tree, "train"), first_trial.train, config);
  add_search(section(tree, "search"), config.search);
  add_resources(section(tree, "resources"), config);
  add_execute(section(tree, "execute"), config.execute);
  add_workers(section(tree, "workers"), config.workers, config.data.order);
}

}  // namespace hopyard
