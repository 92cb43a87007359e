// Looks at the test split, for people and for report.html.
#pragma once

#include <string>
#include <vector>

#include "base/record.h"
#include "formats/json.h"

namespace hopyard {

void to_json(Json& json, const TestLook& look);

/// A table of all looks, and a sentence where there was more than one: after the first, the test split has been seen.
/// Empty without looks; else ends with a newline.
std::string format_looks(const std::vector<TestLook>& looks);
/// The same as a section of report.html.
std::string looks_section(const std::vector<TestLook>& looks);

}  // namespace hopyard
