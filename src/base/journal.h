// What a run must remember to go on after a crash. The SQLite form is in runtime; tests use the one in tests/fakes.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/operation.h"
#include "base/trial.h"

namespace hopyard {

/// One blob of a trial's state and the version in the disk tier that holds its committed bytes.
struct BlobVersion {
  std::uint32_t blob = 0;
  std::uint64_t version = 0;
  bool operator==(const BlobVersion&) const = default;
};

/// The end of a visit: all that is needed to go on from here. Written in one transaction; when commit() has returned,
/// it is durable (SQLite WAL, synchronous=FULL).
struct VisitCommit {
  std::string trial;
  std::uint32_t epoch = 0;  ///< from 0
  std::uint32_t visit = 0;  ///< position in the trial's order of this epoch, from 0
  std::uint32_t partition = 0;
  std::uint64_t steps = 0;  ///< optimizer steps done since the trial began
  double loss_sum = 0;      ///< over the counted items of this epoch so far
  double loss_items = 0;
  std::string digest;               ///< of the trial's parameters at this point
  std::vector<BlobVersion> state;   ///< every trainable blob and where its bytes are
  std::optional<TrialScore> score;  ///< set where an epoch ends, and where the search had it pause
  double seconds = 0;               ///< device-busy seconds that the visit took
  std::uint64_t skipped_steps = 0;  ///< of the visit, whose gradients were not finite, of a trial with a loss scale
  bool operator==(const VisitCommit&) const = default;
};

/// One loss value of a trial's training curve; mean over a batch.
struct CurvePoint {
  std::uint64_t step = 0;
  double loss = 0;
  bool operator==(const CurvePoint&) const = default;
};

/// A trial as the journal knows it.
struct TrialRecord {
  TrialSpec spec;
  TrialState state = TrialState::waiting;
  std::string reason;                  ///< why it ended, for failed and stopped
  std::optional<VisitCommit> last;     ///< its newest commit
  std::vector<std::uint32_t> visited;  ///< partitions of the epoch of `last`, in the order of visiting
  std::vector<TrialScore> scores;      ///< in their order
  std::vector<CurvePoint> curve;       ///< from committed visits only
  double seconds = 0;                  ///< device-busy, of all committed visits
  std::uint64_t skipped_steps = 0;     ///< of all committed visits
};

/// What a search was told: a trial's score, or how it ended.
struct SearchNews {
  std::string trial;
  Epochs epoch;                   ///< of a score
  double metric = 0;              ///< of a score: what the search optimises
  std::optional<TrialState> end;  ///< set when this is no score
  bool operator==(const SearchNews&) const = default;
};

/// What a search that reacts to scores decided: to train a trial (further), or to stop one for good.
struct SearchDecision {
  std::vector<SearchNews> news;  ///< that it was told since the decision before, in this order
  std::string trial;
  std::optional<Epochs> until_epoch;       ///< to train it so far; without, to its end
  std::optional<std::string> stop_reason;  ///< set when it is to stop
  bool operator==(const SearchDecision&) const = default;
};

/// One writer, any thread, calls serialised by the implementation. Errors throw Failure.
class Journal {
 public:
  virtual ~Journal() = default;
  /// Records a new trial; recording the same spec again does nothing.
  virtual void add_trial(const TrialSpec& spec) = 0;
  virtual void commit(const VisitCommit& commit, const std::vector<CurvePoint>& curve) = 0;
  /// A trial that is tried again is `waiting` once more.
  virtual void end_trial(const std::string& trial, TrialState state, const std::string& reason) = 0;
  virtual std::vector<TrialRecord> trials() const = 0;
  /// Before the decision takes effect.
  virtual void add_decision(const SearchDecision& decision) = 0;
  virtual std::vector<SearchDecision> decisions() const = 0;  ///< in the order of deciding
  /// Before it takes effect. Numbers rise; a token comes once.
  virtual void add_operation(const Operation& operation) = 0;
  /// It took effect (`outcome` is empty), or never will. Settling it again changes nothing.
  virtual void settle_operation(std::uint64_t number, const std::string& outcome) = 0;
  virtual std::vector<Operation> operations() const = 0;  ///< by number
  /// A named fact about the run (configuration digest, fingerprint, measured costs, summary) as JSON text.
  virtual void put_fact(const std::string& name, const std::string& json) = 0;
  virtual std::optional<std::string> fact(const std::string& name) const = 0;
};

}  // namespace hopyard
