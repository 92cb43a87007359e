#include "experiment/shared_versions.h"

#include <cstring>

#include "conformance/disk_tier_conformance.h"
#include "fakes/memory_disk_tier.h"

namespace hopyard {
namespace {

class SharedHarness : public DiskTierHarness {
 public:
  std::unique_ptr<DiskTier> open(Bytes capacity) override {
    below_ = std::make_unique<MemoryDiskTier>(capacity, disk_);
    return std::make_unique<SharedVersions>(*below_);
  }

 private:
  const std::shared_ptr<MemoryDisk> disk_ = std::make_shared<MemoryDisk>();
  std::unique_ptr<DiskTier> below_;
};

INSTANTIATE_TEST_SUITE_P(Shared, DiskTierConformance,
                         testing::Values(DiskTierCase{"Shared", [] { return std::make_unique<SharedHarness>(); }}),
                         [](const auto& info) { return info.param.name; });

TEST(SharedVersions, AVersionGoesWhenItsLastHolderDropsIt) {
  MemoryDiskTier below;
  SharedVersions disk(below);
  const auto content = pattern(64, 1);
  const BlobToWrite blobs[] = {{0, content}, {3, content}};
  const Version shared = disk.write(blobs, Durability::durable), own = disk.write(blobs, Durability::durable);
  disk.share(std::vector<BlobVersion>{{0, shared}, {3, shared}});  // one version, whatever it holds
  disk.share(std::vector<BlobVersion>{{0, shared}});
  disk.drop(own);
  EXPECT_EQ(disk.versions(), std::vector{shared});
  disk.drop(shared);
  disk.drop(shared);
  EXPECT_EQ(disk.versions(), std::vector{shared});
  disk.drop(shared);
  EXPECT_TRUE(disk.versions().empty());
  EXPECT_EQ(disk.used(), 0u);
}

}  // namespace
}  // namespace hopyard
