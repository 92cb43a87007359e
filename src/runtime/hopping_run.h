// Rank 0's part of a run of several workers: the coordinator's trainer, and a worker of its own beside it.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <thread>

#include "experiment/hopping_trainer.h"
#include "formats/json.h"
#include "report/plan_view.h"
#include "runtime/worker_session.h"

namespace hopyard {

struct HoppingRunParts {
  const WorkerSession& session;
  CoordinatorEnd& end;
  RunObjects& objects;  ///< with an engine
  const PlanView& plan;
  std::function<TrialSetup(const TrialSpec&, std::uint32_t number)> resolve;  ///< any thread
  std::function<void(const std::string&)> event;                              ///< any thread
  KeepOutcomes keep_outcomes;
};

/// Its own worker begins with it, and has left when it is gone.
class HoppingRun {
 public:
  explicit HoppingRun(HoppingRunParts parts);
  ~HoppingRun();
  HoppingTrainer& trainer() { return *trainer_; }

 private:
  void live();

  HoppingRunParts parts_;
  std::unique_ptr<VisitScheduler> scheduler_;
  std::unique_ptr<HoppingTrainer> trainer_;
  std::atomic<bool> over_{false};
  std::atomic<bool> interrupted_{false};  // never: it hears from its coordinator when the run is
  std::thread worker_;
};

/// In raw units; a fact of a run, of the time since it was last started.
Json to_json(const HoppingReport& report);
inline constexpr const char* kHoppingFact = "hopping";

/// What the devices of all workers did in a run of so many seconds, under names that say whose they are; the time in
/// which a worker was not there counts as idle.
std::vector<DeviceReport> devices_of_workers(const HoppingReport& report, double wall_s);
/// "worker 1 emulated:0".
std::string name_of_workers(std::uint32_t rank, const std::string& device);

/// For people: what each worker did, and what hopped between them. Ends with a newline.
std::string format_hopping(const HoppingReport& report);

}  // namespace hopyard
