// Orders of visits that a run is to repeat: of free workers (`data.order: free`), as another run's journal has them.
#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "base/journal.h"
#include "base/record.h"
#include "hopper/visit_order.h"

namespace hopyard {

/// By trial id.
using VisitRecord = std::map<std::string, RecordedVisits>;

/// What a run has visited. It knows of a failed trial the visit that failed, and, where it repeats another run itself,
/// also what it was to visit and has not.
VisitRecord visited_by(const Journal& journal, const RunRecord& record, std::uint32_t partitions,
                       const std::string& where);

/// The orders that this run repeats; empty where it repeats none. `where` names the journal.
VisitRecord orders_to_repeat(const Journal& journal, const std::string& where);
void keep_orders_to_repeat(Journal& journal, const VisitRecord& record);

}  // namespace hopyard
