#include "report/rigor_report.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <limits>
#include <memory>
#include <utility>

#include "base/text.h"
#include "select/rigor_duplicates.h"

namespace hopyard {

namespace {

constexpr double kNearlyEqual = 0.8;

/// Tokens that every row has, such as [CLS]: they say nothing about who is alike.
std::vector<std::int64_t> common_tokens(const rigor::TokenRows& rows) {
  std::vector<std::int64_t> common;
  for (std::uint32_t row = 0; row < rows.rows() && (row == 0 || !common.empty()); ++row) {
    std::vector<std::int64_t> tokens, both;
    for (std::size_t i = std::size_t{row} * rows.width; i < (std::size_t{row} + 1) * rows.width; ++i)
      if (rows.mask.empty() || rows.mask[i] != 0) tokens.push_back(rows.tokens[i]);
    std::sort(tokens.begin(), tokens.end());
    tokens.erase(std::unique(tokens.begin(), tokens.end()), tokens.end());
    if (row == 0) common = tokens;
    std::set_intersection(common.begin(), common.end(), tokens.begin(), tokens.end(), std::back_inserter(both));
    common = std::move(both);
  }
  return common;
}

bool ended(const TrialRecord& record) { return record.state > TrialState::active; }
Epochs epochs_of(const TrialRecord& record) { return record.scores.empty() ? 0 : record.scores.back().epoch; }

/// Members by group, in the order of the records.
std::vector<std::vector<const TrialRecord*>> in_groups(const std::vector<TrialRecord>& records) {
  std::vector<std::vector<const TrialRecord*>> groups;
  std::map<std::string, std::size_t> places;
  for (const auto& record : records) {
    const auto [place, is_new] = places.try_emplace(group_of(record.spec), groups.size());
    if (is_new) groups.emplace_back();
    groups[place->second].push_back(&record);
  }
  return groups;
}

/// Epochs that the members that count have all behind them.
Epochs common_epochs(const std::vector<const TrialRecord*>& members) {
  Epochs most;
  for (const auto* record : members) most = std::max(most, epochs_of(*record));
  Epochs common = most;
  for (const auto* record : members)
    if (const Epochs epochs = epochs_of(*record); epochs > 0 && !ended(*record)) common = std::min(common, epochs);
  return common;
}

std::optional<double> metric_after(const TrialRecord& record, const Epochs& epochs) {
  for (const auto& score : record.scores)
    if (score.epoch == epochs && std::isfinite(score.metric)) return score.metric;
  return std::nullopt;
}

/// The members of each run, in the order of the members.
template <class Member, class SpecOf>
std::vector<std::vector<Member>> in_runs(const std::vector<Member>& members, const SpecOf& spec_of) {
  std::vector<std::vector<Member>> runs;
  std::map<std::pair<std::uint32_t, std::optional<std::uint32_t>>, std::size_t> places;
  for (const Member& member : members) {
    const std::optional<Replicate>& own = spec_of(member);
    const auto key = own ? std::pair(own->seed, own->resample) : std::pair(0u, std::optional<std::uint32_t>());
    const auto [place, is_new] = places.try_emplace(key, runs.size());
    if (is_new) runs.emplace_back();
    runs[place->second].push_back(member);
  }
  return runs;
}

double rows_of(const TrialSpec& spec, const SearchSpec& search) {
  for (const RowGroup& rows : search.row_groups)
    if (spec.replicate && spec.replicate->row_group == rows.value) return rows.valid_rows;
  return 1;
}

/// Nothing unless all groups of rows have a score.
std::optional<double> run_metric(const std::vector<const TrialRecord*>& run, const Epochs& epochs,
                                 const SearchSpec& search) {
  std::vector<RowsScore> scores;
  for (const auto* record : run)
    if (const auto metric = metric_after(*record, epochs)) scores.push_back({*metric, rows_of(record->spec, search)});
  if (scores.size() < std::max<std::size_t>(1, search.row_groups.size())) return std::nullopt;
  return overall_metric(search.metric, scores);
}

std::vector<RowGroupScore> row_group_scores(const std::vector<const TrialRecord*>& members, const Epochs& epochs,
                                            const SearchSpec& search) {
  std::vector<RowGroupScore> all;
  for (const RowGroup& rows : search.row_groups) {
    RowGroupScore& score = all.emplace_back(rows);
    for (const auto* record : members) {
      const auto metric = metric_after(*record, epochs);
      if (!metric || !record->spec.replicate || record->spec.replicate->row_group != rows.value) continue;
      ++score.runs;
      score.metric += (*metric - score.metric) / score.runs;
    }
  }
  return all;
}

GroupRow group_row(const std::vector<const TrialRecord*>& members, const std::vector<LeaderboardRow>& board,
                   const SearchSpec& search) {
  GroupRow row;
  row.group = group_of(members.front()->spec);
  row.settings = members.front()->spec.settings;
  row.epochs = common_epochs(members);
  for (const auto* record : members) {
    row.failed += record->state == TrialState::failed;
    row.members.push_back(
        *std::find_if(board.begin(), board.end(), [&](const auto& one) { return one.trial == record->spec.id; }));
  }
  const auto spec_of = [](const TrialRecord* record) -> const auto& { return record->spec.replicate; };
  for (const auto& run : in_runs(members, spec_of)) {
    ++row.runs;
    if (const auto metric = run_metric(run, row.epochs, search)) row.run_metrics.push_back(*metric);
  }
  if (!row.run_metrics.empty()) row.score = rigor::summarize_group(row.run_metrics);
  row.row_groups = row_group_scores(members, row.epochs, search);
  return row;
}

/// What a run said of each row: of all groups of rows by their values, or of none.
using RunOutcomes = std::shared_ptr<const RowOutcomes>;

/// The rows of a group's runs that the metric is of. Empty when they cannot be compared.
std::vector<RunOutcomes> runs_of(const GroupRow& row, const std::map<std::string, RowOutcomes>& outcomes) {
  std::vector<RunOutcomes> runs;
  const auto replicate_of = [](const LeaderboardRow& member) -> const auto& { return member.replicate; };
  for (const auto& run : in_runs(row.members, replicate_of)) {
    std::vector<const RowOutcomes*> parts;
    for (const auto& member : run) {
      const auto found = outcomes.find(member.trial);
      if (member.epochs == row.epochs && found != outcomes.end()) parts.push_back(&found->second);
    }
    if (parts.size() < std::max<std::size_t>(1, row.row_groups.size())) continue;
    if (parts.size() == 1) {
      runs.emplace_back(parts.front(), [](const RowOutcomes*) {});  // whose owner outlives it
      continue;
    }
    auto all = std::make_shared<RowOutcomes>();
    for (const auto* part : parts) all->add(*part);
    runs.push_back(std::move(all));
  }
  return runs;
}

/// Those of the ranked groups that have a score for each row, the best first, all over the same rows as the first.
std::vector<rigor::Contestant> contestants_of(const std::vector<GroupRow>& groups, const std::string& metric,
                                              const std::map<std::string, RowOutcomes>& outcomes) {
  std::vector<rigor::Contestant> contestants;
  for (const auto& row : groups) {
    if (row.rank == 0 || contestants.size() == kContestantsMax) break;
    rigor::Contestant contestant{row.group, {}};
    for (const auto& run : runs_of(row, outcomes)) {
      auto scores = row_scores(*run, metric);
      const bool finite = std::all_of(scores.begin(), scores.end(), [](double score) { return std::isfinite(score); });
      const rigor::Contestant& first = contestants.empty() ? contestant : contestants.front();
      const std::size_t rows = first.runs.empty() ? scores.size() : first.runs.front().size();
      if (finite && scores.size() >= 2 && scores.size() == rows) contestant.runs.push_back(std::move(scores));
    }
    if (contestant.runs.empty() && contestants.empty()) break;  // nothing to compare the others with
    if (!contestant.runs.empty()) contestants.push_back(std::move(contestant));
  }
  return contestants;
}

std::uint32_t resamples_for(const std::vector<rigor::Contestant>& contestants) {
  double values = 0;
  for (const auto& contestant : contestants)
    values += static_cast<double>(contestant.runs.size() * contestant.runs.front().size());
  return static_cast<std::uint32_t>(
      std::clamp(kBootstrapWork / values, double(kResamplesMin), double(rigor::kResamples)));
}

std::size_t ranked(const std::vector<GroupRow>& groups) {
  return static_cast<std::size_t>(
      std::count_if(groups.begin(), groups.end(), [](const auto& g) { return g.rank > 0; }));
}

void judge(const RigorInput& input, const std::vector<rigor::Contestant>& contestants, RigorReport& report) {
  const std::size_t all = ranked(report.groups);
  if (all < 2) {
    report.no_verdict = all == 0 ? "nothing has a score yet" : "there is nothing to compare it with";
    return;
  }
  if (contestants.empty()) {
    report.no_verdict = text::cat("what ", report.groups.front().group, " said of each validation row is not kept");
    return;
  }
  if (contestants.size() < 2) {
    report.no_verdict = "of no other is it kept what it said of each validation row";
    return;
  }
  rigor::LeaderOptions options;
  options.maximize = report.maximize;
  options.family = rigor::Family::all_pairs;
  options.seed = input.seed;
  options.resamples = resamples_for(contestants);
  options.contestants = all;
  report.verdict = rigor::judge_leader(contestants, options);
  report.compared = static_cast<std::uint32_t>(contestants.size());
}

void judge_selection(const RigorInput& input, const std::vector<rigor::Contestant>& contestants, RigorReport& report) {
  if (contestants.size() < 2) return;
  std::vector<std::vector<double>> scores;
  for (const auto& contestant : contestants) {
    auto& mean = scores.emplace_back(contestant.runs.front().size());
    for (const auto& run : contestant.runs)
      for (std::size_t i = 0; i < mean.size(); ++i) mean[i] += run[i] / static_cast<double>(contestant.runs.size());
  }
  report.optimism = rigor::selection_optimism(scores, report.maximize, input.seed, resamples_for(contestants));
  report.selected = contestants[report.optimism->selected].id;
}

template <class Value>
std::vector<std::vector<Value>> column(const std::vector<RunOutcomes>& runs, std::vector<Value> RowOutcomes::*member) {
  std::vector<std::vector<Value>> all;
  for (const auto& run : runs) all.push_back((*run).*member);
  return all;
}

/// Natural logarithms; what float32 cannot tell from 0 is its smallest normal number.
std::vector<std::vector<double>> log_probabilities(const std::vector<RunOutcomes>& runs) {
  constexpr double kLeast = std::numeric_limits<float>::min();
  std::vector<std::vector<double>> all;
  for (const auto& run : runs) {
    auto& logs = all.emplace_back();
    for (const float probability : run->values) logs.push_back(std::log(std::max<double>(probability, kLeast)));
  }
  return all;
}

bool same_rows(const std::vector<RunOutcomes>& runs) {
  return std::all_of(runs.begin(), runs.end(), [&](const auto& run) {
    return run->labels == runs.front()->labels && run->targets == runs.front()->targets &&
           run->width == runs.front()->width;
  });
}

std::optional<Decomposition> decompose(const GroupRow& row, const std::map<std::string, RowOutcomes>& outcomes) {
  const auto runs = runs_of(row, outcomes);
  if (runs.size() < 2 || !same_rows(runs)) return std::nullopt;
  Decomposition parts{row.group, static_cast<std::uint32_t>(runs.size()), {}, {}, {}};
  const RowOutcomes& first = *runs.front();
  if (!first.labels.empty()) {
    parts.zero_one = rigor::decompose_zero_one(column(runs, &RowOutcomes::predicted), first.labels);
    if (first.width > 0) parts.log_loss = rigor::decompose_log(log_probabilities(runs), first.width, first.labels);
  } else if (!first.targets.empty() && first.width == 1) {
    std::vector<std::vector<double>> values;
    for (const auto& run : runs) values.emplace_back(run->values.begin(), run->values.end());
    const std::vector<double> targets(first.targets.begin(), first.targets.end());
    parts.squared = rigor::decompose_squared(values, targets);
  } else {
    return std::nullopt;
  }
  return parts;
}

}  // namespace

std::vector<GroupRow> make_groups(const std::vector<TrialRecord>& records, const SearchSpec& search) {
  const auto board = make_leaderboard(records, search);
  std::vector<GroupRow> rows, ordered;
  std::vector<std::optional<double>> metrics;
  for (const auto& members : in_groups(records)) {
    rows.push_back(group_row(members, board, search));
    const bool counts = rows.back().score.runs > 0 && rows.back().failed == 0;
    metrics.push_back(counts ? std::optional(rows.back().score.mean) : std::nullopt);
  }
  for (const std::size_t place : rank(metrics, search.maximize)) {
    ordered.push_back(std::move(rows[place]));
    if (metrics[place]) ordered.back().rank = static_cast<std::uint32_t>(ordered.size());
  }
  return ordered;
}

NoiseReport estimate_noise(const LabelledInputs& rows) {
  NoiseReport report;
  report.jaccard = kNearlyEqual;
  report.exact = rigor::estimate_noise_floor(rigor::exact_duplicates(rows.inputs), rows.labels, rows.classes);
  if (!rows.tokens) return report;
  rigor::NearDuplicateOptions options;
  options.jaccard = kNearlyEqual;
  if (rows.inputs.rows() > 1) options.ignored = common_tokens(rows.inputs);
  report.near = rigor::estimate_noise_floor(rigor::near_duplicates(rows.inputs, options), rows.labels, rows.classes);
  return report;
}

std::vector<RowGroupLeader> row_group_leaders(const RigorReport& report) {
  std::vector<RowGroupLeader> leaders;
  if (report.groups.empty()) return leaders;
  for (std::size_t g = 0; g < report.groups.front().row_groups.size(); ++g) {
    RowGroupLeader& leader = leaders.emplace_back(report.groups.front().row_groups[g].rows);
    for (const GroupRow& row : report.groups) {
      const RowGroupScore& score = row.row_groups[g];
      if (score.runs == 0 || row.failed > 0) continue;
      const bool better =
          !leader.metric || (report.maximize ? score.metric > *leader.metric : score.metric < *leader.metric);
      if (better) leader.best = row.group, leader.metric = score.metric;
      if (row.rank == 1) leader.of_overall = score.metric;
    }
  }
  return leaders;
}

std::vector<double> row_scores(const RowOutcomes& rows, const std::string& metric) {
  const auto& scores = metric == "valid/accuracy" ? rows.correct : rows.losses;
  return {scores.begin(), scores.end()};
}

RigorReport make_rigor_report(const RigorInput& input) {
  RigorReport report;
  report.metric = input.search.metric;
  report.maximize = input.search.maximize;
  report.groups = make_groups(input.records, input.search);
  report.trials = make_leaderboard(input.records, input.search);
  report.grouped = std::any_of(input.records.begin(), input.records.end(),
                               [](const auto& record) { return record.spec.replicate.has_value(); });
  report.group_by = input.search.row_groups.empty() ? "" : input.group_by;
  const auto contestants = contestants_of(report.groups, report.metric, input.outcomes);
  judge(input, contestants, report);
  judge_selection(input, contestants, report);
  for (const auto& row : report.groups)
    if (auto parts = decompose(row, input.outcomes)) report.decompositions.push_back(std::move(*parts));
  report.noise = input.noise;
  return report;
}

}  // namespace hopyard
