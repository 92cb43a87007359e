// What a run did, as plain values: the engine fills them in, tables, report.html and the journal's facts print them.
// Times are seconds, sizes bytes, rates bytes per second. JSON is in these raw units; a number that is not finite is
// null.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "cuda/card_condition.h"
#include "formats/json.h"

namespace hopyard {

/// For how long a device did not compute, and why: "load", "disk", "rounding", "commit", "no work", "memory",
/// "activation", "store", "update".
struct IdleCause {
  std::string cause;
  double seconds = 0;
  bool operator==(const IdleCause&) const = default;
};

/// What a card did by its own record, while it was kept: seconds in which any kernel ran, any copy, and both.
struct CardUse {
  double wall_s = 0, kernel_s = 0, copy_s = 0, overlapped_s = 0;
  std::uint64_t dropped = 0;  ///< records that did not fit: the figures say too little
  bool operator==(const CardUse&) const = default;
};

struct DeviceSummary {
  std::string name;   ///< "emulated:0"; what precedes the first '/' in the names of its trace tracks
  double busy_s = 0;  ///< computing
  double wall_s = 0;  ///< from the first task to the last commit; busy and idle together
  std::vector<IdleCause> idle;
  Bytes memory_budget = 0;  ///< 0: no budget of its own
  Bytes memory_peak = 0;
  Bytes loaded = 0, stored = 0;  ///< over its link
  std::uint64_t tasks = 0;
  double link_bytes_per_s = 0;             ///< each way; 0: no link
  bool emulated = false;                   ///< then every figure that came from it is marked as emulated
  std::optional<CardUse> card;             ///< of a cuda device whose kernels were recorded
  std::optional<CardCondition> condition;  ///< of one whose driver tells
  std::uint64_t recorded_steps = 0;        ///< of the tasks: computed as CUDA graphs
  bool operator==(const DeviceSummary&) const = default;
};

struct TierSummary {
  Bytes host_budget = 0, host_peak = 0;
  Bytes disk_budget = 0, disk_peak = 0;
  Bytes disk_written = 0, disk_read = 0;
  std::string worker;  ///< whose they are, "worker 0", where there are several
  /// "worker 0 host"
  std::string name_of(const std::string& tier) const { return worker.empty() ? tier : worker + " " + tier; }
  bool operator==(const TierSummary&) const = default;
};

/// Bytes that moved from one tier to another: {"host", "emulated:0", …}.
struct TransferSummary {
  std::string from, to;
  Bytes bytes = 0;
  bool operator==(const TransferSummary&) const = default;
};

/// One prediction beside what happened. Units: "s", "bytes", "bytes/s", "fraction", or none for a plain count.
struct Comparison {
  std::string what;  ///< "time of the run", "peak of emulated:0"
  double predicted = 0, measured = 0;
  std::string unit;
  bool operator==(const Comparison&) const = default;
};

struct RunSummary {
  std::string name;  ///< of the experiment
  double wall_s = 0;
  std::vector<DeviceSummary> devices;
  TierSummary tiers;
  std::vector<TransferSummary> transfers;
  std::vector<Comparison> comparisons;
  Bytes program_image_bytes = 0;     ///< of the process itself; in no budget
  std::vector<std::string> machine;  ///< "2 cores", "libtorch 2.11.0", one statement each
  bool operator==(const RunSummary&) const = default;
};

/// Found by Json's own conversions: `Json json = summary`, `json.get<RunSummary>()`. from_json throws Failure(input) on
/// what to_json cannot have written.
void to_json(Json& json, const IdleCause& value);
void from_json(const Json& json, IdleCause& value);
void to_json(Json& json, const DeviceSummary& value);
void from_json(const Json& json, DeviceSummary& value);
void to_json(Json& json, const TierSummary& value);
void from_json(const Json& json, TierSummary& value);
void to_json(Json& json, const TransferSummary& value);
void from_json(const Json& json, TransferSummary& value);
void to_json(Json& json, const Comparison& value);
void from_json(const Json& json, Comparison& value);
void to_json(Json& json, const RunSummary& value);
void from_json(const Json& json, RunSummary& value);

/// A value in a Comparison's unit, for people: "1.24 s", "12.0 MiB", "93.1 %"; "-" when it is not finite.
std::string format_in_unit(double value, const std::string& unit);
/// Measured by predicted: "× 1.07"; empty when nothing was predicted.
std::string format_ratio(const Comparison& comparison);
/// One line for each comparison under a line of headers.
std::string format_comparisons(const std::vector<Comparison>& comparisons, std::size_t indent);

bool any_emulated(const RunSummary& summary);
/// The device's name, with the word "emulated" where it applies.
std::string device_label(const DeviceSummary& device);

/// For people: each device's busy time, idle time by cause, bytes moved between each pair of tiers, peaks against
/// budgets, predictions beside measurements. Ends with a newline.
std::string format_summary(const RunSummary& summary);

}  // namespace hopyard
