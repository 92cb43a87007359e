#include "cuda/copy_door.h"

namespace hopyard {

CopyDoor::CopyDoor(CudaCalls& calls, CardFailure& failure, TraceRecorder* trace, const std::string& name)
    : load_(calls, failure, CopyDirection::to_card, trace, name + "/load", "load"),
      store_(calls, failure, CopyDirection::to_host, trace, name + "/store", "store") {}

CopyDoor::~CopyDoor() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return under_way_ == 0; });
}

std::function<void()> CopyDoor::counted(std::function<void()> done) {
  const std::lock_guard lock(mutex_);
  ++under_way_;
  return [this, done = std::move(done)]() mutable {
    done();
    done = nullptr;
    const std::lock_guard lock(mutex_);
    --under_way_;
    changed_.notify_all();
  };
}

void CopyDoor::load(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
  load_.submit(std::move(copies), std::move(label), counted(std::move(done)));
}

void CopyDoor::store(std::vector<CopyRequest> copies, std::string label, std::function<void()> done) {
  store_.submit(std::move(copies), std::move(label), counted(std::move(done)));
}

}  // namespace hopyard
