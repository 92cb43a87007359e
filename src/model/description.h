// What planners know of a model: plain values, no tensors.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"

namespace hopyard {

/// A layer's bytes are in two parts: what its trial trains, and what is frozen, which trials that begin with the same
/// values share.
enum class Part : std::uint8_t { own, shared };

/// A parameter of a layer. Its name is the one that the Hugging Face checkpoint uses.
struct ParameterDescription {
  std::string name;
  std::vector<std::int64_t> shape;
  bool decays = true;  ///< false for biases and norms
  struct Owner {
    std::uint32_t layer = 0, parameter = 0;
    bool operator==(const Owner&) const = default;
  };
  std::optional<Owner> tied_to;  ///< set on later uses of a parameter that belongs to an earlier layer
  bool frozen = false;           ///< not trained: it lies in the shared part; a later use is frozen as its owner is
  Part part() const { return frozen ? Part::shared : Part::own; }
  std::int64_t elements() const;
  bool operator==(const ParameterDescription&) const = default;
};

struct LayerDescription {
  std::string name;  ///< "embeddings", "encoder.3", "head"
  std::string kind;  ///< layers of one kind and shape cost the same: "bert.encoder"
  std::vector<ParameterDescription> parameters;
  double forward_flops_per_row = 0;  ///< multiply and add count as two; one row = one sequence
  Bytes output_bytes_per_row = 0;    ///< boundary activation, as float32
  /// Of the parameters that belong to this layer: tied ones count at their owner.
  std::int64_t parameter_count() const;
  /// Some parameter that it uses is not frozen.
  bool trains() const;
  bool operator==(const LayerDescription&) const = default;
};

struct ModelDescription {
  std::string family;  ///< "bert"
  std::vector<LayerDescription> layers;
  std::int64_t tokens = 0;  ///< per row, as the data has them; 1 for mlp
  bool operator==(const ModelDescription&) const = default;
};

/// One part of a layer's parameters as a flat float32 buffer: where each begins. Tied uses have no place of their own.
struct LayerLayout {
  struct Place {
    Bytes offset = 0, bytes = 0;  ///< bytes 0 for a tied use, and for what is in the other part
  };
  std::vector<Place> places;  ///< one for each parameter
  Bytes bytes = 0;            ///< the whole buffer; multiples of kTensorAlignment, padding is zero
};
LayerLayout layout_of(const LayerDescription& layer, Part part, Bytes alignment = kTensorAlignment);

}  // namespace hopyard
