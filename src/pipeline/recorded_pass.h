// A micro-batch's forward and backward of a trial that stays whole on its device, asked for as one piece of work.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "device/device.h"
#include "pipeline/device_bytes.h"
#include "pipeline/shard_compute.h"

namespace hopyard {

/// A device is asked for some fifty pieces of work for each layer and micro-batch; where they are short, asking takes
/// longer than computing. A resident trial computes the same ones over the same memory again and again: once recorded,
/// a micro-batch takes one call and a few copies (a CUDA graph). What differs is read on the device: the batch, the
/// pass key, and the weight of the loss. The bits are those of backward_shard().
///
/// Used by the compute thread of one device at a time.
class RecordedPass {
 public:
  /// `room`: its place in the device's ledger.
  explicit RecordedPass(DeviceHold room) : room_(std::move(room)) {}
  Bytes bytes() const { return room_->bytes(); }
  bool is_recorded() const { return work_ != nullptr; }
  /// By the step computed last.
  bool was_used() const { return used_; }

  /// Before the layers of a step are bound or have copies. Where there is a record over their bytes, gives them the
  /// copies that it reads, made anew, and says true. A record over other bytes is forgotten.
  bool lend_copies(std::span<LoadedLayer> layers);
  /// After a step that was computed as ever: the layers still have its gradients, which are not needed any more. Never
  /// runs out of memory: then there is no record.
  void record(Device& device, const ComputeContext& context, std::span<const at::Tensor> inputs);
  /// Takes the place of backward_shard() for a shard with the head that passes no gradients down. Requires a record and
  /// layers that were lent its copies. Micro-batches of another shape are computed as ever.
  BackwardOutput backward(const ComputeContext& context, std::span<const at::Tensor> inputs);

 private:
  /// Makes what the record reads and adds up to.
  void prepare(Device& device, const ComputeContext& context, std::span<const at::Tensor> inputs);
  bool fits(const Batch& batch, const at::Tensor& input) const;

  const DeviceHold room_;
  bool used_ = false;
  std::vector<const void*> bytes_, recorded_bytes_;  ///< of the layers: of this step, and of the record
  std::vector<Copies> copies_;                       ///< of each layer
  at::Tensor sums_;                                  ///< float32: the gradients of all parameters that have one
  std::vector<LayerGradients> gradients_;            ///< views of it
  Batch batch_;
  at::Tensor input_, loss_;
  RecordedValues values_;
  std::unique_ptr<RecordedWork> work_;  ///< goes first: it reads all of this
};

}  // namespace hopyard
