// What came of a visit, in as many messages as it takes: a curve and outcomes of rows may be longer than one.
#pragma once

#include <vector>

#include "hopper/messages.h"

namespace hopyard {

/// Takes from `trained` what a message has no room for: to be said before it, in this order. Nothing, as a rule.
std::vector<TrainedPart> split(Trained& trained);
/// Together again; `parts` in the order in which they came. Failure(input) when their curves do not follow each other.
Trained join(const std::vector<TrainedPart>& parts, Trained last);

/// For an Evaluated, which has one message for outcomes of so many partitions: of what is too much for its share of it,
/// first the values of each class are left out, then all.
RowOutcomes shortened(RowOutcomes rows, std::size_t partitions);

}  // namespace hopyard
