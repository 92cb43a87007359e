// What the benchmarks on a card have in common: the card, the large model, its plans and pinned host memory. Each is
// made when it is first asked for.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>

#include "bench_report.h"
#include "gpu_card.h"
#include "standing_trials.h"

namespace hopyard {

/// Trials of a GPT-2 of 1.1 B parameters in bfloat16, of which nothing fits the budget whole; for a smoke run of a
/// small one. Their shards' forwards are computed twice, whatever room there is, since the yardsticks compute them
/// twice too.
class GpuSession {
 public:
  /// Null and a sentence on why where there is no card and it is no smoke run.
  static std::shared_ptr<GpuSession> open(const BenchScale& scale);

  const GpuCard& card() const { return *card_; }
  bool quick() const { return quick_; }
  DeviceSpec small_card() const { return card_->spec(budget()); }
  DeviceSpec whole_card() const { return card_->spec(0); }
  Bytes budget() const;

  static constexpr std::uint32_t kFewRows = 16;   ///< of a batch whose transfers take about as long as its computing
  static constexpr std::uint32_t kManyRows = 64;  ///< of one whose computing takes longer
  static constexpr std::uint32_t kTrials = 4;

  const BenchModel& model();
  /// With as large micro-batches as fit the budget.
  TrainSpec train(std::uint32_t rows, UpdatePlace update = UpdatePlace::device);
  ExecuteSpec execute();
  /// On the small card, with the update on the device.
  const TrialSetup& cut_plan(std::uint32_t rows);
  /// kTrials trials of this plan, or of another, in `host`.
  std::unique_ptr<StandingTrials> cut_trials(HostTier& host, const TrialSetup& plan, std::uint32_t count = kTrials);
  /// Empty, with room for kTrials of either plan, pinned as one piece where the system lets us. One at a time: what was
  /// in the one before must be gone.
  HostTier& pinned_host();
  /// A step of one such trial that is whole on the card, without and with the forwards that a cut one computes twice.
  double resident_step_s(std::uint32_t rows, bool recomputes);

  double parameters();
  double flops_per_step(std::uint32_t rows);     ///< of forward and backward, without what is computed twice
  std::string text_of_work(std::uint32_t rows);  ///< "1.08 B parameters, bf16, 16384 tokens a step"

 private:
  GpuSession(std::unique_ptr<GpuCard> card, bool quick) : card_(std::move(card)), quick_(quick) {}

  const std::unique_ptr<GpuCard> card_;
  const bool quick_;
  std::unique_ptr<BenchModel> model_;
  std::optional<std::uint32_t> micro_rows_;
  std::map<std::uint32_t, TrialSetup> cut_plans_;
  std::map<std::pair<std::uint32_t, bool>, double> resident_step_s_;
  std::unique_ptr<HostMemory> pinned_memory_;
  std::unique_ptr<HostTier> pinned_host_;
};

}  // namespace hopyard
