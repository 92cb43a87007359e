#include "runtime/config_sections.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"

namespace hopyard {

namespace {

constexpr std::int64_t kRowsMax = 0xffff'fffe;
constexpr std::int64_t kCountMax = 1'000'000;
constexpr std::int64_t kDevicesMax = 64;
constexpr std::int64_t kThreadsMax = 1024;
constexpr std::int64_t kWorkersMax = 65'536, kStalenessMax = 64;

constexpr VisitSchedulerKind kTask = VisitSchedulerKind::task;

bool above_zero(double value) { return value > 0; }
bool not_negative(double value) { return value >= 0; }
bool is_share(double value) { return value >= 0 && value < 1; }
constexpr const char* kShare = "a number from 0 to below 1";

std::uint32_t count(const ValueReader& value, std::int64_t high = kCountMax) {
  return static_cast<std::uint32_t>(value.whole(1, high));
}

/// 0 stands for the word.
std::uint32_t count_or(const ValueReader& value, const char* word, std::int64_t high) {
  return value.is_word(word) ? 0 : count(value, high);
}

DeviceSpec read_device(MapReader map) {
  DeviceSpec device;
  const ValueReader type = map.at("type");
  using Type = DeviceSpec::Type;
  device.type = type.word<Type>({{"cpu", Type::cpu}, {"emulated", Type::emulated}, {"cuda", Type::cuda}});
  if (const auto value = map.find("count")) device.count = count(*value, kDevicesMax);
  if (device.type == Type::cuda) device.threads = host_threads_of_card(device.count);
  if (const auto value = map.find("threads")) device.threads = static_cast<int>(value->whole(1, kThreadsMax));
  if (device.type == Type::emulated) {
    device.memory = map.at("memory").bytes();
    device.link_bytes_per_s = map.at("link").rate();
    if (const auto value = map.find("latency")) device.latency_s = value->duration();
  } else {
    for (const char* key : {"link", "latency"})
      map.forbid(key, device.type == Type::cuda ? "belongs to emulated devices; that of a cuda device is measured"
                                                : "belongs to emulated devices; a cpu device copies nothing");
    if (const auto value = map.find("memory"); value && !value->is_word(kAuto)) device.memory = value->bytes();
  }
  map.finish();
  return device;
}

OptimizerSpec read_optimizer(MapReader map) {
  using Kind = OptimizerSpec::Kind;
  OptimizerSpec optimizer;
  if (const auto value = map.find("type"))
    optimizer.kind = value->word<Kind>({{"adamw", Kind::adamw}, {"sgd", Kind::sgd}});
  if (const auto value = map.find("lr")) optimizer.lr = value->number(above_zero, "a number above 0");
  if (optimizer.kind == Kind::adamw) {
    map.forbid("momentum", "belongs to type: sgd");
    if (const auto value = map.find("beta1")) optimizer.beta1 = value->number(is_share, kShare);
    if (const auto value = map.find("beta2")) optimizer.beta2 = value->number(is_share, kShare);
    if (const auto value = map.find("eps")) optimizer.eps = value->number(above_zero, "a number above 0");
  } else {
    for (const char* key : {"beta1", "beta2", "eps"}) map.forbid(key, "belongs to type: adamw");
    if (const auto value = map.find("momentum")) optimizer.momentum = value->number(is_share, kShare);
    optimizer.weight_decay = 0;  // torch.optim.SGD's default
  }
  if (const auto value = map.find("weight_decay"))
    optimizer.weight_decay = value->number(not_negative, "a number from 0");
  if (const auto value = map.find("decay"))
    optimizer.decay_all = value->word<bool>({{"weights", false}, {"all", true}});
  if (const auto value = map.find("layer_decay"))
    optimizer.layer_decay = value->number([](double x) { return x > 0 && x <= 1; }, "a number above 0 and at most 1");
  map.finish();
  return optimizer;
}

ScheduleSpec read_schedule(MapReader map) {
  using Kind = ScheduleSpec::Kind;
  ScheduleSpec schedule;
  if (const auto value = map.find("type"))
    schedule.kind =
        value->word<Kind>({{"constant", Kind::constant}, {"linear", Kind::linear}, {"cosine", Kind::cosine}});
  if (const auto value = map.find("warmup")) schedule.warmup = value->number(is_share, kShare);
  map.finish();
  return schedule;
}

LossScaleSpec read_loss_scale_spec(MapReader map) {
  LossScaleSpec spec;
  const auto is_scale = [](double value) {
    int exponent = 0;
    return value >= kLossScaleMin && value <= kLossScaleMax && std::frexp(value, &exponent) == 0.5;
  };
  if (const auto value = map.find("initial"))
    spec.initial = value->number(is_scale, "a power of two from 2^-14 to 2^32");
  if (const auto value = map.find("growth_steps")) spec.growth_steps = count(*value);
  map.finish();
  return spec;
}

DataParallelSpec read_data_parallel(MapReader map, std::uint32_t micro_batches) {
  using Sum = DataParallelSpec::Sum;
  DataParallelSpec spec;
  if (const auto value = map.find("degree")) {
    spec.degree = count(*value, kWorkersMax);
    if (spec.degree > micro_batches)
      value->refuse(text::cat("= ", spec.degree, " must be at most the micro-batches of a batch, which are ",
                              micro_batches, ": lower train.micro_batch_size, so that each worker has some"));
  }
  if (const auto value = map.find("sum"))
    spec.sum = value->word<Sum>({{to_string(Sum::ordered), Sum::ordered},
                                 {to_string(Sum::all_reduce), Sum::all_reduce},
                                 {to_string(Sum::server), Sum::server}});
  if (spec.sum != Sum::server) map.forbid("staleness", "belongs to sum: server");
  if (const auto value = map.find("staleness"))
    spec.staleness = static_cast<std::uint32_t>(value->whole(0, kStalenessMax));
  map.finish();
  return spec;
}

std::vector<std::uint32_t> read_cuts(const ValueReader& value) {
  std::vector<std::uint32_t> cuts;
  for (const auto& item : value.list()) {
    const std::uint32_t layer = count(item);
    if (!cuts.empty() && layer <= cuts.back())
      item.refuse(text::cat("= ", layer, " must be above ", cuts.back(), ", the cut before it"));
    cuts.push_back(layer);
  }
  return cuts;
}

using Method = SearchSpec::Method;
const std::vector<std::pair<std::string, Method>> kSearchMethods{{"grid", Method::grid},
                                                                 {"random", Method::random},
                                                                 {"sobol", Method::sobol},
                                                                 {"tpe", Method::tpe},
                                                                 {"successive_halving", Method::successive_halving},
                                                                 {"asha", Method::asha},
                                                                 {"hyperband", Method::hyperband},
                                                                 {"pbt", Method::pbt},
                                                                 {"external", Method::external}};

/// The keys that belong to some methods only.
void read_search_numbers(MapReader& map, SearchSpec& search) {
  const bool halving = trains_piecewise(search.method) && search.method != Method::pbt;
  if (search.method == Method::grid)
    map.forbid("trials", "does not belong to method: grid, which runs every combination");
  else if (search.method == Method::hyperband)
    map.forbid("trials", "does not belong to method: hyperband; it follows from train.epochs, min_epochs and eta");
  else if (search.method != Method::external)
    search.trials = count(map.at("trials"));
  else if (const auto value = map.find("trials"))
    search.trials = count(*value);
  for (const char* key : {"min_epochs", "eta"})
    if (!halving) map.forbid(key, "belongs to method: successive_halving, asha or hyperband");
  for (const char* key : {"perturbation_interval", "quantile_fraction", "resample_probability"})
    if (search.method != Method::pbt) map.forbid(key, "belongs to method: pbt");
  for (const char* key : {"deterministic", "max_concurrent_trials"})
    if (search.method == Method::external)
      map.forbid(key, "does not belong to method: external, where others decide what is asked for and when");
    else if (!reacts_to_scores(search.method))
      map.forbid(key, "belongs to methods that react to scores");
  if (const auto value = map.find("min_epochs")) {
    const auto epochs = Epochs::nearest(value->number(above_zero, "a number above 0"));
    if (!epochs) value->refuse(text::cat("is no fraction of an epoch in ", Epochs::kPartsMax, " parts or fewer"));
    search.min_epochs = *epochs;
  }
  if (const auto value = map.find("eta")) search.eta = static_cast<std::uint32_t>(value->whole(2, 1000));
  if (const auto value = map.find("perturbation_interval")) search.perturbation_interval = count(*value);
  if (const auto value = map.find("quantile_fraction"))
    search.quantile_fraction =
        value->number([](double x) { return x > 0 && x <= 0.5; }, "a number above 0 and at most 0.5");
  if (const auto value = map.find("resample_probability"))
    search.resample_probability = value->number([](double x) { return x >= 0 && x <= 1; }, "a number from 0 to 1");
  if (const auto value = map.find("deterministic")) search.deterministic = value->boolean();
  if (const auto value = map.find("max_concurrent_trials"))
    search.max_concurrent_trials = count_or(*value, kAuto, kCountMax);
}

/// What makes a trial a group.
void read_groups(MapReader& map, SearchSpec& search) {
  using Resampling = rigor::ResampleKind;
  if (const auto value = map.find("seeds")) search.seeds = count(*value, kReplicatesMax);
  if (const auto value = map.find("resamples"); value && !value->is_word(kNone))
    search.resamples = static_cast<std::uint32_t>(value->whole(2, kReplicatesMax));
  if (search.resamples == 0) map.forbid("resample_method", "belongs to search.resamples, which is not set");
  if (const auto value = map.find("resample_method"))
    search.resample_method =
        value->word<Resampling>({{"bootstrap", Resampling::bootstrap}, {"kfold", Resampling::kfold}});
}

}  // namespace

std::string to_string(DataParallelSpec::Sum sum) {
  constexpr const char* words[] = {"ordered", "all-reduce", "server"};
  return words[static_cast<int>(sum)];
}

std::vector<std::string> metrics_of(ModelTask task) {
  switch (task) {
    case ModelTask::sequence_classification:
      return {"valid/accuracy", "valid/loss"};
    case ModelTask::causal_lm:
      return {"valid/loss", "valid/perplexity", "valid/accuracy"};
    case ModelTask::regression:
      return {"valid/mse", "valid/loss"};
  }
  return {};
}

std::string default_metric(ModelTask task) { return metrics_of(task).front(); }

DataSpec read_data(MapReader map) {
  DataSpec data;
  data.train = map.at("train").text();
  data.valid = map.at("valid").text();
  if (const auto value = map.find("test")) data.test = value->text();
  if (const auto value = map.find("train_rows")) data.train_rows = count_or(*value, kAll, kRowsMax);
  if (const auto value = map.find("valid_rows")) data.valid_rows = count_or(*value, kAll, kRowsMax);
  if (const auto value = map.find("partitions")) {
    data.partitions = count_or(*value, kAuto, kCountMax);
    if (data.train_rows != 0 && data.partitions > data.train_rows)
      value->refuse(text::cat("= ", data.partitions, " must be at most data.train_rows, which is ", data.train_rows));
  }
  if (const auto value = map.find("order"))
    data.order = value->word<DataSpec::Order>({{"seed", DataSpec::Order::seed}, {"free", DataSpec::Order::free}});
  if (const auto value = map.find("group_by"); value && !value->is_word(kNone)) data.group_by = value->text();
  map.finish();
  return data;
}

SearchSpec read_search(MapReader map, ModelTask task) {
  SearchSpec search;
  if (const auto value = map.find("method")) search.method = value->word(kSearchMethods);
  search.metric = default_metric(task);
  if (const auto value = map.find("metric")) {
    std::vector<std::pair<std::string, std::string>> words;
    for (const auto& metric : metrics_of(task)) words.emplace_back(metric, metric);
    search.metric = value->word(words);
  }
  search.maximize = search.metric == "valid/accuracy";
  if (const auto value = map.find("goal")) search.maximize = value->word<bool>({{"max", true}, {"min", false}});
  map.find("joint");  // read with the space
  read_search_numbers(map, search);
  read_groups(map, search);
  map.finish();
  return search;
}

void read_resources(MapReader map, ExperimentConfig& config) {
  const ValueReader devices = map.at("devices");
  for (const auto& device : devices.list()) config.devices.push_back(read_device(device.map()));
  const std::int64_t total = device_count(config.devices);
  if (total == 0 || total > kDevicesMax)
    devices.refuse(text::cat("must give 1 to ", kDevicesMax, " devices, found ", total));
  config.host_memory = map.at("host_memory").bytes();
  MapReader disk = map.at("disk").map();
  if (const auto value = disk.find("path")) config.disk_path = value->text();
  config.disk_capacity = disk.at("capacity").bytes();
  disk.finish();
  map.finish();
}

ExecuteSpec read_execute(MapReader map) {
  using Partitioner = ExecuteSpec::Partitioner;
  ExecuteSpec execute;
  if (const auto value = map.find("partitioner"))
    execute.partitioner = value->word<Partitioner>({{"dp", Partitioner::dp}, {"greedy", Partitioner::greedy}});
  if (const auto value = map.find("scheduler"); value && !value->is_word(kAuto)) {
    std::vector<std::pair<std::string, SchedulerKind>> words;
    for (const SchedulerKind kind : kSchedulerKinds) words.emplace_back(to_string(kind), kind);
    execute.scheduler = value->word(words);
  }
  if (const auto value = map.find("double_buffer")) execute.double_buffer = value->boolean();
  if (const auto value = map.find("lookahead")) execute.lookahead = static_cast<std::uint32_t>(value->whole(1, 64));
  if (const auto value = map.find("interleave")) execute.interleave = value->boolean();
  if (const auto value = map.find("keep_activations")) execute.keep_activations = value->boolean();
  if (const auto value = map.find("cuda_graphs")) execute.cuda_graphs = value->boolean();
  if (const auto value = map.find("record_kernels")) execute.record_kernels = value->boolean();
  if (const auto value = map.find("pin_memory")) execute.pin_memory = value->boolean();
  if (const auto value = map.find("prefetch_tasks"))
    execute.prefetch_tasks = static_cast<std::uint32_t>(value->whole(0, 1024));
  if (const auto value = map.find("cuts"); value && !value->is_word(kAuto)) execute.cuts = read_cuts(*value);
  if (const auto value = map.find("active_trials"); value && !value->is_word(kAuto))
    execute.active_trials = count(*value);
  if (const auto value = map.find("sharing"))
    execute.share_frozen = value->word<bool>({{"auto", true}, {"off", false}});
  for (const auto& [key, budget] :
       {std::pair{"sharing_host", &execute.sharing_host}, std::pair{"sharing_disk", &execute.sharing_disk}}) {
    if (const auto value = map.find(key); value && !value->is_word(kAuto))
      *budget = value->is_word(kNone) ? 0 : value->bytes();
  }
  map.finish();
  return execute;
}

WorkersSpec read_workers(MapReader map, DataSpec::Order order) {
  WorkersSpec workers;
  if (const auto value = map.find("replication")) workers.replication = count_or(*value, kAuto, kWorkersMax);
  if (const auto value = map.find("wait_for_worker")) workers.wait_for_worker_s = value->duration();
  if (const auto value = map.find("bind")) workers.bind = value->text();
  if (const auto value = map.find("links"))
    workers.links =
        value->word<WorkersSpec::Links>({{"gloo", WorkersSpec::Links::gloo}, {"nccl", WorkersSpec::Links::nccl}});
  if (const auto value = map.find("secret_file"); value && !value->is_word(kNone)) workers.secret_file = value->text();
  if (const auto value = map.find("scheduler")) {
    std::vector<std::pair<std::string, VisitSchedulerKind>> words{{to_string(kTask), kTask}};
    for (const VisitSchedulerKind kind : kVisitSchedulerKinds)
      if (kind != VisitSchedulerKind::seed) words.emplace_back(to_string(kind), kind);
    workers.scheduler = value->word(words);
    if (order == DataSpec::Order::seed && workers.scheduler != kTask)
      value->refuse(text::cat("= ", to_string(workers.scheduler), " belongs to data.order: free; by seed, there is no ",
                              "choice but task, which lets no trial hop"));
  }
  if (workers.scheduler == kTask) workers.state_replicas = 1;
  if (const auto value = map.find("state_replicas")) workers.state_replicas = count(*value, kWorkersMax);
  map.finish();
  return workers;
}

TrainSpec read_train(MapReader map, std::uint32_t& rows) {
  TrainSpec train;
  if (const auto value = map.find("epochs")) train.epochs = count(*value);
  if (const auto value = map.find("rows")) rows = count_or(*value, kAll, kRowsMax);
  if (const auto value = map.find("batch_size")) train.batch_size = count(*value);
  train.micro_batch_size = train.batch_size;
  if (const auto value = map.find("micro_batch_size"); value && !value->is_word(kAuto)) {
    train.micro_batch_size = count(*value);
    if (train.micro_batch_size > train.batch_size)
      value->refuse(
          text::cat("= ", train.micro_batch_size, " must be at most train.batch_size, which is ", train.batch_size));
  }
  train.optimizer = read_optimizer(map.section("optimizer"));
  train.schedule = read_schedule(map.section("schedule"));
  if (const auto value = map.find("clip_norm"); value && !value->is_word(kNone))
    train.clip_norm = value->number(above_zero, "none or a number above 0");
  if (const auto value = map.find("update"); value && !value->is_word(kAuto))
    train.update = value->word<UpdatePlace>({{"device", UpdatePlace::device}, {"host", UpdatePlace::host}});
  const auto precision = map.find("precision");
  if (precision) {
    std::vector<std::pair<std::string, Precision>> words;
    for (const Precision one : kPrecisions) words.emplace_back(to_string(one), one);
    train.precision = precision->word(words);
  }
  train.loss_scale = read_loss_scale_spec(map.section("loss_scale"));
  train.data_parallel = read_data_parallel(map.section("data_parallel"), micro_batches_of(train));
  if (is_served(train) && scales_loss(train))
    precision->refuse(
        "= fp16 does not go with data_parallel.sum: server, whose workers are at different steps and so "
        "have no scale in common; use bf16, or sum: ordered");
  map.finish();
  return train;
}

}  // namespace hopyard
