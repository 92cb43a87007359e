// One trial while it is active: where its state is, what its tasks are, and how far it has come.
#pragma once

#include <atomic>
#include <deque>
#include <exception>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "base/failure.h"
#include "base/journal.h"
#include "data/dataset.h"
#include "model/model.h"
#include "partitioner/partitioner.h"
#include "pipeline/boundary.h"
#include "pipeline/features.h"
#include "pipeline/frozen_store.h"
#include "pipeline/host_copies.h"
#include "pipeline/shard_compute.h"
#include "pipeline/step_exchange.h"
#include "pipeline/step_program.h"
#include "pipeline/step_server.h"
#include "pipeline/task.h"
#include "pipeline/train_spec.h"
#include "pipeline/trial_setup.h"
#include "spill/blob_cache.h"

namespace hopyard {

/// One trial training over one partition, by this process alone or together with others.
struct Visit {
  std::uint32_t epoch = 0, index = 0, partition = 0;
  std::vector<std::uint32_t> rows;  ///< in training order
  std::uint64_t first_step = 0;     ///< optimizer steps done before
  bool evaluate = false;            ///< judge on the validation rows afterwards
  /// On those of these partitions alone, ascending; nothing: of all.
  std::optional<std::vector<std::uint32_t>> judge_on = std::nullopt;
  MicroBatchShare share = {};          ///< alone, or one of as many members as the trial's degree
  std::shared_ptr<VisitTie> tie = {};  ///< null: alone. As the trial's `sum` says: a StepExchange or ServerEnd
};

/// What one trial did, rather than a disk, a file, the machine or Hopyard itself: it fails, and the others go on.
class Diverged : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
/// Throws Diverged unless the loss of the step, counted from 0, is a number.
void require_finite(double loss, std::uint64_t step);
/// Somebody wanted the visit to end.
class Abandoned : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};
class ShardDoesNotFit : public Failure {
 public:
  explicit ShardDoesNotFit(const std::string& sentence) : Failure(ExitCode::capacity, sentence) {}
};

/// What a visit gave.
struct VisitResult {
  std::uint32_t trial = 0;
  Visit visit;
  double loss_sum = 0, loss_items = 0;
  std::uint64_t skipped_steps = 0;  ///< whose gradients were not finite, of a trial with a loss scale
  std::vector<CurvePoint> curve;
  std::vector<JudgedPartition> judged;  ///< of the validation rows; empty where it was not judged
  double busy_s = 0;
  std::exception_ptr error;  ///< set when the visit was not finished
};

/// A task with its place in the visit.
struct PlannedTask {
  TaskRef task;
  std::uint32_t unit = 0;  ///< batch, or chunk of validation rows
  bool evaluation = false;
  bool operator==(const PlannedTask&) const = default;
};

/// Where the first shard's input comes from when layers before it are not computed, and where the last one's output
/// goes in a run that materialises.
struct TrialFeatures {
  std::shared_ptr<const Features> train, valid;
  std::shared_ptr<Features> output;
};

/// What a trial takes of the host tier when it is admitted.
struct TrialGrant {
  HostReservation bytes;                                   ///< window and trial_overhead_bytes()
  std::vector<std::shared_ptr<const FrozenLayer>> frozen;  ///< by layer; null where it shares nothing
  /// By layer; set where the trial does not use a layer that its digest covers.
  std::vector<std::shared_ptr<const std::vector<ParameterDigest>>> unused;
  TrialFeatures features;
};
/// Nothing when the host tier has no room for it now. Reads frozen layers that nobody holds yet.
std::optional<TrialGrant> grant_trial(const TrialSetup& setup, HostTier& host, FrozenStore& frozen,
                                      TrialFeatures features = {});

/// In what form a task needs what is trained of its layers: float32, copies of it in place of that, or beside it room
/// for new ones.
struct OwnNeeds {
  bool parameters = true, copies = false, new_copies = false;
  bool any_copies() const { return copies || new_copies; }
};

