#include "data/partition_set.h"

#include <filesystem>

#include "base/failure.h"

namespace hopyard {

PartitionSet::PartitionSet(const std::string& folder)
    : folder_(folder),
      digest_(examine_file(folder, kPartitionManifest).digest),
      manifest_(read_partition_manifest(folder)) {}

bool PartitionSet::is_one(const std::string& folder) {
  std::error_code ignored;
  return std::filesystem::exists(folder + "/" + kPartitionManifest, ignored);
}

std::string PartitionSet::path_of(std::uint32_t partition) const {
  return folder_ + "/" + manifest_.partitions.at(partition).folder;
}

Bytes PartitionSet::bytes(std::uint32_t partition) const {
  Bytes sum = 0;
  for (const PartitionFile& file : manifest_.partitions.at(partition).files) sum += file.bytes;
  return sum;
}

void PartitionSet::check_workers(std::uint32_t workers) const {
  if (count() >= workers) return;
  fail(ExitCode::input, folder_, ": has ", count(), " partitions, 0 to ", count() - 1, ", for ", workers,
       " workers; start ", count(), ", or cut the data with `hopyard partition --into=", workers, "` or more");
}

void PartitionSet::check(std::uint32_t partition) const {
  const std::string path = path_of(partition);
  std::error_code ignored;
  if (!std::filesystem::is_directory(path, ignored))
    fail(ExitCode::input, folder_, ": partition ", partition, " is missing: there is no folder ",
         manifest_.partitions[partition].folder, "; copy it from where it was written");
  for (const PartitionFile& written : manifest_.partitions[partition].files) {
    if (!std::filesystem::exists(path + "/" + written.name, ignored))
      fail(ExitCode::input, path, ": partition ", partition, " is missing its file ", written.name,
           "; copy it from where it was written");
    const PartitionFile found = examine_file(path, written.name);
    if (found != written)
      fail(ExitCode::input, path, ": partition ", partition, " was altered since it was written: ", written.name,
           " has ", found.bytes, " bytes and digest ", found.digest, ", not ", written.bytes, " and ", written.digest);
  }
}

std::shared_ptr<const Dataset> PartitionSet::open(std::span<const std::uint32_t> partitions) const {
  std::vector<Dataset::Piece> pieces;
  for (const std::uint32_t partition : partitions) {
    check(partition);
    pieces.push_back({path_of(partition), manifest_.partitions[partition].begin});
  }
  return std::make_shared<const Dataset>(folder_, rows(), pieces);
}

Partitions PartitionSet::partitions(std::uint64_t order_seed) const {
  std::vector<std::uint32_t> begin;
  for (const PartitionEntry& entry : manifest_.partitions) begin.push_back(entry.begin);
  begin.push_back(rows());
  return Partitions::laid_out(std::move(begin), order_seed);
}

}  // namespace hopyard
