#include "pipeline/trial_run.h"

#include <algorithm>
#include <cmath>

#include "base/failure.h"

namespace hopyard {

namespace {

constexpr double kMaterialisingFirst = 1e18;  // seconds: trials wait for it

/// Null when the host tier has no room.
std::unique_ptr<Boundary> reserve_boundary(HostTier& host, Bytes bytes) {
  auto reservation = host.reserve(HostBuffer::rounded(bytes));
  return reservation ? std::make_unique<Boundary>(HostBuffer(std::move(*reservation), bytes)) : nullptr;
}

}  // namespace

void require_finite(double loss, std::uint64_t step) {
  if (!std::isfinite(loss))
    throw Diverged(
        text::cat("the loss was not a finite number at step ", step + 1, ": lower the learning rate or set clip_norm"));
}

TrialRun::TrialRun(TrialSetup setup, TrialGrant grant, DiskTier& disk, IoPool& pool, std::function<void()> wake)
    : setup_(std::move(setup)), keeps_copies_(keeps_copies(setup_)), features_(std::move(grant.features)) {
  require((setup_.first_layer > 0) == (features_.train != nullptr), setup_.id, ": begins with layer ",
          setup_.first_layer, features_.train ? " and has features" : " and has no features");
  require(setup_.materialise_to.has_value() == (features_.output != nullptr), setup_.id, ": no place for its features");
  make_blobs(grant, disk, pool, std::move(wake));
  make_boundaries(grant.bytes);
  if (!setup_.valid_partitions && setup_.valid_rows > 0)
    setup_.valid_partitions = std::make_shared<Partitions>(Partitions::laid_out({0, setup_.valid_rows}, 0));
  first_backward_ = first_backward_shard(setup_.plan);
  loss_scale_.scale = setup_.train.loss_scale.initial;
}

double TrialRun::squared_norm() const {
  double sum = 0;
  for (const auto& layer : norms_)
    for (const double part : layer) sum += part;
  return sum;
}

std::uint64_t TrialRun::update_of(const PlannedTask& task) const {
  return has_loss_scale(setup_) ? loss_scale_.updates + 1 : step_of(task) + 1;
}

void TrialRun::end_step() {
  losses_.clear();
  if (!has_loss_scale(setup_) || unit_ >= training_units()) return;
  const bool finite = std::isfinite(squared_norm());
  loss_scale_.note(finite, setup_.train.loss_scale);
  result_.skipped_steps += finite ? 0 : 1;
}

std::uint32_t TrialRun::training_units() const {
  return static_cast<std::uint32_t>(batch_count(visit_.rows.size(), setup_.train.batch_size));
}

void TrialRun::plan_evaluation() {
  judged_units_.clear();
  if (!visit_.evaluate || !setup_.valid_partitions) return;
  const Partitions& all = *setup_.valid_partitions;
  for (const std::uint32_t partition : visit_.judge_on.value_or(all.to_visit())) {
    const auto rows = all.shuffled(partition);
    for (std::size_t begin = 0; begin < rows.size(); begin += setup_.train.batch_size)
      judged_units_.push_back(
          {partition, rows.subspan(begin, std::min<std::size_t>(setup_.train.batch_size, rows.size() - begin))});
  }
}

const std::vector<TaskRef>& TrialRun::program_of(std::uint32_t unit) const {
  if (unit >= training_units()) return evaluate_program_;
  return micro_batches_of(planned(unit, {})).count() > 0 ? train_program_ : bystander_program_;
}

void TrialRun::begin_visit(Visit visit) {
  require(visit.share.alone() == (visit.tie == nullptr), setup_.id, ": a visit of ", visit.share.members,
          " members with", visit.tie ? "" : "out", " a tie between them");
  require(visit.share.alone() || visit.share.members == setup_.train.data_parallel.degree, setup_.id, ": ",
          visit.share.members, " members for a degree of ", setup_.train.data_parallel.degree);
  auto* const exchange = dynamic_cast<StepExchange*>(visit.tie.get());
  auto* const server = dynamic_cast<ServerEnd*>(visit.tie.get());
  require(visit.share.alone() || exchange != nullptr || server != nullptr, setup_.id, ": what ties it is of no kind");
  const bool in_order = setup_.train.data_parallel.sum == DataParallelSpec::Sum::ordered;
  require(exchange == nullptr || exchange->in_order() == in_order, setup_.id, ": its gradients are to be added ",
          in_order ? "in order" : "in any order", ", and the exchange does not");
  require(visit.rows.empty() || is_served(setup_.train) == (server != nullptr), setup_.id,
          server != nullptr ? ": it has a server, and its gradients are to be added" : ": it has no server");
  exchange_ = exchange;
  server_ = server;
  visit_ = std::move(visit);
  plan_evaluation();
  result_ = VisitResult{};
  result_.trial = setup_.number;
  result_.visit = visit_;
  train_program_ = training_program(setup_);
  bystander_program_ = bystander_program(setup_);
  evaluate_program_ = evaluation_program(setup_);
  losses_.clear();
  unit_ = 0;
  const auto& first = program_of(0);  // a visit without rows only evaluates
  unit_tasks_.assign(first.begin(), first.end());
  note_all_next_uses();
}

PlannedTask TrialRun::planned(std::uint32_t unit, const TaskRef& task) const {
  const std::uint32_t training = training_units();
  return unit < training ? PlannedTask{task, unit, false} : PlannedTask{task, unit - training, true};
}

std::optional<PlannedTask> TrialRun::peek(std::uint32_t ahead) const {
  const std::uint32_t units = training_units() + evaluation_units();
  if (unit_ >= units) return std::nullopt;
  if (ahead < unit_tasks_.size()) return planned(unit_, unit_tasks_[ahead]);
  ahead -= static_cast<std::uint32_t>(unit_tasks_.size());
  for (std::uint32_t unit = unit_ + 1; unit < units; ++unit) {
    const auto& program = program_of(unit);
    if (ahead < program.size()) return planned(unit, program[ahead]);
    ahead -= static_cast<std::uint32_t>(program.size());
  }
  return std::nullopt;
}

void TrialRun::advance(bool used) {
  const auto blobs = blobs_of(unit_tasks_.front());
  unit_tasks_.pop_front();
  ++tasks_done_;
  if (unit_tasks_.empty()) {
    end_step();
    ++unit_;
    if (unit_ < training_units() + evaluation_units())
      unit_tasks_.assign(program_of(unit_).begin(), program_of(unit_).end());
  }
  if (used) note_next_uses(blobs);
}

void TrialRun::note_all_next_uses() {
  std::vector<std::uint32_t> all(next_use_.size());
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i] = i;
  note_next_uses(all);
}

