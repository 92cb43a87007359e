// Live progress: redrawn in place on a terminal, one line an event elsewhere.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <optional>
#include <ostream>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/trial.h"
#include "report/terminal.h"

namespace hopyard {

struct TrialProgress {
  std::string id;
  std::string settings;  ///< "lr 3e-05, freeze 4"
  TrialState state = TrialState::waiting;
  std::uint32_t epoch = 0;  ///< under way, from 1; 0 before the first
  std::uint32_t epochs = 0;
  std::uint32_t visit = 0;       ///< under way in this epoch, from 1
  std::uint32_t visits = 0;      ///< in an epoch
  double fraction = 0;           ///< of the whole trial, 0 … 1
  std::optional<double> loss;    ///< newest training loss
  std::optional<double> metric;  ///< newest score
  std::optional<double> eta_s;   ///< until this trial ends
  std::string note;              ///< "paused by a person", whose clone it is, why it ended; for `status`
};

struct DeviceProgress {
  std::string name;
  double utilisation = 0;  ///< share of the recent past spent computing, 0 … 1
  std::string task;        ///< "t03/s1/backward"; empty when idle
};

struct TierProgress {
  std::string name;  ///< "device", "host", "disk"
  Bytes used = 0, budget = 0;
};

struct ProgressSnapshot {
  double elapsed_s = 0;
  std::optional<double> eta_s;
  std::vector<TrialProgress> trials;
  std::vector<DeviceProgress> devices;
  std::vector<TierProgress> tiers;
};

/// The snapshot as lines of at most `size.columns`, at most `size.rows` − 1 of them: a head line, one line for each
/// trial (active ones first to stay when there are too many), one for each device, one for the tiers. Pure.
std::vector<std::string> progress_lines(const ProgressSnapshot& snapshot, const TerminalSize& size);

/// Safe from any thread. `size` is asked before each drawing, so a resized terminal is followed; nothing means that
/// `out` is no terminal. `out` must outlive the view and be written by nobody else meanwhile.
class ProgressView {
 public:
  ProgressView(std::ostream& out, std::function<std::optional<TerminalSize>()> size);
  /// Leaves the last drawing where it is.
  ~ProgressView() = default;
  ProgressView(const ProgressView&) = delete;
  ProgressView& operator=(const ProgressView&) = delete;

  /// On a terminal: draws over the last drawing. Elsewhere: nothing.
  void show(const ProgressSnapshot& snapshot);
  /// One line that stays: above the drawing on a terminal.
  void event(const std::string& line);
  /// Removes the drawing, so that a final table can take its place.
  void clear();

 private:
  std::string up();
  std::string drawing(const TerminalSize& size);

  std::ostream& out_;
  const std::function<std::optional<TerminalSize>()> size_;
  std::mutex mutex_;  // guards all below, and out_
  ProgressSnapshot last_;
  bool has_drawing_ = false;
  std::size_t drawn_lines_ = 0;  // between where last_ begins and the cursor
};

}  // namespace hopyard
