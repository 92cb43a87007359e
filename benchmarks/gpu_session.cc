#include "gpu_session.h"

#include <gflags/gflags.h>

#include <algorithm>
#include <iostream>

#include "base/clock.h"
#include "base/failure.h"
#include "base/text.h"
#include "resident_loop.h"

DEFINE_int32(gpu_rows, 64, "rows of 1024 tokens in a batch of the groups gpu/…");
DEFINE_int32(gpu_micro_rows, 4, "rows of their largest micro-batches; halved until they fit");
DEFINE_int32(gpu_budget_gib, 12, "memory of the card that cut trials have");

namespace hopyard {

namespace {

struct Shape {
  int width, layers, vocabulary, tokens, heads;
};
constexpr Shape kLarge{2048, 20, 32'768, 1024, 16}, kSmoke{512, 6, 4096, 128, 8}, kPaper{32, 4, 64, 16, 4};
constexpr Bytes kSmokeBudget = 2 * GiB, kPaperBudget = 256 * MiB;
constexpr std::uint32_t kResidentSteps = 3;

const Shape& shape_of(const GpuCard& card, bool quick) {
  if (!quick) return kLarge;
  return card.is_real() ? kSmoke : kPaper;
}

/// For whoever reads the log.
void describe(const TrialSetup& setup) {
  const PartitionPlan& plan = setup.plan;
  std::vector<std::string> cuts;
  for (const auto first : cuts_of(plan)) cuts.push_back(std::to_string(first));
  std::cout << "  cut before layers " << text::join(cuts, ", ") << "; predicted "
            << text::format_number(plan.compute_s, 3) << " s of computing and "
            << text::format_number(plan.transfer_s, 3) << " s of transfers a step, "
            << text::format_number(plan.step_s, 3) << " s for a trial alone, peak "
            << text::format_bytes(plan.peak_bytes) << std::endl;
}

}  // namespace

std::shared_ptr<GpuSession> GpuSession::open(const BenchScale& scale) {
  std::string why_not;
  auto card = GpuCard::find(why_not);
  if (card == nullptr && scale.quick) card = GpuCard::fake();
  if (card == nullptr) {
    std::cout << "skipped: " << why_not << '\n';
    return nullptr;
  }
  return std::shared_ptr<GpuSession>(new GpuSession(std::move(card), scale.quick));
}

Bytes GpuSession::budget() const {
  if (!quick_) return static_cast<Bytes>(FLAGS_gpu_budget_gib) * GiB;
  return card_->is_real() ? kSmokeBudget : kPaperBudget;
}

std::uint32_t GpuSession::rows() const { return static_cast<std::uint32_t>(FLAGS_gpu_rows); }

const BenchModel& GpuSession::model() {
  if (model_ != nullptr) return *model_;
  const Shape& shape = shape_of(*card_, quick_);
  model_ = std::make_unique<BenchModel>(shape.width, shape.layers, shape.vocabulary, shape.tokens, rows(), shape.heads);
  return *model_;
}

ExecuteSpec GpuSession::execute() {
  ExecuteSpec execute;
  execute.keep_activations = false;
  if (quick_) execute.cuts = even_cuts(*model().source, 2);  // it fits its card
  return execute;
}

TrainSpec GpuSession::train(UpdatePlace update) {
  TrainSpec train = model().train;
  train.precision = Precision::bf16;
  train.optimizer.lr = 1e-5;  // random tokens teach nothing, and the losses stay finite
  if (!micro_rows_) {
    train.micro_batch_size = static_cast<std::uint32_t>(FLAGS_gpu_micro_rows);
    train.update = UpdatePlace::device;
    cut_plan_ = plan_that_fits(train, small_card(), execute());
    micro_rows_ = cut_plan_->train.micro_batch_size;
    describe(*cut_plan_);
  }
  train.micro_batch_size = *micro_rows_;
  train.update = update;
  return train;
}

TrialSetup GpuSession::plan_that_fits(TrainSpec train, const DeviceSpec& card, const ExecuteSpec& execute) {
  for (;; train.micro_batch_size /= 2) {
    try {
      return plan_on_card(model(), train, *card_, card, execute);
    } catch (const std::exception& error) {
      std::cout << "  micro-batches of " << train.micro_batch_size << " rows: " << error.what() << std::endl;
      if (train.micro_batch_size == 1) throw;
    }
  }
}

const TrialSetup& GpuSession::cut_plan() {
  if (!cut_plan_) (void)train();
  return *cut_plan_;
}

StandingTrials& GpuSession::cut_trials() {
  if (trials_ == nullptr)
    trials_ = std::make_unique<StandingTrials>(model(), *card_, small_card(), pinned_host(), cut_plan(), kTrials);
  return *trials_;
}

const CardTimes& GpuSession::four_interleaved() {
  if (!four_interleaved_)
    four_interleaved_ = cut_trials().run({.trials = kTrials, .steps = kSteps, .execute = execute()});
  return *four_interleaved_;
}

HostTier& GpuSession::pinned_host() {
  if (pinned_host_ != nullptr) {
    require(pinned_host_->used() == 0, "trials of the benchmark before are still there");
    // Another tier over the same memory, in whole pieces again.
    const Bytes bytes = pinned_host_->capacity();
    pinned_host_.reset();
    pinned_host_ = std::make_unique<HostTier>(bytes, pinned_memory_.get());
    return *pinned_host_;
  }
  const Bytes bytes = kTrials * host_bytes(cut_plan());
  if (pinned_memory_ == nullptr && card_->is_real()) {
    const double begin = monotonic_seconds();
    pinned_memory_ = make_pinned_memory(bytes, 0);
    std::cout << "  " << text::format_bytes(bytes) << (pinned_memory_ ? "" : " not") << " pinned in "
              << text::format_number(monotonic_seconds() - begin, 1) << " s" << std::endl;
  }
  pinned_host_ = std::make_unique<HostTier>(bytes, pinned_memory_.get());
  return *pinned_host_;
}

double GpuSession::resident_step_s(bool recomputes) {
  double& seconds = resident_step_s_[recomputes];
  if (seconds > 0) return seconds;
  const auto cuts = recomputes ? cuts_of(cut_plan().plan) : std::vector<std::uint32_t>();
  seconds = run_resident_loop(model(), train(), card_->maker(whole_card()), cuts, kResidentSteps) / kResidentSteps;
  return seconds;
}

double GpuSession::parameters() {
  double count = 0;
  for (const auto& layer : model().source->description().layers)
    for (const auto& parameter : layer.parameters)
      if (!parameter.tied_to) count += static_cast<double>(parameter.elements());
  return count;
}

double GpuSession::flops_per_step() {
  const Shape& shape = shape_of(*card_, quick_);
  // Products with parameters: 2 forward and 4 backward; scores and their sums, of which causal attention needs half.
  const double attention = 6.0 * shape.layers * shape.width * shape.tokens;
  return static_cast<double>(rows()) * shape.tokens * (6 * parameters() + attention);
}

std::string GpuSession::text_of_work() {
  return text::cat(text::format_number(parameters() * 1e-9, 2), " B parameters, bf16, ",
                   rows() * static_cast<std::uint32_t>(shape_of(*card_, quick_).tokens), " tokens a step");
}

}  // namespace hopyard
