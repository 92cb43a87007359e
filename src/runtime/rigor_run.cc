#include "runtime/rigor_run.h"

#include <algorithm>
#include <bit>
#include <filesystem>
#include <iostream>
#include <numeric>

#include "base/log.h"
#include "data/dataset.h"
#include "runtime/actions.h"
#include "runtime/predictions.h"
#include "runtime/run_objects.h"
#include "runtime/sqlite_journal.h"

namespace hopyard {

namespace {

/// A damaged file tells nothing, and spoils nothing else.
std::optional<RowOutcomes> read_or_warn(const std::string& path, const std::string& digest) try {
  return read_predictions(path, digest);
} catch (const Failure& failure) {
  HOPYARD_WARN << failure.what() << "; its trial is not compared with others";
  return std::nullopt;
}

std::map<std::string, RowOutcomes> outcomes_of(const RunPaths& paths, const std::vector<TrialRecord>& records) {
  std::map<std::string, RowOutcomes> all;
  for (const auto& record : records) {
    if (record.scores.empty()) continue;
    const TrialScore& last = record.scores.back();
    auto rows = read_or_warn(predictions_path(paths.trials(), record.spec.id, last.epoch), last.digest);
    if (!rows) continue;
    if (!record.spec.replicate) rows->values.clear(), rows->width = 0;  // a single run is not decomposed
    all.emplace(record.spec.id, std::move(*rows));
  }
  return all;
}

/// Adds the first `count` rows of a data set.
void add_rows(const Dataset& data, std::uint32_t count, LabelledInputs& all) {
  std::vector<std::uint32_t> rows(count);
  std::iota(rows.begin(), rows.end(), 0u);
  const ColumnInfo* ids = data.find("input_ids");
  const ColumnInfo& input = ids != nullptr ? *ids : *data.find("features");
  const auto width = static_cast<std::size_t>(input.shape.at(0));
  const auto add = [&](const char* column, std::size_t items, std::vector<std::int64_t>& to) {
    to.resize(to.size() + count * items);
    data.gather(column, rows, std::span(to).last(count * items));
  };
  all.inputs.width = static_cast<std::uint32_t>(width);
  all.tokens = ids != nullptr;
  if (all.tokens) {
    add("input_ids", width, all.inputs.tokens);
    if (data.find("attention_mask") != nullptr) add("attention_mask", width, all.inputs.mask);
  } else {
    std::vector<float> values(count * width);
    data.gather("features", rows, values);
    for (const float value : values) all.inputs.tokens.push_back(std::bit_cast<std::int32_t>(value));
  }
  add("labels", 1, all.labels);
}

/// Nothing for tasks without classes, and when the data sets are gone.
std::optional<NoiseReport> noise_of(const DataSpec& spec) try {
  const Dataset train(spec.train), valid(spec.valid);
  if (train.label_names().size() < 2 || train.find("labels") == nullptr) return std::nullopt;
  LabelledInputs all;
  all.classes = static_cast<std::uint32_t>(train.label_names().size());
  const auto used = [](const Dataset& data, std::uint32_t rows) {
    return rows == 0 ? data.rows() : std::min(rows, data.rows());
  };
  const std::uint32_t first = std::min(used(train, spec.train_rows), kNoiseRowsMax);
  add_rows(train, first, all);
  add_rows(valid, std::min(used(valid, spec.valid_rows), kNoiseRowsMax - first), all);
  return estimate_noise(all);
} catch (const Failure&) {
  return std::nullopt;
}

}  // namespace

RigorReport rigor_of_run(const RunPaths& paths, const ExperimentConfig& config, const std::vector<TrialRecord>& records,
                         bool with_noise) {
  const auto outcomes = outcomes_of(paths, records);
  return make_rigor_report({records, config.search, outcomes, config.seed,
                            with_noise ? noise_of(config.data) : std::nullopt, config.data.group_by});
}

ExitCode print_analysis(const std::string& directory, TableFormat format) {
  refuse_csv(format, "an analysis");
  const RunPaths paths(directory);
  ExperimentConfig config = recorded_config(paths);
  const auto journal = open_journal(paths.journal(), true);
  take_up_row_groups(config, *journal, paths.journal());
  std::cout << format_rigor(rigor_of_run(paths, config, journal->trials(), true), format);
  return ExitCode::done;
}

}  // namespace hopyard
