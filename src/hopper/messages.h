// What coordinator and workers tell each other (transport.h carries it as text). Every value is checked when it is
// read: a peer is foreign until it has said something sensible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "base/failure.h"
#include "base/journal.h"
#include "hopper/state_book.h"
#include "model/judged.h"
#include "pipeline/train_spec.h"
#include "transport/transport.h"

namespace hopyard {

// From the coordinator to a worker. Of one worker they take effect in their order, but for trainings and hops, which go
// on beside each other: a training waits for the state that it begins at, and a hop for the state that it sends.

/// The workers that train a visit together, each a share of every batch (pipeline/step_exchange.h).
struct Team {
  std::uint64_t number = 0;       ///< of its links: as a hop's, never used twice in an experiment
  std::vector<WorkerId> members;  ///< leader first; at least two
  std::uint32_t member = 0;       ///< which of them the receiver is
  DataParallelSpec::Sum sum = DataParallelSpec::Sum::ordered;
  bool operator==(const Team&) const = default;
};

/// Trains one visit of a trial, and says `Trained`, `Failed`, `Missing` or `Parted`; or trains nothing, judges the
/// state on some partitions of the validation rows, and says `Evaluated`, `Failed` or `Missing`.
struct Train {
  std::uint64_t number = 0;       ///< of the order, never used twice by a coordinator: the answer has it too
  TrialSpec spec;                 ///< its index is the number of its setup
  std::vector<Setting> settings;  ///< in force
  std::uint32_t visits = 0;       ///< behind it; 0: begins with first weights, otherwise at the state after so many
  std::string digest;             ///< of that state
  std::uint32_t partition = 0;
  bool evaluate = false;  ///< judge the state afterwards on the whole validation set
  std::uint64_t steps = 0;
  double loss_sum = 0, loss_items = 0;  ///< of the epoch so far
  std::optional<Team> team;             ///< of which this worker is one; nothing: it trains alone
  std::vector<std::uint32_t> judge_on;  ///< partitions of the validation rows, ascending: nothing is trained
  bool operator==(const Train&) const = default;
};

/// The visit of the trial that was asked for last is given up, wherever it is. What is heard of it yet was on its way.
struct Abandon {
  std::string trial;
  bool operator==(const Abandon&) const = default;
};

/// One end of a hop: the state of a trial goes from one worker's disk tier to another's. Both ends say `HopEnd`.
struct Hop {
  std::uint64_t number = 0;  ///< of the hop, and of its link: never used twice in an experiment
  bool send = false;         ///< this worker sends; otherwise it receives
  WorkerId peer;
  std::string trial;
  std::uint32_t visits = 0;
  std::string digest;           ///< of the trial's parameters
  std::vector<HeldBlob> blobs;  ///< without versions
  bool leaves = false;          ///< the trial trains next at the receiver: its run at the sender is of no use any more
  bool operator==(const Hop&) const = default;
};

/// The hop's other end is gone: it is given up here, if it is not over.
struct CallOff {
  std::uint64_t number = 0;
  bool operator==(const CallOff&) const = default;
};

/// Of the trial's states that are here now, only the one with so many visits behind it is of use: it is the committed
/// one. Those with more come from visits that were given up.
struct Keep {
  std::string trial;
  std::uint32_t visits = 0;  ///< 0: none is of use
  bool operator==(const Keep&) const = default;
};

/// A clone begins at its parent's state after so many visits, which this worker holds.
struct Share {
  std::string parent, clone;
  std::uint32_t visits = 0;
  bool operator==(const Share&) const = default;
};

/// The experiment has ended, or is interrupted: say what there is to account for and leave.
struct Finish {
  bool interrupted = false;
  bool operator==(const Finish&) const = default;
};

using ToWorker = std::variant<Train, Abandon, Hop, CallOff, Keep, Share, Finish>;

// From a worker to the coordinator.

/// The first message of an incarnation: what it brings.
struct Hello {
  std::vector<HeldState> held;  ///< without versions
  bool operator==(const Hello&) const = default;
};

/// The visit is trained and its state durable here. The coordinator's journal decides whether it counts.
struct Trained {
  std::uint64_t number = 0;  ///< of the order
  VisitCommit commit;        ///< without state
  std::vector<HeldBlob> blobs;
  std::vector<CurvePoint> curve;
  std::optional<RowOutcomes> rows;  ///< behind the score
  bool operator==(const Trained&) const = default;
};

/// The state is judged on these partitions of the validation rows.
struct Evaluated {
  std::uint64_t number = 0;  ///< of the order
  std::string trial;
  std::vector<JudgedPartition> judged;
  bool operator==(const Evaluated&) const = default;
};

/// What of a Trained goes before it, for want of room in one message (trained_parts.h).
struct TrainedPart {
  std::uint64_t number = 0;  ///< of the order
  std::string trial;
  std::vector<CurvePoint> curve;
  RowOutcomes rows;
  bool operator==(const TrainedPart&) const = default;
};

/// What the trial itself did.
struct Failed {
  std::uint64_t number = 0;  ///< of the order
  std::string trial;
  std::string sentence;
  bool did_not_fit = false;
  bool operator==(const Failed&) const = default;
};

/// The visit cannot begin: the state that it begins at is not here, and no hop brings it.
struct Missing {
  std::uint64_t number = 0;  ///< of the order
  std::string trial;
  bool operator==(const Missing&) const = default;
};

/// The visit's team fell apart, as seen from here: another member is gone or does not get on. Nobody's fault here.
struct Parted {
  std::uint64_t number = 0;  ///< of the order
  std::string trial;
  std::string sentence;
  bool operator==(const Parted&) const = default;
};

/// A hop is over at this end.
struct HopEnd {
  std::uint64_t number = 0;
  bool sent = false;   ///< this end sent
  std::string digest;  ///< of the bytes as they were here, in the order of the blobs
  std::string error;   ///< empty when all is well: the receiver's copy is then durable
  bool link_broke =
      false;             ///< the error is the link's, which the other end may have torn; of the receiver no_link alone
  bool no_link = false;  ///< it did not open
  double seconds = 0;    ///< from when both ends could have begun, as far as this one knows
  bool operator==(const HopEnd&) const = default;
};

/// What a device of a worker did.
struct DeviceAccount {
  struct Idle {
    std::string cause;
    double seconds = 0;
    bool operator==(const Idle&) const = default;
  };
  std::string name;
  double busy_s = 0;
  std::vector<Idle> idle;
  std::uint64_t tasks = 0, recorded_steps = 0;
  Bytes memory_budget = 0, memory_peak = 0;
  Bytes loaded = 0, stored = 0;  ///< over its link
  bool operator==(const DeviceAccount&) const = default;
};

/// What this incarnation did, said when it leaves.
struct Account {
  std::uint64_t rows_read = 0;    ///< training rows, each time that one was read
  Bytes bytes_read = 0;           ///< of these
  double here_s = 0;              ///< since it came
  double busy_s = 0;              ///< of its devices, summed
  double hop_s = 0;               ///< of its hops, summed
  double waited_s = 0;            ///< in which it trained nothing while a visit waited for its state
  Bytes stored = 0;               ///< the most that its disk tier held
  Bytes sent = 0;                 ///< over its links, to other workers
  Bytes exchanged = 0;            ///< of these, of steps that it trained with others, without the links' frames
  std::uint64_t rows_judged = 0;  ///< validation rows, each time that one was read
  std::vector<DeviceAccount> devices;
  bool operator==(const Account&) const = default;
};

/// How far the visits under way are, and what the devices do.
struct Progress {
  struct Visit {
    std::string trial;
    double fraction = 0, loss = 0;
    bool operator==(const Visit&) const = default;
  };
  /// A device of the worker.
  struct Device {
    std::string name, task;  ///< task: what it computes now; empty when idle
    double busy_s = 0;       ///< since it was made
    bool operator==(const Device&) const = default;
  };
  std::vector<Visit> visits;
  std::vector<Device> devices;
  Account so_far;  ///< of this incarnation, who may have no time for last words
  bool operator==(const Progress&) const = default;
};

/// The worker cannot go on (a full disk, a file that cannot be read): it leaves.
struct Broken {
  std::string sentence;
  ExitCode code = ExitCode::internal;
  bool operator==(const Broken&) const = default;
};

using ToCoordinator =
    std::variant<Hello, TrainedPart, Trained, Evaluated, Failed, Missing, Parted, HopEnd, Progress, Broken, Account>;

std::string encode(const ToWorker& message);
std::string encode(const ToCoordinator& message);
/// Failure(input) that says what is wrong with the text; `from` names the peer in it.
ToWorker decode_to_worker(const std::string& text, const std::string& from);
ToCoordinator decode_to_coordinator(const std::string& text, const std::string& from);

}  // namespace hopyard
