// Steps that several processes compute with parameters that may lack the latest updates: a parameter server with
// bounded staleness, which is a baseline outside the promise of exactness (decision 10). hopper/server_end.h has its
// members' ends.
//
// The server is in the process of member 0. It has parameters and moments, and adds up each step's gradients as they
// arrive; with the last member's the step is complete, and updates. A member whose step is t computes with parameters
// that have the updates of all steps before t − staleness, and perhaps of later ones.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <vector>

#include "pipeline/step_exchange.h"

namespace hopyard {

enum class Served { parameters, moments };

/// What the server has, in parts: the own part of each layer that trains, in their order. Not thread-safe.
class ServedState {
 public:
  virtual ~ServedState() = default;
  virtual std::uint32_t staleness() const = 0;
  virtual std::size_t parts() const = 0;
  virtual std::span<float> values(Served what, std::size_t part) = 0;  ///< moments: none, or some times as many
  /// Of a step of the visit, counted from 0, that is at most `staleness` steps beyond the last update. Zeros at first.
  virtual std::span<float> gradients(std::uint64_t step, std::size_t part) = 0;
  /// Updates parameters and moments by the step's gradients, which are zeros then.
  virtual void update(std::uint64_t step) = 0;
  /// For what goes to and comes from another member than the first: kExchangeStagingBytes, or the largest values if
  /// less.
  virtual std::span<std::byte> staging(std::uint32_t member) = 0;
};

/// What a member says of its share of a step.
struct StepReport {
  std::uint32_t micro_batches = 0;  ///< of the whole batch
  MicroBatchRange own;              ///< empty: it has no gradients
  std::vector<double> losses;       ///< of each of these: the sum, and the number of counted items
  bool last = false;                ///< of the visit: no step is missing in what follows
};

/// One member's end, for one visit. One thread at a time, but for cancel() and traffic(). Throws ExchangeBroken like a
/// StepExchange. For each step: begin_step(), push() of each part in order if there are gradients, end_step(), pull()
/// of each part's parameters in order if they are newer; after the last step of each part's moments, if there are any,
/// and finish().
class ServerEnd : public VisitTie {
 public:
  /// Of the first member, before its first step; not of others.
  virtual void host(std::shared_ptr<ServedState> state) = 0;
  virtual void begin_step(const StepReport& report) = 0;
  virtual void push(std::size_t part, std::span<const float> gradients) = 0;
  struct Answer {
    bool newer = false;                     ///< parameters than this member's; always so after the last step
    std::optional<std::uint64_t> diverged;  ///< the visit is over: this step's loss, from 0, was no finite number
  };
  /// Blocks until the next step may begin.
  virtual Answer end_step() = 0;
  virtual void pull(Served what, std::size_t part, std::span<float> to) = 0;
  /// The losses of all steps of the visit: of each micro-batch, as StepReport has them.
  virtual std::vector<std::vector<double>> finish() = 0;
};

}  // namespace hopyard
