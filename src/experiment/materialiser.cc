#include "experiment/materialiser.h"

#include <algorithm>

#include "base/clock.h"
#include "base/failure.h"
#include "planner/sharing.h"

namespace hopyard {

namespace {

std::shared_ptr<Features> reserve_features(HostTier& host, std::uint32_t rows, Bytes row_bytes) {
  auto reservation = host.reserve(Features::bytes_for(rows, row_bytes));
  return reservation ? std::make_shared<Features>(std::move(*reservation), rows, row_bytes) : nullptr;
}

/// Of all that the layers up to this one give: they work in place.
Bytes widest_row(const TrialSetup& trial) {
  Bytes widest = 0;
  for (std::uint32_t l = 0; l < trial.first_layer; ++l)
    widest = std::max(widest, trial.source->description().layers[l].output_bytes_per_row);
  return widest;
}

}  // namespace

void Materialiser::want(const TrialSetup& trial) {
  if (trial.first_layer == 0) return;
  Depth& depth = chains_[prefix_key(trial)].try_emplace(trial.first_layer, Depth{trial, {}, {}, {}}).first->second;
  depth.wanted.insert(trial.number);
  reserve(depth);
}

bool Materialiser::reserve(Depth& depth) {
  const TrialSetup& trial = depth.trial;
  const Bytes row_bytes = widest_row(trial);
  if (!depth.train) depth.train = reserve_features(parts_.host, trial.train_rows, row_bytes);
  if (!depth.valid && trial.valid_rows > 0) depth.valid = reserve_features(parts_.host, trial.valid_rows, row_bytes);
  return depth.train && (depth.valid || trial.valid_rows == 0);
}

void Materialiser::let_go(const TrialSetup& trial) {
  if (trial.first_layer == 0) return;
  const auto chain = chains_.find(prefix_key(trial));
  if (chain == chains_.end()) return;
  for (auto& [end, depth] : chain->second) depth.wanted.erase(trial.number);
  sweep();
}

void Materialiser::sweep() {
  if (job_) return;  // it may read what nobody else wants
  for (auto& [prefix, chain] : chains_)
    std::erase_if(chain, [](const auto& depth) { return depth.second.wanted.empty(); });
  std::erase_if(chains_, [](const auto& chain) { return chain.second.empty(); });
}

std::optional<TrialFeatures> Materialiser::features(const TrialSetup& trial) const {
  if (trial.first_layer == 0) return TrialFeatures{};
  const Depth& depth = chains_.at(prefix_key(trial)).at(trial.first_layer);
  if (!depth.there) return std::nullopt;
  return TrialFeatures{depth.train, depth.valid, nullptr};
}

bool Materialiser::waits() const {
  if (!running_.empty()) return false;
  if (job_) return true;
  for (const auto& [prefix, chain] : chains_)
    for (const auto& [end, depth] : chain)
      if (!depth.there) return true;
  return false;
}

void Materialiser::get_on(bool alone) {
  if (!job_) start_job();
  while (job_ && !job_->waiting.empty() && running_.size() < devices_ && start(job_->waiting.front()))
    job_->waiting.pop_front();
  if (!alone || !waits()) {
    stuck_since_s_.reset();
    return;
  }
  const double now = monotonic_seconds();
  if (now - stuck_since_s_.emplace(stuck_since_s_.value_or(now)) < kNoRoomSeconds) return;
  fail(ExitCode::capacity, "resources.host_memory: no room to materialise what trials share beside ",
       parts_.host.used(), " bytes (", text::format_bytes(parts_.host.used()), ") that are taken of ",
       parts_.host.capacity(), "; raise it or set execute.sharing to off");
}

void Materialiser::start_job() {
  for (auto& [prefix, chain] : chains_) {
    std::uint32_t from = 0;
    for (auto& [end, depth] : chain) {
      if (depth.there) {
        from = end;
        continue;
      }
      if (!reserve(depth)) break;
      const Bytes free = parts_.host.capacity() - parts_.host.used();
      job_ = Job{prefix, from, end, materialising_runs(depth.trial, from, end, free), {}};
      share_out(depth.trial, false);
      share_out(depth.trial, true);
      const auto& layers = depth.trial.source->description().layers;
      parts_.event(text::cat("materialising ", layers[from].name, " to ", layers[end - 1].name, " for ",
                             depth.wanted.size(), depth.wanted.size() == 1 ? " trial" : " trials"));
      return;
    }
  }
}

void Materialiser::share_out(const TrialSetup& trial, bool valid) {
  const std::uint32_t rows = valid ? trial.valid_rows : trial.train_rows;
  const std::uint64_t units = batch_count(rows, trial.train.micro_batch_size);
  const std::uint64_t parts = std::min<std::uint64_t>(units, devices_);
  for (std::uint64_t p = 0; p < parts; ++p) {
    Part part;
    part.valid = valid;
    const std::uint64_t begin = units * p / parts * trial.train.micro_batch_size;
    const std::uint64_t end = std::min<std::uint64_t>(rows, units * (p + 1) / parts * trial.train.micro_batch_size);
    for (std::uint64_t row = begin; row < end; ++row) part.rows.push_back(static_cast<std::uint32_t>(row));
    job_->waiting.push_back(std::move(part));
  }
}

bool Materialiser::start(Part& part) {
  const Chain& chain = chains_.at(job_->prefix);
  const auto of = [&](std::uint32_t end) { return part.valid ? chain.at(end).valid : chain.at(end).train; };
  TrialSetup setup = job_->runs[part.next_run];
  setup.number = next_number_;
  setup.id = text::cat("shared.", setup.number - kFirstNumber);
  if (part.valid) setup.train_data = setup.valid_data;
  setup.total_steps = batch_count(part.rows.size(), setup.train.batch_size);
  TrialFeatures features;
  features.output = of(job_->to);
  if (part.next_run > 0)
    features.train = features.output;  // in place
  else if (job_->from > 0)
    features.train = of(job_->from);
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
  busy_s_ += result.busy_s;
  Part part = std::move(running_.extract(result.trial).mapped());
  part.run.reset();
  if (++part.next_run < job_->runs.size())
    job_->waiting.push_front(std::move(part));
  else if (job_->waiting.empty() && running_.empty())
    finish_job();
}

void Materialiser::finish_job() {
  chains_.at(job_->prefix).at(job_->to).there = true;
  job_.reset();
  sweep();
}

}  // namespace hopyard
