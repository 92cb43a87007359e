// A step that several processes compute together (data parallelism): who computes which of its micro-batches, and how
// what they computed becomes one step. hopper/link_exchange.h is the real one; tests/fakes/memory_exchange.h joins
// members of one process. tests/conformance/step_exchange_conformance.h holds for both. step_server.h is another way.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <span>
#include <stdexcept>
#include <string>

#include "base/bytes.h"

namespace hopyard {

/// Micro-batches [begin, end) of a batch.
struct MicroBatchRange {
  std::uint32_t begin = 0, end = 0;
  std::uint32_t count() const { return end - begin; }
  bool operator==(const MicroBatchRange&) const = default;
};

/// Which member of how many a process is. Member 0 has the first micro-batches of each batch.
struct MicroBatchShare {
  std::uint32_t member = 0, members = 1;
  bool alone() const { return members == 1; }
  /// Of a batch of so many micro-batches, those that this member computes: all members' are contiguous, in the order of
  /// the members, and in number within one. Empty for the last members of a batch that has fewer than members.
  MicroBatchRange of(std::uint32_t micro_batches) const {
    const std::uint32_t each = micro_batches / members, longer = micro_batches % members;
    const std::uint32_t begin = member * each + std::min(member, longer);
    return {begin, begin + each + (member < longer ? 1 : 0)};
  }
  bool operator==(const MicroBatchShare&) const = default;
};

/// The gradients of a layer's own part, or of one use of a tied parameter: as the members exchange them.
struct GradientPart {
  /// Before: this member's first piece, meaningless where `pieces` is 0. Afterwards: the sum over the whole batch, the
  /// same bits at all members.
  std::span<float> sum;
  /// Those after the first, one after another, each as long as `sum`.
  std::span<float> more;
  /// A member's pieces are, in order: of the micro-batches that it computed, one each; or one, of all of them.
  std::uint32_t pieces = 0;
};

/// Of the bytes that a member sent and received for exchanges, without the frames of links.
struct ExchangeTraffic {
  Bytes sent = 0, received = 0;
  bool operator==(const ExchangeTraffic&) const = default;
};

/// The step cannot be completed together: a member is gone, or gave up. No fault of the trial: the visit ends with this
/// error, and may be trained again from the state before it.
class ExchangeBroken : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// What an exchange may use beside the gradients; or as much as the largest part, if that is less.
constexpr Bytes kExchangeStagingBytes = 16 * MiB;

/// What ties one member to the others for one visit: a StepExchange, or its end of a server (step_server.h).
class VisitTie {
 public:
  virtual ~VisitTie() = default;
  /// Lets go at once whoever waits here for the others, with this reason. The other members hear of it when they wait
  /// for this one, or for one that has heard; a call that has begun everywhere may yet come to its end there. Any
  /// thread.
  virtual void cancel(const std::string& reason) = 0;
  virtual ExchangeTraffic traffic() const = 0;  ///< any thread
};

/// One member's end, for one visit. All members call gather() and sum() in the same order with the same sizes; how many
/// parts come with one call is each member's own affair. One thread at a time, but for cancel() and traffic(), which
/// any may call. Both calls block until their results are there: for as long as the slowest member takes, but no longer
/// than a bound that whoever made the exchange has set. They throw ExchangeBroken, and always after the first time;
/// the other members hear of it.
class StepExchange : public VisitTie {
 public:
  /// The sums keep each micro-batch's gradients apart until they are added in the order of micro-batches: members after
  /// the first then have a piece for each. Otherwise each member has one piece.
  virtual bool in_order() const = 0;
  /// `values` [micro-batches of the batch]: those of `own` are this member's; afterwards all are there.
  virtual void gather(std::span<double> values, MicroBatchRange own) = 0;
  /// Leaves the sums over all members in the parts, in order of the parts. `staging` is for the exchange's use.
  virtual void sum(std::span<const GradientPart> parts, std::span<std::byte> staging) = 0;
};

}  // namespace hopyard
