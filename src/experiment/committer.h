// Commits ended visits on a thread of its own, so that deciding goes on while bytes are made durable.
#pragma once

#include <condition_variable>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "base/journal.h"
#include "pipeline/trial_run.h"

namespace hopyard {

/// A visit to be committed: all but the state and the digest, which the committer adds.
struct CommitRequest {
  std::uint32_t trial = 0;
  std::shared_ptr<TrialRun> run;
  VisitCommit commit;
  std::vector<CurvePoint> curve;
  RowOutcomes rows;  ///< behind the score, if there is one
};

struct CommitDone {
  std::uint32_t trial = 0;
  VisitCommit commit;
  std::exception_ptr error;  ///< set when the commit failed; the sink then knows nothing of it
};

/// Records a commit: when it returns, that is durable. Throws when it cannot.
using CommitSink = std::function<void(const VisitCommit& commit, const std::vector<CurvePoint>& curve)>;

/// Keeps what is behind a score; called before the sink knows of it, so that what a crash leaves belongs to the
/// score's digest or to nothing.
using KeepOutcomes = std::function<void(const TrialScore& score, const RowOutcomes& rows)>;

/// The order of one commit: state durable in the disk tier, outcomes of rows kept, then recorded by the sink (a
/// journal, or a worker's book), then older versions are dropped. submit() and take() may be called from any thread;
/// `notify` is called after each commit.
class Committer {
 public:
  /// `keep` may be empty. Both are called on the committer's thread.
  Committer(CommitSink sink, KeepOutcomes keep, std::function<void()> notify);
  ~Committer();  ///< finishes what was submitted
  void submit(CommitRequest request);
  std::optional<CommitDone> take();
  std::uint32_t pending() const;

 private:
  void work();
  CommitDone perform(CommitRequest& request);

  const CommitSink sink_;
  const KeepOutcomes keep_;
  const std::function<void()> notify_;
  mutable std::mutex mutex_;  // guards all below but thread_
  std::condition_variable wake_;
  std::deque<CommitRequest> queue_;
  std::deque<CommitDone> done_;
  std::uint32_t pending_ = 0;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace hopyard
