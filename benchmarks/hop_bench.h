// Moving a trial's state between workers, beside Gloo alone; and how soon a killed worker is missed.
#pragma once

#include <cstdint>
#include <vector>

#include "bench_report.h"

namespace hopyard {

std::vector<BenchRow> bench_hop(const BenchScale& scale);
/// What a process of that benchmark does: joins the coordinator at this port of loopback, until it is killed.
int run_hop_worker(std::uint16_t port);

}  // namespace hopyard
