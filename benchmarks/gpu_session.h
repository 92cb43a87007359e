// What the benchmarks on a card have in common: the card, the large model, its plans and pinned host memory. Each is
// made when it is first asked for.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

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

  std::uint32_t rows() const;  ///< of a batch
  static constexpr std::uint32_t kTrials = 4;

  const BenchModel& model();
  /// With as large micro-batches as fit the budget.
  TrainSpec train(UpdatePlace update = UpdatePlace::device);
  ExecuteSpec execute();
  /// With micro-batches of as many rows as `train` has, halved until they fit.
  TrialSetup plan_that_fits(TrainSpec train, const DeviceSpec& card, const ExecuteSpec& execute);
  /// On the small card, with the update on the device.
  const TrialSetup& cut_plan();
  /// kTrials of them in pinned memory, until they are let go.
  StandingTrials& cut_trials();
  void let_go_of_trials() { trials_.reset(); }
  static constexpr std::uint32_t kSteps = 3;  ///< of each trial in four_interleaved()
  const CardTimes& four_interleaved();
  /// Empty, with room for kTrials of the cut plan, pinned as one piece where the system lets us. One at a time: what
  /// was in the one before must be gone.
  HostTier& pinned_host();
  /// A step of one such trial that is whole on the card, without and with the forwards that a cut one computes twice.
  double resident_step_s(bool recomputes);

  double parameters();
  double flops_per_step();     ///< of forward and backward, without what is computed twice
  std::string text_of_work();  ///< "1.08 B parameters, bf16, 32768 tokens a step"

 private:
  GpuSession(std::unique_ptr<GpuCard> card, bool quick) : card_(std::move(card)), quick_(quick) {}

  const std::unique_ptr<GpuCard> card_;
  const bool quick_;
  std::unique_ptr<BenchModel> model_;
  std::optional<std::uint32_t> micro_rows_;
  std::optional<TrialSetup> cut_plan_;
  std::map<bool, double> resident_step_s_;  ///< by whether it recomputes
  std::unique_ptr<HostMemory> pinned_memory_;
  std::unique_ptr<HostTier> pinned_host_;
  std::unique_ptr<StandingTrials> trials_;
  std::optional<CardTimes> four_interleaved_;
};

}  // namespace hopyard
