// A trial's bytes in host memory: its blobs, what it shares with others, and what goes from task to task.
#include <algorithm>
#include <cstring>

#include "base/failure.h"
#include "base/parallel.h"
#include "base/thread_name.h"
#include "model/layer.h"
#include "pipeline/host_copies.h"
#include "pipeline/trial_run.h"

namespace hopyard {

namespace {

constexpr std::size_t kZeroedByThread = 64 * MiB;  // some milliseconds

HostBuffer buffer_from(HostReservation& granted, Bytes bytes) {
  return HostBuffer(granted.split(HostBuffer::rounded(bytes)), bytes);
}

}  // namespace

void TrialRun::make_blobs(TrialGrant& grant, DiskTier& disk, IoPool& pool, std::function<void()> wake) {
  std::vector<BlobSpec> blobs;
  const auto modules = setup_.source->make_layers();
  blobs.resize(blob_count(setup_));
  const auto add_blob = [&](std::uint32_t blob, Bytes bytes, bool persistent) {
    blobs[blob] = {bytes, persistent};
    return blob;
  };
  for (std::uint32_t l = 0; l < modules.size(); ++l) {
    LayerState layer;
    layer.module = modules[l];
    layer.own = layout_of(modules[l]->description(), Part::own);
    layer.shared = layout_of(modules[l]->description(), Part::shared);
    layer.trainable = is_trainable(setup_, l);
    layer.unused = std::move(grant.unused[l]);
    if (!uses_layer(setup_, l)) {
      layers_.push_back(std::move(layer));
      norms_.emplace_back();
      continue;
    }
    if (layer.trainable) layer.parameters = add_blob(parameters_blob(l), layer.own.bytes, true);
    if (has_frozen_blob(setup_, l))
      layer.frozen_blob = add_blob(frozen_blob(setup_, l), layer.shared.bytes, true);
    else
      layer.frozen = std::move(grant.frozen[l]);
    // Also while the state stays on a device: these may be spared then, but blobs cannot come later.
    if (layer.trainable && setup_.limits.own_copies)
      layer.own_copy = add_blob(copies_blob(setup_, l, Part::own), copy_bytes(setup_, l, Part::own), false);
    if (layer.frozen_blob && setup_.limits.frozen_copies)
      layer.frozen_copy = add_blob(copies_blob(setup_, l, Part::shared), copy_bytes(setup_, l, Part::shared), false);
    if (layer.trainable && moment_count(setup_.train.optimizer) > 0)
      layer.moments = add_blob(moments_blob(l), moment_bytes(setup_, layer.own), true);
    // Also while it is one shard, which keeps none: it may be cut while it runs.
    if (layer.trainable && (is_two_pass(setup_.train) || updates_on_host(setup_.train)))
      layer.gradients = add_blob(gradients_blob(l), gradient_bytes(setup_, layer.own), false);
    norms_.emplace_back(layer.own.places.size(), 0.0);
    const auto& parameters = modules[l]->description().parameters;
    for (std::uint32_t p = 0; p < parameters.size(); ++p) {
      if (!parameters[p].tied_to || l < setup_.first_layer) continue;
      TiedUse use{l, p, *parameters[p].tied_to, {}, !parameters[p].frozen};
      use.piece_bytes = static_cast<Bytes>(parameters[p].elements()) * sizeof(float);
      if (use.trainable) use.gradient = buffer_from(grant.bytes, use.piece_bytes * gradient_pieces(setup_.train));
      tied_.push_back(std::move(use));
    }
    layers_.push_back(std::move(layer));
  }
  if (has_loss_scale(setup_)) add_blob(loss_scale_blob(setup_), kLossScaleBytes, true);
  next_use_ = std::vector<std::atomic<std::uint64_t>>(blobs.size());
  copied_ = std::vector<std::atomic<bool>>(layers_.size());
  wake_ = wake;
  cache_ = std::make_unique<BlobCache>(
      disk, pool, grant.bytes.split(setup_.window), std::move(blobs),
      [this](std::uint32_t blob) {
        const std::uint64_t use = next_use_[blob].load(std::memory_order_relaxed), now = tasks_done_;
        return use - std::min(use, now);
      },
      std::move(wake));
}

void TrialRun::make_boundaries(HostReservation& granted) {
  if (const Bytes bytes = exchange_staging_bytes(setup_); bytes > 0) staging_ = buffer_from(granted, bytes);
  if (const Bytes bytes = served_bytes(setup_).all; bytes > 0)
    served_ = std::make_shared<HostBuffer>(buffer_from(granted, bytes));
  const BoundarySizes sizes = boundary_sizes(setup_);
  const auto make = [&](Bytes bytes) { return std::make_unique<Boundary>(buffer_from(granted, bytes)); };
  for (const Bytes bytes : sizes.activations) activations_.push_back(make(bytes));
  if (one_shard() || setup_.materialise_to) return;
  for (int i = 0; i < 2; ++i) gradients_.push_back(make(sizes.gradient));
  for (int i = 0; i < 2 && sizes.evaluation > 0; ++i) evaluations_.push_back(make(sizes.evaluation));
}

void TrialRun::fill(std::uint32_t blob, const std::function<void(std::span<std::byte>)>& write) {
  const std::uint32_t one[] = {blob};
  cache_->acquire_blocking(one);
  write(cache_->bytes(blob));
  cache_->release(one, true);
}

void TrialRun::fill_parameters(std::uint32_t layer, Part part, std::uint32_t blob) {
  fill(blob, [&](std::span<std::byte> out) { setup_.source->initialise(layer, part, setup_.seed, out); });
}

void TrialRun::initialise() {
  for (std::uint32_t l = 0; l < layers_.size(); ++l) {
    if (layers_[l].parameters) fill_parameters(l, Part::own, *layers_[l].parameters);
    if (layers_[l].frozen_blob) fill_parameters(l, Part::shared, *layers_[l].frozen_blob);
    if (layers_[l].moments)
      fill(*layers_[l].moments, [](std::span<std::byte> out) {
        for_ranges(out.size(), kZeroedByThread,
                   [&](std::size_t begin, std::size_t end) { std::memset(out.data() + begin, 0, end - begin); });
      });
    make_copies_of(l);
  }
}

void TrialRun::make_copies_of(std::uint32_t layer) {
  const LayerState& state = layers_[layer];
  const auto make = [&](const std::optional<std::uint32_t>& from, const std::optional<std::uint32_t>& copy) {
    if (!from || !copy) return;
    const std::uint32_t both[] = {*from, *copy};
    cache_->acquire_blocking(both);
    rounding_ = true;
    wake_();
    const bool bf16 = setup_.train.precision == Precision::bf16;
    (bf16 ? pack_to_bf16 : pack_to_fp16)(cache_->bytes(*from), cache_->bytes(*copy));
    cache_->release(std::span(both).first(1), false);
    cache_->release(std::span(both).last(1), true);
    rounding_ = false;
  };
  if (keeps_copies_) make(state.parameters, state.own_copy);
  make(state.frozen_blob, state.frozen_copy);
  copied_[layer] = true;
}

void TrialRun::make_all_copies() {
  copying_ = std::jthread([this](const std::stop_token& stop) {
    name_thread("copies made");
    try {
      for (std::uint32_t l = 0; l < layers_.size() && !stop.stop_requested(); ++l) {
        make_copies_of(l);
        wake_();
      }
    } catch (...) {
      copying_error_ = std::current_exception();
      copying_failed_ = true;
      wake_();
    }
  });
}

bool TrialRun::copies_made(std::span<const std::uint32_t> blobs) const {
  if (copying_failed_) std::rethrow_exception(copying_error_);
  return has_copies(blobs);
}

bool TrialRun::has_copies(std::span<const std::uint32_t> blobs) const {
  const auto count = static_cast<std::uint32_t>(layers_.size());
  return std::all_of(blobs.begin(), blobs.end(),
                     [&](std::uint32_t blob) { return copied_[blob < 3 * count ? blob / 3 : blob % count].load(); });
}

void TrialRun::restore(const std::vector<BlobVersion>& state) {
  std::vector<BlobVersion> ours;
  for (const auto& layer : layers_)
    for (const auto& blob : state)
      if (layer.parameters == blob.blob || layer.moments == blob.blob || layer.frozen_blob == blob.blob)
        ours.push_back(blob);
  for (const auto& blob : state)
    if (has_loss_scale(setup_) && blob.blob == loss_scale_blob(setup_)) ours.push_back(blob);
  cache_->restore(ours);
  const auto is_named = [&](std::uint32_t which) {
    return std::any_of(ours.begin(), ours.end(), [&](const auto& blob) { return which == blob.blob; });
  };
  for (std::uint32_t l = 0; l < layers_.size(); ++l) {
    const LayerState& layer = layers_[l];
    const auto is_there = [&](const std::optional<std::uint32_t>& blob) {
      return !blob || layer.own.bytes == 0 || is_named(*blob);
    };
    require(is_there(layer.parameters), "no committed state of layer ", l, ", which trains");
    require(is_there(layer.moments), "no committed moments of layer ", l);
    if (layer.frozen_blob && !is_named(*layer.frozen_blob)) fill_parameters(l, Part::shared, *layer.frozen_blob);
  }
  if (has_loss_scale(setup_)) restore_loss_scale(is_named(loss_scale_blob(setup_)));
  const bool none = std::none_of(layers_.begin(), layers_.end(), [&](const LayerState& layer) {
    return layer.frozen_copy || (layer.own_copy && keeps_copies_);
  });
  if (none)
    for (auto& copied : copied_) copied = true;
  else
    make_all_copies();
}

void TrialRun::restore_loss_scale(bool is_there) {
  require(is_there, "no committed loss scale");
  const std::uint32_t one[] = {loss_scale_blob(setup_)};
  cache_->acquire_blocking(one);
  loss_scale_ = read_loss_scale(cache_->bytes(one[0]));
  cache_->release(one, false);
}

std::vector<BlobVersion> TrialRun::commit() {
  if (has_loss_scale(setup_))
    fill(loss_scale_blob(setup_), [&](std::span<std::byte> out) { write_loss_scale(loss_scale_, out); });
  return cache_->commit();
}

Digest TrialRun::digest() {
  std::vector<ParameterDigest> all;
  const auto add = [&](const std::vector<ParameterDigest>& some) { all.insert(all.end(), some.begin(), some.end()); };
  for (auto& layer : layers_) {
    const auto add_blob = [&](std::optional<std::uint32_t> which, Part part) {
      if (!which) return;
      const std::uint32_t blob[] = {*which};
      cache_->acquire_blocking(blob);
      add(parameter_digests(layer.module->description(), layer.layout(part), cache_->bytes(*which)));
      cache_->release(blob, false);
    };
    if (layer.unused) add(*layer.unused);
    if (layer.frozen) add(*layer.frozen->digests);
    add_blob(layer.frozen_blob, Part::shared);
    add_blob(layer.parameters, Part::own);
  }
  return digest_parameters(std::move(all));
}

std::span<std::byte> TrialRun::gradient_piece(std::uint32_t layer, std::uint32_t piece) {
  const LayerState& state = layers_[layer];
  return cache_->bytes(*state.gradients).subspan(piece * state.own.bytes, state.own.bytes);
}

std::byte* TrialRun::in_host(const LayerState& layer, Part part) {
  if (layer.layout(part).bytes == 0) return nullptr;
  if (part == Part::own) return reads_copy(part) ? own_copy_in_host(layer).data() : own_in_host(layer);
  if (layer.frozen) return const_cast<std::byte*>(layer.frozen->bytes.data());
  return cache_->bytes(layer.frozen_copy ? *layer.frozen_copy : *layer.frozen_blob).data();
}

std::byte* TrialRun::own_in_host(const LayerState& layer) {
  return layer.own.bytes == 0 ? nullptr : cache_->bytes(*layer.parameters).data();
}

std::span<std::byte> TrialRun::own_copy_in_host(const LayerState& layer) { return cache_->bytes(*layer.own_copy); }

}  // namespace hopyard
