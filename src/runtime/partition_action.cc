// `hopyard partition`.
#include <algorithm>
#include <iostream>

#include "data/partition_writer.h"
#include "runtime/actions.h"

namespace hopyard {

ExitCode partition_data(const std::string& data, std::uint32_t into, const std::string& out, std::uint64_t seed) {
  const PartitionManifest manifest = write_partitions({.data = data, .into = into, .out = out, .seed = seed});
  const auto [least, most] =
      std::minmax_element(manifest.partitions.begin(), manifest.partitions.end(),
                          [](const PartitionEntry& a, const PartitionEntry& b) { return a.rows < b.rows; });
  std::cout << out << ": " << manifest.rows << " rows of " << data << " in " << into << " partitions of "
            << least->rows;
  if (most->rows != least->rows) std::cout << " or " << most->rows;
  std::cout << " rows, shuffled by seed " << seed << '\n';
  return ExitCode::done;
}

}  // namespace hopyard