void TrialRun::note_next_uses(std::span<const std::uint32_t> blobs) {
  const auto horizon = static_cast<std::uint32_t>(2 * train_program_.size() + evaluate_program_.size());
  std::vector<bool> open(next_use_.size(), false);
  std::size_t left = blobs.size();
  for (const auto blob : blobs) {
    open[blob] = true;
    next_use_[blob].store(tasks_done_ + horizon, std::memory_order_relaxed);
  }
  for (std::uint32_t ahead = 0; ahead < horizon && left > 0; ++ahead) {
    const auto task = peek(ahead);
    if (!task) break;
    for (const auto blob : blobs_of(task->task)) {
      if (!open[blob]) continue;
      open[blob] = false;
      --left;
      next_use_[blob].store(tasks_done_ + ahead, std::memory_order_relaxed);
    }
  }
}

VisitResult TrialRun::take_result() {
  exchange_ = nullptr;
  server_ = nullptr;
  visit_.tie.reset();
  result_.visit.tie.reset();
  return std::move(result_);
}

void TrialRun::note_losses(const std::vector<MicroBatchLoss>& losses) {
  if (!losses.empty()) losses_ = losses;
}

std::span<TrialRun::LayerState> TrialRun::layers_of(std::uint32_t shard) {
  const auto& plan = setup_.plan.shards[shard];
  return std::span(layers_).subspan(plan.begin, plan.end - plan.begin);
}

bool TrialRun::passes_gradient_down(std::uint32_t shard) const { return shard > first_backward_; }

std::span<const std::uint32_t> TrialRun::batch_of(const PlannedTask& task) const {
  if (task.evaluation) return judged_units_.at(task.unit).rows;
  const std::size_t begin = std::size_t{task.unit} * setup_.train.batch_size;
  return std::span(visit_.rows)
      .subspan(begin, std::min<std::size_t>(setup_.train.batch_size, visit_.rows.size() - begin));
}

