#include "pipeline/row_probe.h"

#include <ATen/Functions.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "model/layer.h"
#include "pipeline/batches.h"
#include "pipeline/shard_compute.h"

namespace hopyard {

namespace {

/// A batch on its way through the layers, and which rows of the first one it holds.
struct Company {
  std::vector<std::uint32_t> rows;
  Batch batch;
  at::Tensor x;
};

std::vector<Company> companies(const ModelSource& source, const Dataset& data, std::uint32_t micro_batch_size,
                               const std::vector<std::uint32_t>& sizes, Device& device) {
  std::vector<std::uint32_t> rows(std::min(data.rows(), micro_batch_size));
  std::iota(rows.begin(), rows.end(), 0u);
  std::vector<Company> all{{rows, {}, {}}, {{rows.rbegin(), rows.rend()}, {}, {}}};
  for (const auto size : sizes)
    all.push_back({{rows.begin(), rows.begin() + std::min<std::ptrdiff_t>(size, std::ssize(rows))}, {}, {}});
  for (auto& company : all) {
    auto batches = make_batches(data, source.spec().task, company.rows, micro_batch_size);
    bring_batches(device, batches);
    company.batch = batches.front();
  }
  return all;
}

void run_layer(const ModelSource& source, Layer& layer, std::uint32_t index, Precision precision,
               std::vector<Company>& all, Device& device) {
  const auto there = [&](const at::Tensor& value) { return value.defined() ? value.to(device.place()) : value; };
  const LayerLayout own = layout_of(layer.description(), Part::own);
  const LayerLayout shared = layout_of(layer.description(), Part::shared);
  LoadedLayer loaded;
  loaded.index = index;
  loaded.layer = &layer;
  loaded.own = &own;
  loaded.shared = &shared;
  loaded.parameters = there(first_values(source, index, Part::own, own));
  loaded.frozen = there(first_values(source, index, Part::shared, shared));
  make_copies(std::span(&loaded, 1), compute_type(precision));
  const BoundLayers bound(std::span(&loaded, 1), false);
  for (auto& company : all) company.x = layer.forward(company.x, company.batch, Pass()).contiguous();
}

bool equal_rows(const Company& first, const Company& other) {
  const std::size_t bytes = first.x.nbytes() / first.rows.size();
  const at::Tensor our_x = first.x.cpu(), their_x = other.x.cpu();
  const auto* ours = static_cast<const std::byte*>(our_x.data_ptr());
  const auto* theirs = static_cast<const std::byte*>(their_x.data_ptr());
  for (std::size_t i = 0; i < other.rows.size(); ++i)
    if (std::memcmp(ours + other.rows[i] * bytes, theirs + i * bytes, bytes) != 0) return false;
  return true;
}

bool all_equal(const ModelSource& source, const Dataset& data, std::uint32_t end_layer, std::uint32_t micro_batch_size,
               const std::vector<std::uint32_t>& sizes, Precision precision, Device& device) {
  const at::NoGradGuard no_graph;
  auto all = companies(source, data, micro_batch_size, sizes, device);
  const auto layers = source.make_layers();
  for (std::uint32_t l = 0; l < end_layer; ++l) {
    run_layer(source, *layers[l], l, precision, all, device);
    if (!std::all_of(all.begin(), all.end(), [&](const Company& other) { return equal_rows(all.front(), other); }))
      return false;
  }
  return true;
}

}  // namespace

bool rows_are_independent(const ModelSource& source, const Dataset& data, std::uint32_t end_layer,
                          std::uint32_t micro_batch_size, const std::vector<std::uint32_t>& sizes, Precision precision,
                          const DeviceMaker& maker) {
  bool equal = false;
  on_compute_thread(maker, [&](Device& device) {
    equal = all_equal(source, data, end_layer, micro_batch_size, sizes, precision, device);
  });
  return equal;
}

std::vector<std::uint32_t> partial_sizes(std::uint64_t rows, std::uint32_t batch_size, std::uint32_t micro_batch_size) {
  std::vector<std::uint32_t> sizes;
  for (const std::uint64_t batch : {std::min<std::uint64_t>(rows, batch_size), rows % batch_size})
    if (const auto size = static_cast<std::uint32_t>(batch % micro_batch_size); size > 0) sizes.push_back(size);
  return sizes;
}

}  // namespace hopyard
