// Whether the best trial is really the best, as values: groups with intervals, which leaders cannot be told apart, what
// their losses are made of, the noise in the data, and how far choosing among many flatters. docs/RIGOR.md says how to
// read it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "model/row_outcomes.h"
#include "report/leaderboard.h"
#include "select/rigor_bias_variance.h"
#include "select/rigor_intervals.h"
#include "select/rigor_leaders.h"
#include "select/rigor_noise.h"
#include "select/rigor_optimism.h"

namespace hopyard {

/// Of a recipe, on one group of rows (data.group_by).
struct RowGroupScore {
  RowGroup rows;
  std::uint32_t runs = 0;  ///< that have a score
  double metric = 0;       ///< their mean, where there are any
  bool operator==(const RowGroupScore&) const = default;
};

/// A recipe: the members of a group, or a plain trial as a group of one. A run of it is one of its seeds and resamples:
/// a member, or over groups of rows one for each.
struct GroupRow {
  std::uint32_t rank = 0;  ///< from 1; 0 when it has no score, or a member of it failed
  std::string group;
  std::vector<Setting> settings;
  Epochs epochs;                          ///< that all members that count have behind them
  std::uint32_t runs = 0;                 ///< that it has, whatever became of them
  std::vector<double> run_metrics;        ///< of those that have one: over groups of rows, overall_metric() of all
  rigor::GroupSummary score;              ///< of these, after these epochs; runs = 0 when there is none
  std::vector<RowGroupScore> row_groups;  ///< by value; empty without groups of rows
  std::uint32_t failed = 0;               ///< members that did
  std::vector<LeaderboardRow> members;    ///< in the order of asking, ranks among all trials
  bool operator==(const GroupRow&) const = default;
};

/// Best mean first. Of a group those members count that came as far as any of it or may still come there; the score is
/// after the epochs that all of these have behind them.
std::vector<GroupRow> make_groups(const std::vector<TrialRecord>& records, const SearchSpec& search);

/// A group's loss over its runs.
struct Decomposition {
  std::string group;
  std::uint32_t runs = 0;
  std::optional<rigor::ZeroOneTerms> zero_one;  ///< sequence-classification
  std::optional<rigor::LossTerms> log_loss;     ///< the same, where probabilities are kept
  std::optional<rigor::LossTerms> squared;      ///< regression
  bool operator==(const Decomposition&) const = default;
};

/// Repeated inputs of the data sets with unlike labels.
struct NoiseReport {
  std::optional<rigor::NoiseFloor> exact;  ///< equal inputs; nothing when none repeats
  std::optional<rigor::NoiseFloor> near;   ///< nearly equal ones: nothing, too, where inputs are no tokens
  double jaccard = 0;                      ///< how alike these are at least
  bool operator==(const NoiseReport&) const = default;
};
/// Inputs and labels of a data set. Real-valued features count as tokens by their bits, and are compared exactly alone.
struct LabelledInputs {
  rigor::TokenRows inputs;
  bool tokens = true;
  std::vector<std::int64_t> labels;
  std::uint32_t classes = 0;
};
NoiseReport estimate_noise(const LabelledInputs& rows);

struct RigorReport {
  std::string metric;
  bool maximize = true;
  double level = rigor::kLevel;
  bool grouped = false;  ///< some group has more than one member
  std::string group_by;  ///< data.group_by; empty without groups of rows
  std::vector<GroupRow> groups;
  std::vector<LeaderboardRow> trials;
  std::optional<rigor::LeaderVerdict> verdict;
  std::string no_verdict;      ///< why there is none
  std::uint32_t compared = 0;  ///< contestants of the verdict, the best
  std::vector<Decomposition> decompositions;
  std::optional<NoiseReport> noise;
  std::optional<rigor::SelectionOptimism> optimism;
  std::string selected;  ///< the group that optimism is about
};

struct RigorInput {
  const std::vector<TrialRecord>& records;
  const SearchSpec& search;
  /// What each trial said of the validation rows after its last epoch, by id; those that are missing are not compared.
  const std::map<std::string, RowOutcomes>& outcomes;
  std::uint64_t seed = 0;            ///< of the bootstrap's draws
  std::optional<NoiseReport> noise;  ///< of the data sets
  std::string group_by = {};         ///< data.group_by
};
/// Pure. At most kContestantsMax groups are compared; draws of the bootstrap are fewer than rigor::kResamples, but
/// never below kResamplesMin, where they would take more than kBootstrapWork additions.
RigorReport make_rigor_report(const RigorInput& input);
inline constexpr std::size_t kContestantsMax = 200;
inline constexpr std::uint32_t kResamplesMin = 200;
inline constexpr double kBootstrapWork = 2e9;

/// A score of each row, of which the metric is the mean: of valid/perplexity the loss, which ranks alike. Empty when
/// the rows do not have it.
std::vector<double> row_scores(const RowOutcomes& rows, const std::string& metric);

/// The interval's method, in words: "Student's t over 3 runs".
std::string interval_method(const GroupRow& row);

/// Of a group against the best: "best", "worse, p 0.012"; "-" where the two were not compared.
std::string standing(const RigorReport& report, const std::string& group);
/// What was compared with what, how, and where that is written. Requires a verdict.
std::string method_sentence(const RigorReport& report);
std::string noise_sentences(const NoiseReport& noise);
/// Requires that optimism was estimated.
std::string selection_sentences(const RigorReport& report);

/// The best recipe of each group of rows, beside the best over all; empty without groups of rows.
struct RowGroupLeader {
  RowGroup rows;
  std::string best;                          ///< group of trials; empty when nobody has a score
  std::optional<double> metric, of_overall;  ///< its own there, and that of the best over all
};
std::vector<RowGroupLeader> row_group_leaders(const RigorReport& report);

/// One sentence on whether the best is really better; empty when there is nothing to compare.
std::string winner_sentence(const RigorReport& report);
/// Of groups a table of their own, else that of the trials; then what could not be told apart. CSV: the table alone.
/// JSON: the rows, each with its comparison with the leader; of a group also its interval and its members.
std::string format_groups(const RigorReport& report, TableFormat format);
/// All of the report. Table or JSON.
std::string format_rigor(const RigorReport& report, TableFormat format);

/// The rows of the leaderboard's JSON.
Json groups_json(const RigorReport& report);
void to_json(Json& json, const RigorReport& report);

}  // namespace hopyard