std::uint32_t TrialRun::micro_batches_in_batch(const PlannedTask& task) const {
  return static_cast<std::uint32_t>(batch_count(batch_of(task).size(), setup_.train.micro_batch_size));
}

MicroBatchRange TrialRun::micro_batches_of(const PlannedTask& task) const {
  const std::uint32_t all = micro_batches_in_batch(task);
  return task.evaluation ? MicroBatchRange{0, all} : visit_.share.of(all);
}

std::vector<std::uint32_t> TrialRun::rows_of(const PlannedTask& task) const {
  const auto batch = batch_of(task);
  const MicroBatchRange range = micro_batches_of(task);
  const auto place = [&](std::uint32_t micro_batch) {
    return std::min(std::size_t{micro_batch} * setup_.train.micro_batch_size, batch.size());
  };
  const auto own = batch.subspan(place(range.begin), place(range.end) - place(range.begin));
  return {own.begin(), own.end()};
}

Boundary* TrialRun::input_of(const PlannedTask& planned) {
  const std::uint32_t s = planned.task.shard;
  if (s == 0 || planned.task.kind == TaskKind::update) return nullptr;
  return planned.evaluation ? evaluations_[(s - 1) % 2].get() : activations_[s - 1].get();
}

const Features* TrialRun::features_for(const PlannedTask& planned) const {
  if (planned.task.shard > 0 || planned.task.kind == TaskKind::update) return nullptr;
  return planned.evaluation ? features_.valid.get() : features_.train.get();
}

Features* TrialRun::features_from(const PlannedTask& planned) const {
  return is_last(planned.task.shard) ? features_.output.get() : nullptr;
}

Bytes TrialRun::activation_bytes(const PlannedTask& planned) {
  if (const Boundary* boundary = input_of(planned)) return boundary->host.size();
  return features_for(planned) ? boundary_bytes(setup_, setup_.first_layer - 1) : 0;
}

Boundary* TrialRun::gradient_of(const PlannedTask& planned) {
  if (planned.task.kind != TaskKind::backward || is_last(planned.task.shard)) return nullptr;
  return gradients_[planned.task.shard % 2].get();
}

Boundary* TrialRun::output_of(const PlannedTask& planned) {
  const std::uint32_t s = planned.task.shard;
  switch (planned.task.kind) {
    case TaskKind::forward:
      return activations_[s].get();
    case TaskKind::materialise:
      return is_last(s) ? nullptr : activations_[s].get();
    case TaskKind::evaluate:
      return is_last(s) ? nullptr : evaluations_[s % 2].get();
    case TaskKind::backward:
      return passes_gradient_down(s) ? gradients_[(s - 1) % 2].get() : nullptr;
    case TaskKind::update:
    case TaskKind::exchange:
      return nullptr;
  }
  return nullptr;
}

bool TrialRun::output_needed_later(const PlannedTask& planned) const {
  // Read by the next shard's forward at once, and again by its backward if that recomputes.
  return planned.task.kind == TaskKind::forward && recomputes(planned.task.shard + 1);
}

std::vector<TaskRef> TrialRun::halves_of(TaskKind kind, std::uint32_t shard) const {
  const bool first_trains = shard >= first_backward_;
  switch (kind) {
    case TaskKind::backward:
      if (first_trains) return {{kind, shard + 1}, {kind, shard}};
      return {{kind, shard + 1}};
    case TaskKind::update:
      if (first_trains) return {{kind, shard}, {kind, shard + 1}};
      return {{kind, shard + 1}};
    default:
      return {{kind, shard}, {kind, shard + 1}};
  }
}

std::optional<PartitionPlan> TrialRun::plan_with_halves(std::uint32_t shard) const {
  const ShardPlan& old = setup_.plan.shards[shard];
  const std::uint32_t layers = old.end - old.begin;
  TrialSetup cut = setup_;
  cut.plan.resident = false;
  cut.plan.shards.insert(cut.plan.shards.begin() + shard, ShardPlan());
  // The places from the middle outwards: half, one after, one before, two after, …
  for (std::uint32_t i = 0; i + 1 < layers; ++i) {
    const std::uint32_t place = i % 2 == 0 ? layers / 2 - i / 2 : layers / 2 + (i + 1) / 2;
    cut.plan.shards[shard] = make_shard(setup_.costs, old.begin, old.begin + place, setup_.limits);
    cut.plan.shards[shard + 1] = make_shard(setup_.costs, old.begin + place, old.end, setup_.limits);
    if (trial_window_min(cut) <= cache_->window()) return cut.plan;
  }
  return std::nullopt;
}

