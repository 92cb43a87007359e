// Which trials or groups cannot be told apart from the best one. Pure: values in, values out; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "select/rigor_paired_tests.h"

namespace hopyard::rigor {

/// What Holm's correction counts. The leader is picked by the outcomes on which it is then tested, so it is likely a
/// lucky one: `leader_vs_others` holds its level α for a leader that was named beforehand, `all_pairs` for any leader
/// (each comparison with it is one of the m (m − 1) / 2 that could have been made). Of ten equal trials one at least is
/// told apart from the luckiest in 14 % of experiments with the first at α = 5 %, in 3 % with the second.
enum class Family { leader_vs_others, all_pairs };

struct LeaderOptions {
  bool maximize = true;
  double alpha = 0.05;
  Family family = Family::leader_vs_others;
  std::uint64_t seed = 0;                ///< of the bootstrap's draws
  std::uint32_t resamples = kResamples;  ///< of the bootstrap
  std::size_t contestants = 0;           ///< that there were in all, where only the best of them are given
};

struct Comparison {
  std::string id;
  double behind = 0;        ///< by how much the mean score is worse than the leader's, ≥ 0
  double p = 1;             ///< two-sided
  double corrected_p = 1;   ///< by Holm
  bool told_apart = false;  ///< corrected_p ≤ α
  bool operator==(const Comparison&) const = default;
};

struct LeaderVerdict {
  std::string leader;                 ///< best mean score; the first of equals
  std::vector<Comparison> others;     ///< in the order given, without the leader
  std::vector<std::string> best_set;  ///< the leader, then those that cannot be told apart from it
  std::string method, citation;       ///< as the report prints them
  double alpha = 0;
  std::uint32_t examples = 0;
  bool operator==(const LeaderVerdict&) const = default;
};

/// McNemar's mid-p test when each contestant has one run and all scores are 0 or 1; otherwise PairedBootstrap. Holm's
/// correction over `family`. Requires what PairedBootstrap requires, and ids that differ.
LeaderVerdict judge_leader(std::span<const Contestant> contestants, const LeaderOptions& options);

}  // namespace hopyard::rigor
