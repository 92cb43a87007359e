// What a run directory remembers for people, beside what a run needs to go on (journal.h): the digest after every
// visit, and who looked at the test split. The SQLite form is in runtime, in the same file.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/trial.h"

namespace hopyard {

/// Who did something to a run from outside, and when.
struct Signature {
  std::string author;  ///< as the system knows the uid; empty where it does not
  std::uint32_t uid = 0;
  double time_s = 0;  ///< seconds since 1970
  bool operator==(const Signature&) const = default;
};

/// Somebody evaluated a trial on the test split.
struct TestLook {
  std::string trial;
  Epochs epochs;       ///< that it had behind it
  std::string digest;  ///< of the state that was evaluated
  Signature by;
  std::string reason;
  std::vector<std::pair<std::string, double>> metrics;  ///< "test/accuracy"; empty where it came to no result
  bool operator==(const TestLook&) const = default;
};

/// The parameters of a trial as they were after one of its visits.
struct VisitDigest {
  std::uint32_t epoch = 0, visit = 0, partition = 0;
  std::string digest;
  bool operator==(const VisitDigest&) const = default;
};

/// How a trial stands.
struct TrialStanding {
  TrialState state = TrialState::waiting;
  std::string reason;              ///< why it ended
  std::vector<TrialScore> scores;  ///< in their order
  bool operator==(const TrialStanding&) const = default;
};

/// Any thread, calls serialised by the implementation. Errors throw Failure. What a writing call has recorded when it
/// returns is durable.
class RunRecord {
 public:
  virtual ~RunRecord() = default;
  /// Of every committed visit, in their order.
  virtual std::vector<VisitDigest> visit_digests(const std::string& trial) const = 0;
  /// Cheap, whatever the run's size: for whoever waits. Nothing when there is no such trial.
  virtual std::optional<TrialStanding> standing(const std::string& trial) const = 0;
  /// Before the test split is opened, without metrics; gives the number by which finish_look() adds them.
  virtual std::uint32_t add_look(const TestLook& look) = 0;
  virtual void finish_look(std::uint32_t number, const std::vector<std::pair<std::string, double>>& metrics) = 0;
  virtual std::vector<TestLook> looks() const = 0;  ///< in the order of looking
};

}  // namespace hopyard
