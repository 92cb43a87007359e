// A group whose members' cards add up. Internal; NcclEnd::open_group makes it.
#pragma once

#include <memory>

#include "cuda/nccl_passage.h"

namespace hopyard {

/// Fewer bytes are added up by the group beneath. `lane` is connected.
std::unique_ptr<Group> make_nccl_group(std::unique_ptr<Group> inner, NcclLane lane, double stall_s);

}  // namespace hopyard