/// Not thread-safe: the executor guards it with its lock, but for what compute threads own while a task runs.
class TrialRun {
 public:
  struct LayerState {
    std::shared_ptr<Layer> module;
    LayerLayout own, shared;  ///< of its two parts
    bool trainable = false;
    std::optional<std::uint32_t> parameters, moments, gradients;  ///< blobs of its own part
    std::optional<std::uint32_t> frozen_blob;                     ///< of its shared part, in the trial's window; or
    std::optional<std::uint32_t> own_copy, frozen_copy;           ///< blobs: what is computed with in place of these
    std::shared_ptr<const FrozenLayer> frozen;                    ///< bytes that it shares with other trials
    std::shared_ptr<const std::vector<ParameterDigest>> unused;   ///< set when it is not computed: no bytes at all
    const LayerLayout& layout(Part part) const { return part == Part::own ? own : shared; }
    /// Tasks that write it, chosen so far and with their bytes in the host tier.
    std::uint64_t writes_chosen = 0, writes_home = 0;
  };
  /// A parameter used again by a later layer.
  struct TiedUse {
    std::uint32_t layer = 0, parameter = 0;
    ParameterDescription::Owner owner;
    HostBuffer gradient;  ///< left by the use's backward for the owner's: one piece, or as many as may be kept apart
    bool trainable = false;
    Bytes piece_bytes = 0;
    bool left = false;                                                  ///< `gradient` holds this step's
    Part part() const { return trainable ? Part::own : Part::shared; }  ///< of the owner's layer, where its value is
    std::span<std::byte> piece(std::uint32_t index) {
      return gradient.span().subspan(index * piece_bytes, piece_bytes);
    }
  };

  TrialRun(TrialSetup setup, TrialGrant grant, DiskTier& disk, IoPool& pool, std::function<void()> wake);

  /// First weights, zero moments, copies. Blocks.
  void initialise();
  /// Starts from committed bytes. Blocks while frozen parts that the commit does not name are read from the checkpoint.
  /// A thread then makes the copies, beside whatever tasks come; those wait for copies_made().
  void restore(const std::vector<BlobVersion>& state);
  /// Makes all that restore() needs durable, as BlobCache::commit() does. Blocks; not while tasks run.
  std::vector<BlobVersion> commit();
  /// Model digest over all parameters. Blocks; not while tasks run.
  Digest digest();

  void begin_visit(Visit visit);
  /// The task `ahead` tasks after the present one of this visit; nothing beyond its end.
  std::optional<PlannedTask> peek(std::uint32_t ahead) const;
  /// `used`: the task is done with its blobs; else note_used() says when.
  void advance(bool used = true);
  void note_used(std::span<const std::uint32_t> blobs) { note_next_uses(blobs); }
  bool visit_done() const { return !peek(0).has_value(); }
  VisitResult take_result();

  /// Blobs that a task needs pinned, ascending.
  std::vector<std::uint32_t> blobs_of(const TaskRef& task) const { return blobs_needed(setup_, task); }
  /// Those of them that the task changes.
  std::vector<std::uint32_t> blobs_written_by(const TaskRef& task) const { return blobs_changed(setup_, task); }
  /// Splits the shard of the present task in two and puts the tasks in its place that end in the same state. False when
  /// it has one layer only, when the cut trial's tasks would not fit the window, or when the host tier has no room for
  /// the new boundary.
  bool recut(HostTier& host);

  bool one_shard() const { return setup_.plan.shards.size() == 1; }
  /// Its state stays on the device from the beginning of a visit to its end.
  bool resident() const { return one_shard() && !keeps_gradients(setup_); }
  bool is_last(std::uint32_t shard) const { return shard + 1 == setup_.plan.shards.size(); }
  bool has_head(std::uint32_t shard) const { return is_last(shard) && !setup_.materialise_to; }
  /// True when gradients go past the shard's first layer.
  bool passes_gradient_down(std::uint32_t shard) const;
  /// The shard's forward runs twice in a step: once for the boundary, once for its backward.
  bool recomputes(std::uint32_t shard) const { return !is_last(shard) && shard >= first_backward_; }
  const ShardPlan& shard(std::uint32_t index) const { return setup_.plan.shards[index]; }
  std::span<LayerState> layers_of(std::uint32_t shard);
  std::span<LayerState> layers_between(std::uint32_t begin, std::uint32_t end) {
    return std::span(layers_).subspan(begin, end - begin);
  }
  /// The task needs moments beside the parameters where it computes: it updates in one pass.
  bool updates_in(const TaskRef& task) const {
    return task.kind == TaskKind::backward && updates(setup_, task) && !updates_beside(setup_.train);
  }
  /// The task's gradients go home and its layers are updated there before it is settled.
  bool updates_beside_after(const TaskRef& task) const {
    return task.kind == TaskKind::backward && updates_beside(setup_.train);
  }
  /// Of the batch, or of the chunk of validation rows: those that this process computes.
  std::vector<std::uint32_t> rows_of(const PlannedTask& task) const;
  MicroBatchRange micro_batches_of(const PlannedTask& task) const;                         ///< that these rows are
  std::size_t batch_rows(const PlannedTask& task) const { return batch_of(task).size(); }  ///< of the whole batch
  std::uint32_t micro_batches_in_batch(const PlannedTask& task) const;
  /// Of an evaluation: the partition of validation rows that its rows lie in.
  std::uint32_t judged_partition_of(const PlannedTask& task) const { return judged_units_.at(task.unit).partition; }
  std::uint64_t step_of(const PlannedTask& task) const { return visit_.first_step + task.unit; }

