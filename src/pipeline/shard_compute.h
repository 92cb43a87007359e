// The mathematics of a task: forward, backward and update of contiguous layers whose bytes are already in place.
#pragma once

#include <ATen/core/Generator.h>
#include <ATen/core/Tensor.h>

#include <cstdint>
#include <span>
#include <vector>

#include "model/model.h"
#include "model/row_outcomes.h"
#include "optim/optimizer.h"
#include "pipeline/train_spec.h"

namespace hopyard {

/// Parameters in another type than they are kept in, for as long as a task computes.
struct Copies {
  at::Tensor parameters, frozen;     ///< as LoadedLayer's; undefined where it has none, or is computed with itself
  std::vector<at::Tensor> borrowed;  ///< of all that it borrows, or of nothing
};

/// A layer and the flat buffers that hold its state where it is computed.
struct LoadedLayer {
  std::uint32_t index = 0;  ///< in the model
  Layer* layer = nullptr;
  const LayerLayout *own = nullptr, *shared = nullptr;  ///< of its two parts
  bool trainable = false;
  at::Tensor parameters;             ///< float32 [own->bytes / 4]; undefined when that is nothing
  at::Tensor frozen;                 ///< the same of the shared part
  at::Tensor moments;                ///< as `parameters`, for each moment, one after the other; undefined: not loaded
  std::vector<at::Tensor> borrowed;  ///< values of its tied parameters, in their order
  Copies copies;                     ///< what is computed with in place of these
  at::Tensor new_copies;             ///< room for copies of `parameters`, which an update makes anew; undefined: none
  /// Where copies are computed with, those of each parameter, summed up in float32; undefined ones: none yet.
  std::vector<at::Tensor> gradient_sums;

  /// Parameter i, which is no tied use, in the part where it lies, or in the copy where only that is there.
  at::Tensor value(std::size_t i) const;
  /// Of a bound layer, in float32: parameter i's gradient, undefined where it has none.
  at::Tensor& gradient(std::size_t i);
};

/// The type that tasks compute in.
at::ScalarType compute_type(Precision precision);
/// Gives the layers copies of this type, unless that is float32 or they have them. What one of them borrows from
/// another among them is a view of the other's copy. Charged to the present account.
void make_copies(std::span<LoadedLayer> layers, at::ScalarType type);

class LastGradients;  // last_gradients.h

/// What differs from one micro-batch of a recorded pass to another, where it is computed: scalars that are read then.
struct RecordedValues {
  at::Tensor key;          ///< int64: the bits of pass_key()
  at::Tensor loss_weight;  ///< float32: the gradient of a micro-batch's loss
};

/// Everything that a task's bits depend on beside the layers' bytes.
struct ComputeContext {
  const ModelSource& source;
  std::span<LoadedLayer> layers;
  std::span<const Batch> batches;  ///< the micro-batches that are computed here, in order
  std::uint64_t trial_seed = 0, step = 0;
  at::Generator generator;
  bool train = true;
  bool has_head = false;                     ///< the last layer of the model is among the layers
  std::uint32_t first_micro_batch = 0;       ///< of the batch: the place in it of batches[0]
  std::size_t batch_rows = 0;                ///< of the whole batch, whoever computes it
  double loss_scale = 1;                     ///< gradients are those of the loss times it
  bool apart = false;                        ///< the gradients of each micro-batch are kept by themselves
  const RecordedValues* recorded = nullptr;  ///< in place of the key and of what follows from batch_rows and loss_scale
};

/// While it lives, the layers' modules point at their bytes, or at their copies. Gradients start from nothing.
class BoundLayers {
 public:
  /// Frozen parameters get none in any case.
  BoundLayers(std::span<LoadedLayer> layers, bool with_gradients);
  ~BoundLayers();
  BoundLayers(const BoundLayers&) = delete;

