// What cards are measured by: the link, the bits, one cut trial, four of them, one that is whole.
#pragma once

#include <functional>
#include <string>
#include <utility>
#include <vector>

#include "bench_report.h"

namespace hopyard {

/// The groups gpu/… in the order in which they are to run: they share what takes long to make. Where there is no card
/// each says so and measures nothing, but for a smoke run, which goes over a card that is none.
std::vector<std::pair<std::string, std::function<std::vector<BenchRow>(const BenchScale&)>>> gpu_groups();

}  // namespace hopyard
