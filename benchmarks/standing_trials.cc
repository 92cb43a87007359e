#include "standing_trials.h"

#include <ios>
#include <sstream>

#include "base/clock.h"
#include "base/failure.h"
#include "cuda/activity_recorder.h"
#include "planner/planner.h"

namespace hopyard {

namespace {

constexpr int kIoThreads = 2;
constexpr std::uint64_t kHorizon = 1'000'000;  // steps that the trials might be trained for
constexpr double kWaitMax_s = 600;
constexpr Bytes kDiskBytes = 8 * GiB;
constexpr Bytes kNoBound = Bytes{1} << 50;

void append_losses(std::string& losses, const VisitResult& result) {
  std::ostringstream out;
  out << std::hexfloat << result.loss_sum << '/' << result.loss_items;
  for (const auto& point : result.curve) out << ' ' << point.step << ':' << point.loss;
  losses += out.str() + "\n";
}

CardTimes between(const DeviceReport& before, const DeviceReport& after, double seconds) {
  CardTimes times;
  times.wall_s = seconds;
  times.busy_s = after.busy_s - before.busy_s;
  times.link = {after.link.loaded - before.link.loaded, after.link.stored - before.link.stored,
                after.link.load_busy_s - before.link.load_busy_s, after.link.store_busy_s - before.link.store_busy_s};
  times.tasks = after.tasks - before.tasks;
  times.recuts = after.recuts;  // the first step's, too
  times.spared_forwards = after.spared_forwards - before.spared_forwards;
  times.recorded_steps = after.recorded_steps - before.recorded_steps;
  times.memory_peak = after.memory_peak;
  return times;
}

}  // namespace

TrialSetup plan_on_card(const BenchModel& model, const TrainSpec& train, const GpuCard& card, const DeviceSpec& spec,
                        const ExecuteSpec& execute) {
  TrialSetup setup;
  setup.id = "t0";
  setup.source = model.source;
  setup.train_data = setup.valid_data = model.data;
  setup.train = train;
  setup.total_steps = kHorizon;
  PlannerInputs inputs;
  inputs.devices = {spec};
  inputs.host_memory = kNoBound;
  inputs.disk_capacity = kDiskBytes;
  inputs.execute = execute;
  inputs.measure = card.maker(spec);
  Planner(inputs).plan(setup);
  return setup;
}

Bytes host_bytes(const TrialSetup& setup) {
  return HostBuffer::rounded(trial_state_bytes(setup) + trial_overhead_bytes(setup));
}

std::vector<std::uint32_t> cuts_of(const PartitionPlan& plan) {
  std::vector<std::uint32_t> cuts;
  for (std::size_t s = 1; s < plan.shards.size(); ++s) cuts.push_back(plan.shards[s].begin);
  return cuts;
}

StandingTrials::StandingTrials(const BenchModel& model, const GpuCard& card, const DeviceSpec& spec, HostTier& host,
                               const TrialSetup& planned, std::uint32_t count)
    : model_(model),
      card_(card),
      spec_(spec),
      host_(host),
      disk_(open_rocks_disk_tier({model.folder() + "/spill", kDiskBytes})),
      pool_(kIoThreads),
      frozen_(host),
      visits_(count),
      steps_done_(count),
      losses_(count) {
  for (std::uint32_t t = 0; t < count; ++t) {
    TrialSetup setup = planned;
    setup.number = t;
    setup.id = text::cat("t", t);
    setup.seed = t;
    auto grant = grant_trial(setup, host, frozen_);
    require(grant.has_value(), "no host memory for ", count, " such trials: ", host.capacity(), " bytes");
    trials_.push_back(std::make_shared<TrialRun>(setup, std::move(*grant), *disk_, pool_, [this] { wake(); }));
    trials_.back()->initialise();
  }
}

StandingTrials::~StandingTrials() { trials_.clear(); }

/// While it lives, the trials' disk work wakes the executor.
class StandingTrials::Running {
 public:
  Running(StandingTrials& trials, Executor& executor) : trials_(trials) { set(&executor); }
  ~Running() { set(nullptr); }

 private:
  void set(Executor* executor) {
    const std::lock_guard lock(trials_.mutex_);
    trials_.executor_ = executor;
  }
  StandingTrials& trials_;
};

void StandingTrials::wake() {
  const std::lock_guard lock(mutex_);
  if (executor_ != nullptr) executor_->wake();
}

void StandingTrials::visit(Executor& executor, const CardRun& run, std::uint32_t steps) {
  const auto await = [&](std::uint32_t count) {
    for (std::uint32_t i = 0; i < count; ++i) {
      auto ended = executor.wait_finished(kWaitMax_s);
      require(ended.has_value(), "the engine came to a stop: ", executor.diagnosis());
      if (ended->error) std::rethrow_exception(ended->error);
      append_losses(losses_[ended->trial], *ended);
    }
  };
  for (std::uint32_t t = 0; t < run.trials; ++t) {
    Visit visit;
    visit.index = visits_[t]++;
    visit.rows = model_.first_rows(steps * trials_[t]->setup().train.batch_size);
    visit.first_step = steps_done_[t];
    steps_done_[t] += steps;
    executor.start_visit(trials_[t], std::move(visit));
    if (run.one_at_a_time) await(1);
  }
  if (!run.one_at_a_time) await(run.trials);
}

CardTimes StandingTrials::run(const CardRun& run) {
  std::vector<std::unique_ptr<Device>> devices;
  devices.push_back(card_.make(spec_));
  Executor executor(run.execute, 1, std::move(devices), host_, nullptr);
  const Running running(*this, executor);
  visit(executor, run, 1);
  std::string why_not = card_.is_real() ? "nobody asked for the card's" : "there is no card";
  auto recorder = run.records_activity && card_.is_real() ? record_activity(why_not) : nullptr;
  const DeviceReport before = executor.devices().front();
  const double begin = monotonic_seconds();
  visit(executor, run, run.steps);
  const double end = monotonic_seconds();
  CardTimes times = between(before, executor.devices().front(), end - begin);
  times.why_no_activity = why_not;
  if (recorder) {
    const ActivityLog log = recorder->stop();
    if (log.dropped == 0)
      times.activity = card_activity(log.records, 0, begin, end);
    else
      times.why_no_activity = text::cat(log.dropped, " records were dropped");
  }
  return times;
}

std::vector<std::string> StandingTrials::outcomes() {
  std::vector<std::string> outcomes;
  for (std::size_t t = 0; t < trials_.size(); ++t) outcomes.push_back(losses_[t] + to_hex(trials_[t]->digest()));
  return outcomes;
}

}  // namespace hopyard
