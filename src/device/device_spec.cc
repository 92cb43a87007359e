#include "device/device_spec.h"

namespace hopyard {

std::vector<DevicePlace> each_device(const std::vector<DeviceSpec>& specs) {
  std::vector<DevicePlace> places;
  for (const auto& spec : specs)
    for (std::uint32_t i = 0; i < spec.count; ++i)
      places.push_back({&spec, static_cast<std::uint32_t>(places.size()), spec.first_card + i});
  return places;
}

std::uint32_t device_count(const std::vector<DeviceSpec>& specs) {
  std::uint32_t count = 0;
  for (const auto& spec : specs) count += spec.count;
  return count;
}

}  // namespace hopyard
