// The leaderboard: trials from best to worst, in the three forms that `--format` offers.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/journal.h"
#include "base/trial.h"
#include "formats/json.h"
#include "select/search.h"

namespace hopyard {

struct LeaderboardRow {
  std::uint32_t rank = 0;  ///< from 1; 0 when there is no score to rank by
  std::string trial;
  std::vector<Setting> settings;
  TrialState state = TrialState::waiting;
  std::string reason;                                    ///< why it failed or was stopped
  Epochs epochs;                                         ///< behind it, at its last score
  std::optional<double> train_loss, valid_loss, metric;  ///< of its last score
  std::string metric_name;                               ///< "valid/accuracy"
  std::string digest;                                    ///< of the trial's newest committed parameters
  double seconds = 0;                                    ///< device-busy; 0 when not known
  std::optional<Lineage> lineage;                        ///< whose clone it is
  std::optional<Replicate> replicate;                    ///< its place in its group; of JSON the group of rows alone
  std::uint64_t skipped_steps = 0;                       ///< whose gradients were not finite, in fp16
  bool operator==(const LeaderboardRow&) const = default;
};

void to_json(Json& json, const LeaderboardRow& row);
void from_json(const Json& json, LeaderboardRow& row);

/// One row for each record, best first by the metric of the last score (select's rank()). A score that is not finite
/// ranks as none.
std::vector<LeaderboardRow> make_leaderboard(const std::vector<TrialRecord>& records, const SearchSpec& search);

/// Whether any row has skipped steps: people are shown the column only then.
bool any_skipped(const std::vector<LeaderboardRow>& rows);

/// All paths that any row sets, in order of appearance.
std::vector<std::string> setting_paths(const std::vector<LeaderboardRow>& rows);
/// The last part of each dotted path ("train.optimizer.lr" → "lr"); the whole path where two share their last part.
std::vector<std::string> short_setting_names(const std::vector<std::string>& paths);

enum class TableFormat { table, json, csv };
/// Nothing for a word that is none of "table", "json", "csv".
std::optional<TableFormat> parse_table_format(const std::string& word);
/// For what has no rows alike. Failure(usage): "--format: a plan is printed as table or json".
void refuse_csv(TableFormat format, const char* what);

/// Cells of a line of CSV, quoted as in RFC 4180, with its newline.
std::string csv_line(const std::vector<std::string>& cells);

/// Ends with a newline. JSON: a list of rows. CSV: quoted as in RFC 4180, one column for
/// each searched path, digits to round-trip.
std::string format_leaderboard(const std::vector<LeaderboardRow>& rows, TableFormat format);

}  // namespace hopyard
