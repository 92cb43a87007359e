// The report on rigor as JSON, in raw units.
#include <algorithm>

#include "report/json_fields.h"
#include "report/rigor_report.h"

namespace hopyard {

namespace {

Json to_list(const rigor::Interval& interval) { return Json::array({interval.low, interval.high}); }

template <class Value>
Json or_null(const std::optional<Value>& value, Json (*write)(const Value&)) {
  return value ? write(*value) : Json();
}

/// Of a row with the leader; null where the two were not compared.
Json comparison_json(const RigorReport& report, const std::string& group) {
  if (!report.verdict) return Json();
  const auto& verdict = *report.verdict;
  const auto found = std::find_if(verdict.others.begin(), verdict.others.end(),
                                  [&](const rigor::Comparison& one) { return one.id == group; });
  const bool leads = group == verdict.leader;
  if (!leads && found == verdict.others.end()) return Json();
  Json json{{"leader", verdict.leader}, {"method", verdict.method},     {"citation", verdict.citation},
            {"alpha", verdict.alpha},   {"examples", verdict.examples}, {"leads", leads},
            {"told_apart", false}};
  if (leads) return json;
  json["behind"] = found->behind;
  json["p"] = found->p;
  json["corrected_p"] = found->corrected_p;
  json["told_apart"] = found->told_apart;
  return json;
}

Json group_json(const GroupRow& row) {
  const bool scored = row.score.runs > 0;
  Json json{{"rank", row.rank == 0 ? Json() : Json(row.rank)},
            {"group", row.group},
            {"settings", settings_json(row.settings)},
            {"epochs", row.epochs},
            {"runs", row.score.runs},
            {"failed", row.failed},
            {"mean", scored ? Json(row.score.mean) : Json()},
            {"deviation", row.score.interval ? Json(row.score.deviation) : Json()},
            {"interval", or_null(row.score.interval, to_list)},
            {"interval_method", row.score.interval ? Json(interval_method(row)) : Json()},
            {"members", row.members}};
  for (const auto& score : row.row_groups)
    json["row_groups"].push_back(Json{{"value", score.rows.value},
                                      {"train_rows", score.rows.train_rows},
                                      {"valid_rows", score.rows.valid_rows},
                                      {"runs", score.runs},
                                      {"metric", score.runs > 0 ? Json(score.metric) : Json()}});
  return json;
}

Json to_object(const rigor::LossTerms& terms) {
  return {{"loss", terms.loss},         {"noise", terms.noise}, {"bias", terms.bias},
          {"variance", terms.variance}, {"runs", terms.runs},   {"examples", terms.examples}};
}

Json to_object(const rigor::ZeroOneTerms& terms) {
  Json json = to_object(terms.terms);
  json["unbiased_variance"] = terms.unbiased_variance;
  json["biased_variance"] = terms.biased_variance;
  json["tied"] = terms.tied;
  json["citation"] = "Domingos, ICML 2000";
  return json;
}

Json decomposition_json(const Decomposition& parts) {
  Json json{{"group", parts.group}, {"runs", parts.runs}};
  if (parts.zero_one) json["zero_one"] = to_object(*parts.zero_one);
  if (parts.log_loss) json["log"] = to_object(*parts.log_loss);
  if (parts.squared) json["squared"] = to_object(*parts.squared);
  return json;
}

Json floor_json(const rigor::NoiseFloor& floor) {
  return {{"error_rate", floor.error_rate},
          {"error_interval", to_list(floor.error_interval)},
          {"error_rate_max", floor.error_rate_max},
          {"disagreement", floor.disagreement},
          {"disagreement_interval", to_list(floor.disagreement_interval)},
          {"rows", floor.rows},
          {"rows_total", floor.rows_total},
          {"clusters", floor.clusters},
          {"mixed_clusters", floor.mixed_clusters},
          {"classes", floor.classes}};
}

Json noise_json(const NoiseReport& noise) {
  return {{"exact", or_null(noise.exact, floor_json)},
          {"near", or_null(noise.near, floor_json)},
          {"jaccard", noise.jaccard},
          {"citation", "Cover and Hart, IEEE Transactions on Information Theory 13, 1967"}};
}

Json optimism_json(const rigor::SelectionOptimism& optimism) {
  return {{"trials", optimism.trials},
          {"examples", optimism.examples},
          {"apparent", optimism.apparent},
          {"corrected", optimism.corrected},
          {"interval", to_list(optimism.interval)},
          {"optimism", optimism.optimism},
          {"optimism_interval", to_list(optimism.optimism_interval)},
          {"resamples", optimism.resamples},
          {"method", "bootstrap bias-corrected selection"},
          {"citation", "Tsamardinos et al., Machine Learning 107, 2018"}};
}

}  // namespace

Json groups_json(const RigorReport& report) {
  Json all = Json::array();
  if (report.grouped) {
    for (const auto& group : report.groups) all.push_back(group_json(group));
    for (auto& row : all) row["comparison"] = comparison_json(report, row["group"].get<std::string>());
    return all;
  }
  for (const auto& trial : report.trials) {
    all.push_back(Json(trial));
    all.back()["comparison"] = comparison_json(report, trial.trial);
  }
  return all;
}

void to_json(Json& json, const RigorReport& report) {
  json = {{"metric", report.metric},
          {"goal", report.maximize ? "max" : "min"},
          {"level", report.level},
          {"leaderboard", groups_json(report)},
          {"winner", winner_sentence(report)},
          {"best_set", report.verdict ? Json(report.verdict->best_set) : Json()},
          {"bias_variance", Json::array()},
          {"noise", or_null(report.noise, noise_json)},
          {"selection", or_null(report.optimism, optimism_json)}};
  for (const auto& parts : report.decompositions) json["bias_variance"].push_back(decomposition_json(parts));
  if (report.optimism) json["selection"]["selected"] = report.selected;
}

}  // namespace hopyard
