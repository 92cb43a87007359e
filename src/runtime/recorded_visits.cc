#include "runtime/recorded_visits.h"

#include <limits>

#include "experiment/hopping_trainer.h"
#include "formats/json.h"

namespace hopyard {

namespace {

constexpr const char* kOrdersFact = "orders to repeat";

RecordedVisits visits_of(const std::vector<VisitDigest>& committed, std::uint32_t partitions) {
  RecordedVisits visits;
  if (!committed.empty()) visits.first = committed.front().epoch * partitions + committed.front().visit;
  for (const VisitDigest& visit : committed) visits.partitions.push_back(visit.partition);
  return visits;
}

void add_failed_visit(const Journal& journal, const std::string& trial, const std::string& where,
                      RecordedVisits& visits) {
  const auto fact = journal.fact(failed_visit_fact(trial));
  if (!fact) return;
  const std::string place = where + ": " + failed_visit_fact(trial);
  const Json json = parse_json(*fact, place);
  const std::uint32_t behind = json_get<std::uint32_t>(json, "visits", place);
  if (visits.partitions.empty()) visits.first = behind;
  if (behind == visits.first + visits.partitions.size())
    visits.partitions.push_back(json_get<std::uint32_t>(json, "partition", place));
}

}  // namespace

VisitRecord visited_by(const Journal& journal, const RunRecord& record, std::uint32_t partitions,
                       const std::string& where) {
  VisitRecord visited = orders_to_repeat(journal, where);
  for (const TrialRecord& trial : journal.trials()) {
    const std::string& id = trial.spec.id;
    RecordedVisits visits = visits_of(record.visit_digests(id), partitions);
    if (trial.state == TrialState::failed) add_failed_visit(journal, id, where, visits);
    RecordedVisits& known = visited[id];
    if (visits.partitions.size() >= known.partitions.size()) known = std::move(visits);
  }
  return visited;
}

VisitRecord orders_to_repeat(const Journal& journal, const std::string& where) {
  VisitRecord record;
  const auto fact = journal.fact(kOrdersFact);
  if (!fact) return record;
  const std::string place = where + ": " + kOrdersFact;
  const Json json = parse_json(*fact, place);
  for (const auto& [trial, order] : json.items()) {
    RecordedVisits& visits = record[trial];
    visits.first = json_get<std::uint32_t>(order, "first", place);
    for (const Json& partition : json_list(order, "partitions", place)) {
      if (!partition.is_number_unsigned() || partition.get<std::uint64_t>() > std::numeric_limits<std::uint32_t>::max())
        fail(ExitCode::input, place, ": a partition is no number");
      visits.partitions.push_back(partition.get<std::uint32_t>());
    }
  }
  return record;
}

void keep_orders_to_repeat(Journal& journal, const VisitRecord& record) {
  Json json = Json::object();
  for (const auto& [trial, visits] : record)
    json[trial] = Json{{"first", visits.first}, {"partitions", visits.partitions}};
  journal.put_fact(kOrdersFact, json.dump());
}

}  // namespace hopyard