  Boundary* input_of(const PlannedTask& task);
  /// What the task reads instead of a boundary; null for most.
  const Features* features_for(const PlannedTask& task) const;
  /// Where the task's output goes instead of a boundary; null for most.
  Features* features_from(const PlannedTask& task) const;
  /// The most that the task's activations from a boundary or from features can be.
  Bytes activation_bytes(const PlannedTask& task);
  Boundary* gradient_of(const PlannedTask& task);
  Boundary* output_of(const PlannedTask& task);
  /// The boundary is read again after the task that follows.
  bool output_needed_later(const PlannedTask& task) const;

  /// Sharded-LRTF's remaining time (DESIGN "Interleaving") after the next `tasks` tasks.
  double remaining_s(std::uint32_t tasks) const;
  /// What is then left of the step that the next task belongs to: from 1 at its begin to nearly 0.
  double step_left(std::uint32_t tasks) const;
  double total_s() const;

  const TrialSetup& setup() const { return setup_; }
  const Visit& visit() const { return visit_; }
  BlobCache& cache() { return *cache_; }
  /// Tasks that do not update in place read the part as a copy in the type that is computed in.
  bool reads_copy(Part part) const { return part == Part::own ? keeps_copies_ : setup_.limits.frozen_copies; }
  /// Of a task that computes gradients or values, not of one that only updates.
  OwnNeeds own_needs(const TaskRef& task) const {
    if (!reads_copy(Part::own)) return {};
    const bool updates = updates_in(task);
    return {updates, !updates, updates};
  }
  /// Of one number of the part, as such tasks read it.
  Bytes value_size(Part part) const { return reads_copy(part) ? 2 : sizeof(float); }
  at::ScalarType value_type(Part part) const {
    return reads_copy(part) ? compute_type(setup_.train.precision) : at::kFloat;
  }
  /// A place in a flat float32 buffer of the part, or a length of it, in bytes of what such tasks read.
  Bytes value_bytes(Part part, Bytes float_bytes) const { return float_bytes / sizeof(float) * value_size(part); }
  /// All of it.
  Bytes read_bytes(const LayerState& layer, Part part) const {
    const Bytes bytes = layer.layout(part).bytes;
    return reads_copy(part) ? packed_bytes(bytes) : bytes;
  }
  /// The layers that these blobs are of have all the copies that their tasks need; else wake() comes when more have.
  bool has_copies(std::span<const std::uint32_t> blobs) const;
  /// The same; rethrows what ended the making of them.
  bool copies_made(std::span<const std::uint32_t> blobs) const;
  /// What a layer's copies are made from is there, and they are being made. wake() comes when that begins.
  bool rounds_copies() const { return rounding_; }
  /// A part of a layer's parameters in host memory, as tasks that do not update read it: a blob, which must be pinned,
  /// or bytes shared with other trials, which nobody may write. Null where it has no bytes.
  std::byte* in_host(const LayerState& layer, Part part);
  /// Its own part in float32, which must be pinned. Null where it has no bytes.
  std::byte* own_in_host(const LayerState& layer);
  /// The copy of its own part, which must be pinned. Requires reads_copy(Part::own).
  std::span<std::byte> own_copy_in_host(const LayerState& layer);
  std::vector<LayerState>& layers() { return layers_; }
  const std::vector<LayerState>& layers() const { return layers_; }
  std::vector<TiedUse>& tied() { return tied_; }
  const std::vector<TiedUse>& tied() const { return tied_; }
  /// [layer][parameter] of the step under way, where it needs them: squared, of gradients that may be scaled.
  std::vector<std::vector<double>>& norms() { return norms_; }
  /// Of all gradients; finite exactly when they all are.
  double squared_norm() const;
  const LossScale* loss_scale() const { return has_loss_scale(setup_) ? &loss_scale_ : nullptr; }  ///< of that step
  /// The step's number for the optimizer, from 1: steps that were skipped do not count.
  std::uint64_t update_of(const PlannedTask& task) const;

