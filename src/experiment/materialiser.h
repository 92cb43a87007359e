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

#include "experiment/feature_shelf.h"
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

/// A visit that is to start, or the one after a visit under way.
struct FeatureDemand {
  const TrialSetup* trial = nullptr;
  std::uint32_t partition = 0;
  std::uint32_t visits_done = 0;  ///< who is behind is served first
};

/// What materialising behind one layer has taken so far.
struct MaterialisedDepth {
  std::string first_layer, last_layer;  ///< that are not computed by those that begin there
  std::uint32_t end_layer = 0;
  double busy_s = 0;  ///< of the devices
};

/// Features in host memory or in the disk tier, kept while a trial wants them; fused ones as long as no trial that is
/// behind needs another visit's in their place. What a crash takes is computed again. Rows are shared out among the
/// devices, and each layer is brought in once for all rows of a device. One thread.
class Materialiser {
 public:
  explicit Materialiser(MaterialiserParts parts)
      : parts_(std::move(parts)), devices_(parts_.executor.devices().size()) {}

  /// The trial will need features if it begins behind its first layer. Takes their place in the host tier.
  void want(const TrialSetup& trial);
  /// It needs them no more, or never did: what nobody wants goes.
  void let_go(const TrialSetup& trial);
  /// A visit of this partition can start.
  bool ready(const TrialSetup& trial, std::uint32_t partition) const;
  /// Requires ready(), now or before, and that it was not let go. Empty ones for a trial that computes all its layers.
  TrialFeatures features(const TrialSetup& trial) const;
  /// Keeps what a visit reads in host memory until it goes. Requires ready().
  std::vector<FeatureHold> hold(const TrialSetup& trial, std::uint32_t partition) const;

  /// Starts what is demanded, as far as there is room. `alone`: no trial will ever make room. Failure(capacity) when
  /// that is so and there is none for kNoRoomSeconds: what ended a moment ago may still be letting go of its own.
  void get_on(std::vector<FeatureDemand> demands, bool alone);
  /// Something is demanded that waits for room, and nothing of it is under way.
  bool waits() const { return waits_; }
  /// The number is of a run of this, not of a trial.
  bool owns(std::uint32_t trial) const { return running_.contains(trial); }
  void ended(VisitResult result);
  double busy_s() const;  ///< of the devices so far
  /// Of every depth that was computed so far.
  std::vector<MaterialisedDepth> depths() const;

 private:
  /// What is behind one layer.
  struct Depth {
    TrialSetup trial;  ///< one of those that want it
    std::unique_ptr<FeatureShelf> train, valid;
    std::set<std::uint32_t> wanted;  ///< numbers of trials
    /// Where features are computed again and again: the layers before, so that each is read once.
    std::vector<std::shared_ptr<const FrozenLayer>> layers;
    bool announced = false;
    bool whole() const { return trial.feature_tier == FeatureTier::host; }
    std::uint32_t segment(std::uint32_t partition) const { return whole() ? 0 : partition; }
  };
  /// End layer; and, where features come by visits, the partitions that are visited.
  using Key = std::pair<std::uint32_t, const Partitions*>;
  using Chain = std::map<Key, Depth>;
  /// Rows of one segment that go through all runs of a job, one run after another.
  struct Part {
    bool valid = false;
    std::vector<std::uint32_t> rows;
    std::size_t next_run = 0;
    std::shared_ptr<TrialRun> run;
  };
  /// Takes a segment of the training data, of the validation data or of both to a depth.
  struct Job {
    Depth* to = nullptr;
    const Depth* from = nullptr;         ///< null: all layers before are computed
    std::optional<std::uint32_t> train;  ///< segment
    bool valid = false;
    std::vector<FeatureHold> source;
    std::vector<TrialSetup> runs;
    std::deque<Part> waiting;
  };

  const Depth& depth_of(const TrialSetup& trial) const { return *depths_.at(trial.number); }
  std::unique_ptr<FeatureShelf> make_shelf(const Depth& depth, bool valid) const;
  bool reserve(Depth& depth);
  void poll();
  bool serve(const FeatureDemand& demand, std::map<const Depth*, std::set<std::uint32_t>>& needed);
  bool busy() const;
  void start_job(Depth& depth, std::optional<std::uint32_t> train, bool valid);
  void find_source();
  void announce(Depth& depth, std::uint32_t from);
  void share_out(const std::vector<std::uint32_t>& rows, bool valid, std::uint32_t micro_batch_size);
  bool start(Part& part);
  void finish_job();
  void sweep();
  void fail_if_stuck(bool alone);

  static Key key_of(const TrialSetup& trial);

  static constexpr std::uint32_t kFirstNumber = 1u << 31;  // beyond all trials'

  MaterialiserParts parts_;
  const std::size_t devices_;
  std::map<std::string, Chain> chains_;     // by prefix_key()
  std::map<std::uint32_t, Depth*> depths_;  // by the numbers of the trials that want them
  std::optional<Job> job_;
  std::map<std::uint32_t, Part> running_;  // by the number of the run
  std::uint32_t next_number_ = kFirstNumber;
  std::map<std::pair<std::string, std::uint32_t>, MaterialisedDepth> taken_;  // by prefix and end layer
  bool waits_ = false;
  std::optional<double> stuck_since_s_;
};

}  // namespace hopyard
