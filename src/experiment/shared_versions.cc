#include "experiment/shared_versions.h"

namespace hopyard {

void SharedVersions::share(std::span<const BlobVersion> state) {
  std::set<Version> distinct;
  for (const auto& blob : state) distinct.insert(blob.version);
  const std::lock_guard lock(mutex_);
  for (const Version version : distinct) ++spared_[version];
}

void SharedVersions::drop(Version version) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = spared_.find(version);
    if (found != spared_.end()) {
      if (--found->second == 0) spared_.erase(found);
      return;
    }
  }
  disk_.drop(version);
}

}  // namespace hopyard
