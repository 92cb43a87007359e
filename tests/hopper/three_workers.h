// Three workers in one process, over either transport, for tests of what goes between them.
#pragma once

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "fakes/memory_transport.h"
#include "transport/test_membership.h"

namespace hopyard {

class ThreeWorkers {
 public:
  virtual ~ThreeWorkers() = default;
  WorkerEnd& worker(std::uint32_t rank) { return *workers_[rank]; }
  std::vector<WorkerId> ids(std::uint32_t count) const {
    std::vector<WorkerId> ids;
    for (std::uint32_t rank = 0; rank < count; ++rank) ids.push_back(workers_[rank]->id());
    return ids;
  }

 protected:
  std::vector<std::unique_ptr<WorkerEnd>> workers_;
};

class MemoryWorkers : public ThreeWorkers {
 public:
  MemoryWorkers() {
    for (std::uint32_t rank = 0; rank < 3; ++rank) workers_.push_back(network_.join(rank));
  }
  ~MemoryWorkers() override { workers_.clear(); }

 private:
  fakes::MemoryNetwork network_;
  std::unique_ptr<CoordinatorEnd> coordinator_ = network_.open_coordinator();
};

class GlooWorkers : public ThreeWorkers {
 public:
  GlooWorkers() {
    for (std::uint32_t rank = 0; rank < 3; ++rank) {
      auto joined = join_experiment(test_launch(rank, coordinator_->endpoint().port), test_options(), 20);
      EXPECT_EQ(joined.error, "");
      workers_.push_back(std::move(joined.worker));
    }
  }
  ~GlooWorkers() override { workers_.clear(); }

 private:
  std::unique_ptr<CoordinatorEnd> coordinator_ = open_coordinator(test_launch(0, 0), test_options());
};

}  // namespace hopyard
