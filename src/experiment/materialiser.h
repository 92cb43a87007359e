// Computes what trials share before they need it: the activations behind frozen layers that they have in common, once,
// on the devices on which the trials train.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "pipeline/executor.h"

namespace hopyard {

struct MaterialiserParts {
  Executor& executor;
  HostTier& host;
  DiskTier& disk;
  IoPool& pool;
  FrozenStore& frozen;
  std::function<void(const std::string&)> event;
};

inline constexpr double kNoRoomSeconds = 1;

/// Features in host memory, kept while a trial wants them. What a crash takes is computed again. A data set's rows are
/// shared out among the devices, and each layer is brought in once for all rows of a device. One thread.
class Materialiser {
 public:
  explicit Materialiser(MaterialiserParts parts)
      : parts_(std::move(parts)), devices_(parts_.executor.devices().size()) {}

  /// The trial will need features if it begins behind its first layer. Takes their place in the host tier.
  void want(const TrialSetup& trial);
  /// It needs them no more, or never did: what nobody wants goes.
  void let_go(const TrialSetup& trial);
  /// Nothing until they are there. Empty ones for a trial that computes all its layers.
  std::optional<TrialFeatures> features(const TrialSetup& trial) const;

  /// Starts what waits, as far as the host tier has room. `alone`: no trial will ever make room. Failure(capacity) when
  /// that is so and there is none for kNoRoomSeconds: what ended a moment ago may still be letting go of its own.
  void get_on(bool alone);
  /// Something waits for room and nothing of it runs.
  bool waits() const;
  /// The number is of a run of this, not of a trial.
  bool owns(std::uint32_t trial) const { return running_.contains(trial); }
  void ended(VisitResult result);
  double busy_s() const { return busy_s_; }  ///< of the devices so far

 private:
  /// What is behind one layer.
  struct Depth {
    TrialSetup trial;  ///< one of those that want it
    std::shared_ptr<Features> train, valid;
    std::set<std::uint32_t> wanted;  ///< numbers of trials
    bool there = false;
  };
  using Chain = std::map<std::uint32_t, Depth>;  // by end layer
  /// Rows of one data set that go through all runs of a job, one run after another.
  struct Part {
    bool valid = false;
    std::vector<std::uint32_t> rows;
    std::size_t next_run = 0;
    std::shared_ptr<TrialRun> run;
  };
  struct Job {
    std::string prefix;
    std::uint32_t from = 0, to = 0;
    std::vector<TrialSetup> runs;
    std::deque<Part> waiting;
  };

  bool reserve(Depth& depth);
  void start_job();
  void share_out(const TrialSetup& trial, bool valid);
  bool start(Part& part);
  void finish_job();
  void sweep();

  static constexpr std::uint32_t kFirstNumber = 1u << 31;  // beyond all trials'

  MaterialiserParts parts_;
  const std::size_t devices_;
  std::map<std::string, Chain> chains_;  // by prefix_key()
  std::optional<Job> job_;
  std::map<std::uint32_t, Part> running_;  // by the number of the run
  std::uint32_t next_number_ = kFirstNumber;
  double busy_s_ = 0;
  std::optional<double> stuck_since_s_;
};

}  // namespace hopyard
