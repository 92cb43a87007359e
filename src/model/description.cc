#include "model/description.h"

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

LayerLayout layout_of(const LayerDescription& layer, Bytes alignment) {
  LayerLayout layout;
  for (const ParameterDescription& parameter : layer.parameters) {
    const Bytes bytes = parameter.tied_to ? 0 : static_cast<Bytes>(parameter.elements()) * sizeof(float);
    layout.places.push_back({layout.bytes, bytes});
    layout.bytes = align_up(layout.bytes + bytes, alignment);
  }
  return layout;
}

}  // namespace hopyard