bool TrialRun::recut(HostTier& host) {
  const TaskRef task = unit_tasks_.front();
  const std::uint32_t s = task.shard;
  if (!keeps_copies_) setup_.limits.own_copies = false;  // what stayed on the device has made none
  auto plan = plan_with_halves(s);
  if (!plan) return false;
  const std::uint32_t middle = plan->shards[s].end;
  auto boundary = reserve_boundary(host, boundary_bytes(setup_, middle - 1));
  if (boundary == nullptr) return false;
  activations_.insert(activations_.begin() + s, std::move(boundary));
  if (setup_.materialise_to) {
    // Goes no way back.
  } else if (gradients_.empty()) {
    // Was one shard until now: the remaining boundaries are made as well.
    const Bytes largest = largest_boundary_bytes(setup_);
    for (int i = 0; i < 2; ++i) gradients_.push_back(reserve_boundary(host, largest));
    for (int i = 0; i < 2 && setup_.valid_rows > 0; ++i) evaluations_.push_back(reserve_boundary(host, largest));
    for (const auto* all : {&gradients_, &evaluations_})
      if (std::any_of(all->begin(), all->end(), [](const auto& b) { return b == nullptr; })) return false;
  } else {
    std::swap(gradients_[0], gradients_[1]);  // the gradient that waits for shard s now waits for s + 1
  }
  const bool kept_gradients = keeps_gradients(setup_);
  setup_.plan = std::move(*plan);
  first_backward_ = first_backward_shard(setup_.plan);

  std::deque<TaskRef> tasks;
  for (std::size_t i = 0; i < unit_tasks_.size(); ++i) {
    TaskRef left = unit_tasks_[i];
    if (left.shard != s || left.kind == TaskKind::exchange) {  // an exchange is of all shards
      left.shard += left.shard > s;
      tasks.push_back(left);
      continue;
    }
    // The present task's backward has no activation at the new boundary yet; a later one's is made by the forward
    // halves.
    if (i == 0 && left.kind == TaskKind::backward) tasks.push_back({TaskKind::forward, s});
    for (const auto& half : halves_of(left.kind, s)) tasks.push_back(half);
  }
  // A clipped step that was one task updates in a second pass from now on.
  if (task.kind == TaskKind::backward && keeps_gradients(setup_) && !kept_gradients)
    for (std::uint32_t u = first_backward_; u < setup_.plan.shards.size(); ++u) tasks.push_back({TaskKind::update, u});
  unit_tasks_ = std::move(tasks);
  train_program_ = training_program(setup_);
  bystander_program_ = bystander_program(setup_);
  evaluate_program_ = evaluation_program(setup_);
  note_all_next_uses();
  return true;
}

double TrialRun::remaining_s(std::uint32_t tasks) const {
  if (setup_.materialise_to) return kMaterialisingFirst;
  const double t = setup_.plan.compute_s;
  const std::uint64_t done = visit_.first_step + std::min(unit_, training_units());
  const double steps = done < setup_.total_steps ? static_cast<double>(setup_.total_steps - done) : 0;
  const double in_step = train_program_.empty() ? 0
                                                : (static_cast<double>(unit_tasks_.size()) - tasks) /
                                                      static_cast<double>(train_program_.size());
  return std::max(0.0, steps - 1) * t + in_step * t;
}

double TrialRun::step_left(std::uint32_t tasks) const {
  auto left = static_cast<double>(unit_tasks_.size()) - tasks;
  const auto whole = static_cast<double>(train_program_.size());
  while (left <= 0) left += whole;
  return left / whole;
}

double TrialRun::total_s() const {
  return setup_.materialise_to ? kMaterialisingFirst : setup_.plan.compute_s * static_cast<double>(setup_.total_steps);
}

double TrialRun::visit_fraction() const {
  const double units = training_units() + evaluation_units();
  return units > 0 ? unit_ / units : 1;
}

}  // namespace hopyard
