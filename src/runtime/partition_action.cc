// `hopyard partition`.
#include <algorithm>
#include <iostream>
#include <string>
#include <vector>

#include "base/text.h"
#include "runtime/actions.h"

namespace hopyard {

ExitCode partition_data(const PartitionRequest& request) {
  const PartitionManifest manifest = write_partitions(request);
  const auto [least, most] =
      std::minmax_element(manifest.partitions.begin(), manifest.partitions.end(),
                          [](const PartitionEntry& a, const PartitionEntry& b) { return a.rows < b.rows; });
  std::cout << request.out << ": " << manifest.rows << " rows of " << request.data << " in " << request.into
            << " partitions of " << least->rows;
  const bool grouped = !request.group_by.empty();
  if (most->rows != least->rows) std::cout << (grouped ? " to " : " or ") << most->rows;
  std::cout << " rows, shuffled by seed " << request.seed << '\n';
  for (std::size_t p = 0; grouped && p < manifest.partitions.size(); ++p) {
    std::vector<std::string> groups;
    for (const PartitionGroup& group : manifest.partitions[p].groups)
      groups.push_back(text::cat(group.value, " (", group.rows, ")"));
    std::cout << "  " << manifest.partitions[p].folder << ": " << manifest.partitions[p].rows << " rows, "
              << request.group_by << ' ' << text::join(groups, ", ") << '\n';
  }
  return ExitCode::done;
}

}  // namespace hopyard