  // Steps that are exchanged (step_sum.h).
  bool at_exchange() const { return !unit_tasks_.empty() && unit_tasks_.front().kind == TaskKind::exchange; }
  /// Gradients of each micro-batch are pieces of their own.
  bool keeps_apart() const { return visit_.share.member > 0 && exchange_ != nullptr && exchange_->in_order(); }
  StepExchange* exchange() const { return exchange_; }  ///< null: it is alone, or has a server
  ServerEnd* server() const { return server_; }         ///< null: it has none
  bool is_last_step(const PlannedTask& task) const { return task.unit + 1 == training_units(); }
  /// What its server needs, if it has one.
  const std::shared_ptr<HostBuffer>& served() const { return served_; }
  /// Requires that the layer's gradients are pinned.
  std::span<std::byte> gradient_piece(std::uint32_t layer, std::uint32_t piece);
  void note_losses(const std::vector<MicroBatchLoss>& losses);
  /// Of the micro-batches that this process computed of the step under way.
  std::span<const MicroBatchLoss> losses() const { return losses_; }
  std::span<std::byte> staging() { return staging_.span(); }
  VisitResult& result() { return result_; }
  /// Completed share of the visit, 0 … 1.
  double visit_fraction() const;

 private:
  void make_blobs(TrialGrant& grant, DiskTier& disk, IoPool& pool, std::function<void()> wake);
  void make_boundaries(HostReservation& granted);
  void fill_parameters(std::uint32_t layer, Part part, std::uint32_t blob);
  void make_copies_of(std::uint32_t layer);
  void make_all_copies();
  void restore_loss_scale(bool is_there);
  void fill(std::uint32_t blob, const std::function<void(std::span<std::byte>)>& write);
  /// The shard cut in two as near its middle as the window allows; nothing when it has one layer or no place will do.
  std::optional<PartitionPlan> plan_with_halves(std::uint32_t shard) const;
  std::vector<TaskRef> halves_of(TaskKind kind, std::uint32_t shard) const;
  void note_all_next_uses();
  void note_next_uses(std::span<const std::uint32_t> blobs);
  const std::vector<TaskRef>& program_of(std::uint32_t unit) const;
  std::uint32_t training_units() const;
  std::uint32_t evaluation_units() const { return static_cast<std::uint32_t>(judged_units_.size()); }
  void plan_evaluation();
  void end_step();
  std::span<const std::uint32_t> batch_of(const PlannedTask& task) const;  ///< whole
  PlannedTask planned(std::uint32_t unit, const TaskRef& task) const;

  TrialSetup setup_;
  const bool keeps_copies_;  ///< of what trains; as it begins, since none are made later
  std::vector<LayerState> layers_;
  std::vector<TiedUse> tied_;
  TrialFeatures features_;
  std::vector<std::atomic<std::uint64_t>> next_use_;  // absolute task count at which a blob is needed next
  std::unique_ptr<BlobCache> cache_;
  std::uint32_t first_backward_ = 0;  // shard
  std::vector<std::unique_ptr<Boundary>> activations_, gradients_, evaluations_;
  std::vector<std::vector<double>> norms_;  // of the step under way
  LossScale loss_scale_;                    // goes into its blob with each commit

  Visit visit_;
  StepExchange* exchange_ = nullptr;  // of the visit
  ServerEnd* server_ = nullptr;       // of the visit
  VisitResult result_;
  /// A batch of validation rows; none has rows of two partitions, so that sums are those of each partition.
  struct JudgedUnit {
    std::uint32_t partition = 0;
    std::span<const std::uint32_t> rows;
  };
  std::vector<JudgedUnit> judged_units_;  // of the visit
  std::uint32_t unit_ = 0;
  std::deque<TaskRef> unit_tasks_;  // left of the unit, the present one first
  std::vector<TaskRef> train_program_, bystander_program_, evaluate_program_;
  std::vector<MicroBatchLoss> losses_;
  HostBuffer staging_;
  std::shared_ptr<HostBuffer> served_;
  std::atomic<std::uint64_t> tasks_done_ = 0;
  std::function<void()> wake_;
  std::vector<std::atomic<bool>> copied_;  // of each layer: it has its copies
  std::atomic<bool> rounding_ = false, copying_failed_ = false;
  std::exception_ptr copying_error_;  // set before copying_failed_
  std::jthread copying_;              // ends before what it uses
};

}  // namespace hopyard
