#include "experiment/materialiser.h"

#include <algorithm>

#include "base/clock.h"
#include "base/failure.h"
#include "planner/sharing.h"

namespace hopyard {

namespace {

/// Of all that the layers up to this one give: they work in place.
Bytes widest_row(const TrialSetup& trial) {
  Bytes widest = 0;
  for (std::uint32_t l = 0; l < trial.first_layer; ++l)
    widest = std::max(widest, row_bytes(trial.source->description().layers[l], trial.train.precision));
  return widest;
}

std::shared_ptr<Features> all_rows(HostTier& host, std::uint32_t rows, Bytes row_bytes) {
  auto reservation = host.reserve(Features::bytes_for(rows, row_bytes));
  return reservation ? std::make_shared<Features>(std::move(*reservation), rows, row_bytes) : nullptr;
}

std::shared_ptr<Features> rows_of_visits(HostTier& host, std::uint32_t rows, Features::Segments segments,
                                         Bytes row_bytes) {
  const auto slots = std::min<std::uint32_t>(kFeatureSlots, static_cast<std::uint32_t>(segments.size()));
  auto reservation = host.reserve(Features::bytes_for(segments, slots, row_bytes));
  if (!reservation) return nullptr;
  return std::make_shared<Features>(std::move(*reservation), rows, std::move(segments), slots, row_bytes);
}

}  // namespace

Materialiser::Key Materialiser::key_of(const TrialSetup& trial) {
  return {trial.first_layer, trial.feature_tier == FeatureTier::host ? nullptr : trial.partitions.get()};
}

void Materialiser::want(const TrialSetup& trial) {
  if (trial.first_layer == 0) return;
  const auto [found, is_new] = chains_[prefix_key(trial)].try_emplace(key_of(trial));
  Depth& depth = found->second;
  if (is_new) depth.trial = trial;
  depth.wanted.insert(trial.number);
  depths_[trial.number] = &depth;
  reserve(depth);
}

std::unique_ptr<FeatureShelf> Materialiser::make_shelf(const Depth& depth, bool valid) const {
  const TrialSetup& trial = depth.trial;
  const Bytes row_bytes = widest_row(trial);
  const bool all = valid || depth.whole();
  auto features = all ? all_rows(parts_.host, valid ? trial.valid_rows : trial.train_rows, row_bytes)
                      : rows_of_visits(parts_.host, trial.train_rows, trial.partitions->members(), row_bytes);
  if (!features) return nullptr;
  const FeatureTier tier = all ? FeatureTier::host : trial.feature_tier;
  return std::make_unique<FeatureShelf>(
      std::move(features), tier, trial.first_layer,
      FeatureShelfParts{parts_.disk, parts_.pool, [&executor = parts_.executor] { executor.nudge(); }});
}

bool Materialiser::reserve(Depth& depth) {
  const TrialSetup& trial = depth.trial;
  if (!depth.train) depth.train = make_shelf(depth, false);
  if (!depth.valid && trial.valid_rows > 0) depth.valid = make_shelf(depth, true);
  if (!depth.train || (!depth.valid && trial.valid_rows > 0)) return false;
  if (depth.whole() || !depth.layers.empty()) return true;
  std::vector<std::shared_ptr<const FrozenLayer>> layers;
  for (const auto& run : materialising_runs(trial, 0, trial.first_layer, parts_.host.capacity()))
    for (const auto layer : shared_layers(run)) {
      layers.push_back(parts_.frozen.get(*trial.source, layer, trial.seed, frozen_form(trial)));
      if (layers.back() == nullptr) return false;
    }
  depth.layers = std::move(layers);
  return true;
}

void Materialiser::let_go(const TrialSetup& trial) {
  const auto depth = depths_.find(trial.number);
  if (depth == depths_.end()) return;
  depth->second->wanted.erase(trial.number);
  depths_.erase(depth);
  sweep();
}

void Materialiser::sweep() {
  if (job_) return;  // it may read what nobody else wants
  for (auto& [prefix, chain] : chains_)
    std::erase_if(chain, [](const auto& depth) { return depth.second.wanted.empty(); });
  std::erase_if(chains_, [](const auto& chain) { return chain.second.empty(); });
}

bool Materialiser::ready(const TrialSetup& trial, std::uint32_t partition) const {
  if (trial.first_layer == 0) return true;
  const Depth& depth = depth_of(trial);
  const auto here = [](const FeatureShelf& shelf, std::uint32_t segment) {
    return shelf.state(segment) == FeatureShelf::State::here;
  };
  if (!depth.train || !here(*depth.train, depth.segment(partition))) return false;
  return trial.valid_rows == 0 || (depth.valid && here(*depth.valid, 0));
}

TrialFeatures Materialiser::features(const TrialSetup& trial) const {
  if (trial.first_layer == 0) return {};
  const Depth& depth = depth_of(trial);
  return {depth.train->features(), depth.valid ? depth.valid->features() : nullptr, nullptr};
}

std::vector<FeatureHold> Materialiser::hold(const TrialSetup& trial, std::uint32_t partition) const {
  if (trial.first_layer == 0) return {};
  require(ready(trial, partition), trial.id, ": its features of partition ", partition, " are not there");
  const Depth& depth = depth_of(trial);
  return {depth.train->hold(depth.segment(partition))};
}

void Materialiser::get_on(std::vector<FeatureDemand> demands, bool alone) {
  poll();
  std::stable_sort(demands.begin(), demands.end(), [](const FeatureDemand& a, const FeatureDemand& b) {
    return std::pair(a.visits_done, a.trial->first_layer) < std::pair(b.visits_done, b.trial->first_layer);
  });
  std::map<const Depth*, std::set<std::uint32_t>> needed;
  bool room = true;
  for (const auto& demand : demands) room = serve(demand, needed) && room;
  while (job_ && !job_->waiting.empty() && running_.size() < devices_ && start(job_->waiting.front()))
    job_->waiting.pop_front();
  if (job_ && running_.empty()) room = false;
  waits_ = !room && !busy();
  fail_if_stuck(alone);
}

void Materialiser::poll() {
  for (auto& [prefix, chain] : chains_)
    for (auto& [end, depth] : chain)
      for (const auto& shelf : {depth.train.get(), depth.valid.get()})
        if (shelf != nullptr) shelf->poll();
}

bool Materialiser::busy() const {
  if (!running_.empty()) return true;
  for (const auto& [prefix, chain] : chains_)
    for (const auto& [end, depth] : chain)
      if (depth.train && depth.train->busy()) return true;
  return false;
}

/// False when it finds no room in the host tier. `needed`: segments that trials at least as far behind wait for.
bool Materialiser::serve(const FeatureDemand& demand, std::map<const Depth*, std::set<std::uint32_t>>& needed) {
  using State = FeatureShelf::State;
  const auto found = depths_.find(demand.trial->number);
  if (found == depths_.end()) return true;
  Depth& depth = *found->second;
  if (!reserve(depth)) return false;
  const std::uint32_t segment = depth.segment(demand.partition);
  auto& mine = needed[&depth];
  const State state = depth.train->state(segment);
  const bool valid = depth.valid && depth.valid->state(0) == State::absent;
  const bool moves = state == State::on_disk || (state == State::absent && !job_);
  const bool placed = moves && depth.train->make_place(segment, mine);
  mine.insert(segment);
  if (placed && state == State::on_disk) depth.train->read(segment);
  const bool computes = placed && state == State::absent;
  if (!job_ && (computes || valid)) start_job(depth, computes ? std::optional(segment) : std::nullopt, valid);
  return true;
}

void Materialiser::start_job(Depth& depth, std::optional<std::uint32_t> train, bool valid) {
  const TrialSetup& trial = depth.trial;
  job_ = Job{&depth, nullptr, train, valid, {}, {}, {}};
  find_source();
  const std::uint32_t from = job_->from == nullptr ? 0 : job_->from->trial.first_layer;
  const Bytes free = parts_.host.capacity() - (depth.whole() ? parts_.host.used() : 0);
  job_->runs = materialising_runs(trial, from, trial.first_layer, free);
  if (train) {
    depth.train->begin_computing(*train);
    share_out(depth.train->features()->segments()[*train], false, trial.train.micro_batch_size);
  }
  if (valid) {
    depth.valid->begin_computing(0);
    share_out(depth.valid->features()->segments()[0], true, trial.train.micro_batch_size);
  }
  announce(depth, from);
}

/// The deepest layer of the chain behind which all rows of the job are in host memory.
void Materialiser::find_source() {
  const Depth& target = *job_->to;
  for (const auto& [key, depth] : chains_.at(prefix_key(target.trial))) {
    const bool same_rows = depth.whole() || key.second == key_of(target.trial).second;
    if (key.first >= target.trial.first_layer || !same_rows) continue;
    std::vector<FeatureHold> holds;
    if (job_->train) holds.push_back(depth.train ? depth.train->hold(depth.whole() ? 0 : *job_->train) : nullptr);
    if (job_->valid) holds.push_back(depth.valid ? depth.valid->hold(0) : nullptr);
    if (std::find(holds.begin(), holds.end(), nullptr) != holds.end()) continue;
    job_->from = &depth;
    job_->source = std::move(holds);
  }
}

void Materialiser::announce(Depth& depth, std::uint32_t from) {
  const auto& layers = depth.trial.source->description().layers;
  const std::uint32_t end = depth.trial.first_layer;
  taken_.try_emplace({prefix_key(depth.trial), end},
                     MaterialisedDepth{layers.front().name, layers[end - 1].name, end, 0});
  if (depth.announced) return;
  depth.announced = true;
  const char* where = "";
  if (depth.trial.feature_tier == FeatureTier::disk) where = ", to disk";
  if (depth.trial.feature_tier == FeatureTier::fused) where = ", once for each visit";
  parts_.event(text::cat("materialising ", layers[from].name, " to ", layers[end - 1].name, " for ",
                         depth.wanted.size(), depth.wanted.size() == 1 ? " trial" : " trials", where));
}

void Materialiser::share_out(const std::vector<std::uint32_t>& rows, bool valid, std::uint32_t micro_batch_size) {
  const std::uint64_t units = batch_count(rows.size(), micro_batch_size);
  const std::uint64_t parts = std::min<std::uint64_t>(units, devices_);
  for (std::uint64_t p = 0; p < parts; ++p) {
    Part part;
    part.valid = valid;
    const std::uint64_t begin = units * p / parts * micro_batch_size;
    const std::uint64_t end = std::min<std::uint64_t>(rows.size(), units * (p + 1) / parts * micro_batch_size);
    part.rows.assign(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                     rows.begin() + static_cast<std::ptrdiff_t>(end));
    job_->waiting.push_back(std::move(part));
  }
}

bool Materialiser::start(Part& part) {
  const auto of = [&](const Depth& depth) { return (part.valid ? depth.valid : depth.train)->features(); };
  TrialSetup setup = job_->runs[part.next_run];
  setup.number = next_number_;
  setup.id = text::cat("shared.", setup.number - kFirstNumber);
  if (part.valid) setup.train_data = setup.valid_data;
  setup.total_steps = batch_count(part.rows.size(), setup.train.batch_size);
  TrialFeatures features;
  features.output = of(*job_->to);
  if (part.next_run > 0)
    features.train = features.output;  // in place
  else if (job_->from != nullptr)
    features.train = of(*job_->from);
  auto grant = grant_trial(setup, parts_.host, parts_.frozen, std::move(features));
  if (!grant) return false;
  part.run = std::make_shared<TrialRun>(setup, std::move(*grant), parts_.disk, parts_.pool,
                                        [&executor = parts_.executor] { executor.wake(); });
  Visit visit;
  visit.rows = part.rows;
  parts_.executor.start_visit(part.run, std::move(visit));
  running_.emplace(next_number_++, std::move(part));
  return true;
}

void Materialiser::ended(VisitResult result) {
  if (result.error) std::rethrow_exception(result.error);
  taken_.at({prefix_key(job_->to->trial), job_->to->trial.first_layer}).busy_s += result.busy_s;
  Part part = std::move(running_.extract(result.trial).mapped());
  part.run.reset();
  if (++part.next_run < job_->runs.size())
    job_->waiting.push_front(std::move(part));
  else if (job_->waiting.empty() && running_.empty())
    finish_job();
}

void Materialiser::finish_job() {
  Depth& depth = *job_->to;
  if (job_->train) depth.train->computed(*job_->train);
  if (job_->valid) depth.valid->computed(0);
  job_.reset();
  sweep();
}

double Materialiser::busy_s() const {
  double sum = 0;
  for (const auto& [key, depth] : taken_) sum += depth.busy_s;
  return sum;
}

std::vector<MaterialisedDepth> Materialiser::depths() const {
  std::vector<MaterialisedDepth> all;
  for (const auto& [key, depth] : taken_) all.push_back(depth);
  return all;
}

void Materialiser::fail_if_stuck(bool alone) {
  if (!alone || !waits_) {
    stuck_since_s_.reset();
    return;
  }
  const double now = monotonic_seconds();
  if (now - stuck_since_s_.emplace(stuck_since_s_.value_or(now)) < kNoRoomSeconds) return;
  fail(ExitCode::capacity, "resources.host_memory: no room to materialise what trials share beside ",
       parts_.host.used(), " bytes (", text::format_bytes(parts_.host.used()), ") that are taken of ",
       parts_.host.capacity(), "; raise it or set execute.sharing to off");
}

}  // namespace hopyard