 private:
  std::span<LoadedLayer> layers_;
};

/// Without a graph. `inputs`: one for each micro-batch, empty for the first shard. Returns the boundary activations.
std::vector<at::Tensor> forward_shard(const ComputeContext& context, std::span<const at::Tensor> inputs);

/// Of one micro-batch: the sum over its counted items, and how many they are.
struct MicroBatchLoss {
  double sum = 0;
  std::int64_t items = 0;
};
/// The sum over micro-batches, in order.
MicroBatchLoss total(std::span<const MicroBatchLoss> losses);

/// Of a bound layer: one for each parameter, undefined where it has none.
using LayerGradients = std::vector<at::Tensor>;
LayerGradients gradients_of(LoadedLayer& loaded);

struct BackwardOutput {
  std::vector<at::Tensor> input_gradients;         ///< for the shard before; empty unless wanted
  std::vector<MicroBatchLoss> losses;              ///< has_head: of each micro-batch
  std::vector<std::vector<LayerGradients>> apart;  ///< [micro-batch][layer]; empty unless wanted
};
/// Recomputes with a graph and goes backward, micro-batch by micro-batch in order. `output_gradients` is empty when the
/// head is here: the loss is then the sum over counted items ÷ their number in the whole batch, scaled; losses are not.
/// Afterwards each trainable bound parameter has its gradient, unless they are kept apart. `last`, which may be null,
/// hears of them as they come; only on the CPU.
BackwardOutput backward_shard(const ComputeContext& context, std::span<const at::Tensor> inputs,
                              std::span<const at::Tensor> output_gradients, bool want_input_gradients,
                              LastGradients* last = nullptr);
/// The same without waiting for the device: the sums of the losses are left as scalars on it.
BackwardOutput ask_backward(const ComputeContext& context, std::span<const at::Tensor> inputs,
                            std::span<const at::Tensor> output_gradients, bool want_input_gradients,
                            LastGradients* last, std::vector<at::Tensor>& loss_sums);
/// The gradient of a micro-batch's loss: the scale ÷ the items that are counted in the whole batch.
double loss_weight(const ComputeContext& context);
/// Reads all scalars together: on a device each reading waits for all that is computed before it.
void read_losses(std::span<const at::Tensor> sums, std::span<MicroBatchLoss> losses);

/// A forward pass whose graph stays until its backward, which then recomputes nothing. The layers' bytes may leave the
/// device between the two, and their copies do: the graph reads them through stand-ins, which are pointed to where the
/// bytes are by then.
struct ForwardGraph {
  std::vector<at::Tensor> inputs, outputs;  ///< one for each micro-batch
  std::vector<at::Tensor> stand_ins;        ///< for each layer's two parts and what it borrowed, in order
};
/// Requires layers without the head, not yet bound; leaves them unbound. Bits are those of forward_shard(). The copies
/// are not needed afterwards; the backward has others.
ForwardGraph forward_with_graph(const ComputeContext& context, std::span<const at::Tensor> inputs,
                                bool want_input_gradients);
/// Takes the place of backward_shard(), with the same bits: requires the same layers, bound. The graph is spent then.
BackwardOutput backward_of_graph(const ComputeContext& context, ForwardGraph& graph,
                                 std::span<const at::Tensor> output_gradients);

/// A gradient that a later layer's tied use left for the owner of the parameter.
struct TiedGradient {
  ParameterDescription::Owner owner;
  at::Tensor gradient;
};
/// Adds the gradients of later uses, given in layer order, to those of the owners among `layers`.
void add_tied_gradients(std::span<LoadedLayer> layers, std::span<const TiedGradient> tied);

/// Updates the parameters of a layer's own part from `gradients[i]` (undefined ones and tied uses are skipped).
void update_layer(const LoadedLayer& layer, std::span<const at::Tensor> gradients, const OptimizerSpec& optimizer,
                  double lr, std::uint64_t step);

/// Forward of the shard with the head, judged micro-batch by micro-batch, so that one one's logits are there at a time.
Judged judge_shard(const ComputeContext& context, std::span<const at::Tensor> inputs);

/// Parameter i of a layer as a view into a flat buffer.
at::Tensor parameter_view(const at::Tensor& flat, const LayerDescription& layer, const LayerLayout& layout,
                          std::size_t i);
/// A part of a layer as it begins, keyed by seed 0; undefined when it is nothing. Charged to the present account.
at::Tensor first_values(const ModelSource& source, std::uint32_t layer, Part part, const LayerLayout& layout);
/// A tensor over memory that somebody else keeps.
at::Tensor tensor_over(std::byte* data, Bytes bytes, at::ScalarType type = at::kFloat);

}  // namespace hopyard
