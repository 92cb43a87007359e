// From what a run left behind to the values that reports print.
#pragma once

#include <string>
#include <vector>

#include "experiment/materialiser.h"
#include "pipeline/executor.h"
#include "report/plan_view.h"
#include "report/summary.h"
#include "runtime/config.h"
#include "spill/disk_tier.h"
#include "spill/host_tier.h"

namespace hopyard {

struct CardRecords;

struct SummaryParts {
  const ExperimentConfig& config;
  const PlanView& plan;
  const std::vector<DeviceReport>& devices;
  const HostTier& host;
  const DiskTier& disk;
  double wall_s;
  const std::vector<MaterialisedDepth>& materialised;
  const std::vector<TrialRecord>& records;
  Bytes image_bytes;
  const CardRecords& cards;
  bool several_workers;  ///< whose host and disk tiers are these, worker 0's
};
RunSummary make_summary(const SummaryParts& parts);

/// "lr 3e-05, freeze 4".
std::string settings_text(const std::vector<Setting>& settings);

}  // namespace hopyard
