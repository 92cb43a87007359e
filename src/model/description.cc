#include "model/description.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

std::int64_t ParameterDescription::elements() const {
  Bytes count = 1;
  for (std::int64_t size : shape) {
    const auto product = checked_multiply(count, static_cast<Bytes>(size));
    if (size < 0 || !product || *product > static_cast<Bytes>(INT64_MAX) / sizeof(float))
      fail(ExitCode::input, "parameter ", name, " has a shape that no memory holds; check the sizes in config.json");
    count = *product;
  }
  return static_cast<std::int64_t>(count);
}

std::int64_t LayerDescription::parameter_count() const {
  std::int64_t count = 0;
  for (const ParameterDescription& parameter : parameters)
    if (!parameter.tied_to) count += parameter.elements();
  return count;
}

bool LayerDescription::trains() const {
  return std::any_of(parameters.begin(), parameters.end(), [](const auto& parameter) { return !parameter.frozen; });
}

LayerLayout layout_of(const LayerDescription& layer, Part part, Bytes alignment) {
  LayerLayout layout;
  for (const ParameterDescription& parameter : layer.parameters) {
    const bool here = !parameter.tied_to && parameter.part() == part;
    const Bytes bytes = here ? static_cast<Bytes>(parameter.elements()) * sizeof(float) : 0;
    layout.places.push_back({layout.bytes, bytes});
    layout.bytes = align_up(layout.bytes + bytes, alignment);
  }
  return layout;
}

}  // namespace hopyard
