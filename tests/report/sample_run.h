// A made-up run in the shape of the demo's: eight trials, two emulated devices, one trial that failed.
#pragma once

#include <cmath>

#include "base/rng.h"
#include "report/html_report.h"

namespace hopyard::sample {

inline TrialRecord trial(std::uint32_t index, double lr, std::int64_t freeze) {
  TrialRecord record;
  record.spec.id = "t0" + std::to_string(index);
  record.spec.index = index;
  record.spec.settings = {{"train.optimizer.lr", lr}, {"model.freeze", freeze}};
  record.state = TrialState::finished;
  KeyedStream noise(index + 1);
  const double floor = freeze == 0 ? 0.9 : 1.5, speed = 1200 * lr;
  for (std::uint64_t step = 1; step <= 252; ++step)
    record.curve.push_back(
        {step, floor + (2.8 - floor) * std::exp(-speed * 0.1 * step) + 0.5 * (noise.uniform() - 0.5)});
  for (std::uint32_t epoch = 1; epoch <= 4; ++epoch) {
    const double gap = (2.8 - floor) * std::exp(-speed * 6.3 * epoch);
    record.scores.push_back({record.spec.id, epoch, floor + gap, floor + 0.1 + 0.9 * gap,
                             0.68 - 0.2 * (floor - 0.9) - 0.2 * gap,
                             "0f1e2d3c4b5a69788796a5b4c3d2e1f" + std::to_string(index)});
  }
  record.last =
      VisitCommit{record.spec.id, 3, 3, 0, 252, 0, 0, record.scores.back().digest, {}, record.scores.back(), 40};
  return record;
}

inline std::vector<TrialRecord> trials() {
  std::vector<TrialRecord> all;
  for (const std::int64_t freeze : {0, 4})
    for (const double lr : {3e-5, 5e-5, 1e-4, 3e-4}) all.push_back(trial(all.size(), lr, freeze));
  TrialRecord& failed = all.back();
  failed.state = TrialState::failed;
  failed.reason = "the loss was not finite at step 90 <b>";
  failed.curve.resize(90);
  failed.scores.clear();
  return all;
}

inline RunSummary summary() {
  RunSummary run;
  run.name = "debian-sections";
  run.wall_s = 492;
  run.devices = {{"emulated:0",
                  440,
                  492,
                  {{"load", 20}, {"disk", 12}, {"commit", 8}, {"no work", 12}},
                  256 * MiB,
                  249 * MiB,
                  310 * GiB,
                  140 * GiB,
                  4032,
                  4.0 * GiB,
                  true},
                 {"emulated:1",
                  430,
                  492,
                  {{"load", 24}, {"disk", 10}, {"commit", 6}, {"no work", 22}},
                  256 * MiB,
                  251 * MiB,
                  300 * GiB,
                  138 * GiB,
                  3990,
                  4.0 * GiB,
                  true}};
  run.tiers = {512 * MiB, 498 * MiB, 8 * GiB, 3 * GiB, 11 * GiB, 9 * GiB};
  run.transfers = {{"host", "emulated:0", 310 * GiB}, {"emulated:0", "host", 140 * GiB},
                   {"host", "emulated:1", 300 * GiB}, {"emulated:1", "host", 138 * GiB},
                   {"host", "disk", 11 * GiB},        {"disk", "host", 9 * GiB}};
  run.comparisons = {{"time of the run", 460, 492, "s"},
                     {"peak of a device", 250.0 * MiB, 251.0 * MiB, "bytes"},
                     {"written to disk", 10.5 * GiB, 11.0 * GiB, "bytes"},
                     {"device utilisation", 0.9, 0.884, "fraction"}};
  run.program_image_bytes = 180 * MiB;
  run.machine = {"2 cores", "libtorch 2.11.0", "no GPU"};
  return run;
}

/// Two devices with compute, load and store tracks, `steps` rounds of tasks, gaps with causes.
inline void add_slices(ReportInput& input, std::uint32_t steps) {
  for (const char* device : {"emulated:0", "emulated:1"})
    for (const char* stream : {"compute", "load", "store"}) input.tracks.push_back(std::string(device) + "/" + stream);
  input.tracks.push_back("disk");
  const double unit = 480.0 / steps;
  for (std::uint32_t device = 0; device < 2; ++device) {
    KeyedStream random(device + 5);
    double now = 1000;
    for (std::uint32_t i = 0; i < steps; ++i) {
      const std::string task =
          "t0" + std::to_string((i / (steps / 40 + 1) + device * 3 + i % 3) % 8) + "/s" + std::to_string(i % 4);
      const double length = unit * (0.6 + 0.6 * random.uniform());
      input.slices.push_back({device * 3 + 1, task + "/load", "load", now - 0.6 * unit, now - 0.05 * unit, 90 * MiB});
      if (i % 9 == 0) {
        const double gap = unit * 0.4;
        input.slices.push_back({device * 3, i % 2 ? "disk" : "load", "idle", now, now + gap, 0});
        if (i % 2) input.slices.push_back({6, task + "/read", "disk", now - unit, now + gap, 90 * MiB});
        now += gap;
      }
      input.slices.push_back({device * 3, task + (i % 2 ? "/backward" : "/forward"), "compute", now, now + length, 0});
      now += length;
      if (i % 2) input.slices.push_back({device * 3 + 2, task + "/store", "store", now, now + 0.5 * unit, 60 * MiB});
    }
    input.slices.push_back({device * 3, "no work", "idle", now, now + 10 + 8 * device, 0});
  }
}

inline ReportInput report(std::uint32_t steps) {
  ReportInput input;
  input.summary = summary();
  input.trials = trials();
  SearchSpec search;
  input.leaderboard = make_leaderboard(input.trials, search);
  for (auto& row : input.leaderboard) row.seconds = 110;
  add_slices(input, steps);
  return input;
}

}  // namespace hopyard::sample
