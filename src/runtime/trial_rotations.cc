#include "runtime/trial_rotations.h"

#include "formats/json.h"

namespace hopyard {

namespace {

constexpr const char* kRotationsFact = "rotations";

}  // namespace

bool TrialRotations::give(const std::vector<Trial>& trials) {
  std::vector<const Trial*> fresh;
  std::vector<double> work;
  for (const Trial& trial : trials) {
    if (!counted_.insert(trial.id).second) continue;
    if (const auto known = record_.find(trial.id); known != record_.end()) {
      rotations_.put(known->second, trial.work);
    } else {
      fresh.push_back(&trial);
      work.push_back(trial.work);
    }
  }
  const auto given = rotations_.add(work);
  for (std::size_t i = 0; i < fresh.size(); ++i) record_[fresh[i]->id] = given[i];
  return !fresh.empty();
}

RotationRecord recorded_rotations(const Journal& journal, const std::string& where) {
  RotationRecord record;
  const auto fact = journal.fact(kRotationsFact);
  if (!fact) return record;
  const std::string place = where + ": " + kRotationsFact;
  const Json json = parse_json(*fact, place);
  for (const auto& [trial, rotation] : json.items())
    record[trial] = json_get<std::uint32_t>(json, trial.c_str(), place);
  return record;
}

void keep_rotations(Journal& journal, const RotationRecord& record) {
  if (!record.empty()) journal.put_fact(kRotationsFact, Json(record).dump());
}

}  // namespace hopyard
