#include "hopper/all_reduce_exchange.h"

#include <algorithm>
#include <atomic>

#include "base/failure.h"

namespace hopyard {

namespace {

class AllReduceExchange final : public StepExchange {
 public:
  AllReduceExchange(std::unique_ptr<Group> group, std::uint32_t members)
      : group_(std::move(group)), members_(members) {}

  bool in_order() const override { return false; }

  void gather(std::span<double> values, MicroBatchRange own) override {
    std::fill(values.begin(), values.begin() + own.begin, 0.0);
    std::fill(values.begin() + own.end, values.end(), 0.0);
    finish(group_->all_reduce(values), values.size_bytes());
  }

  void sum(std::span<const GradientPart> parts, std::span<std::byte>) override {
    for (const auto& part : parts) {
      if (part.pieces == 0) std::fill(part.sum.begin(), part.sum.end(), 0.0f);
      finish(group_->all_reduce(part.sum), part.sum.size_bytes());
    }
  }

  void cancel(const std::string& reason) override { group_->cancel(reason); }

  ExchangeTraffic traffic() const override {
    const Bytes moved = 2 * (members_ - 1) * reduced_.load() / members_;
    return {moved, moved};
  }

 private:
  void finish(const TransferResult& result, Bytes bytes) {
    if (!result.ok()) throw ExchangeBroken(result.error);
    reduced_ += bytes;
  }

  const std::unique_ptr<Group> group_;
  const std::uint32_t members_;
  std::atomic<Bytes> reduced_ = 0;
};

}  // namespace

OpenedExchange open_all_reduce_exchange(WorkerEnd& worker, const ExchangeOrder& order) {
  const auto members = static_cast<std::uint32_t>(order.members.size());
  require(members >= 2 && order.member < members && order.members[order.member] == worker.id(), "a group of ", members,
          " members, of which this is number ", order.member);
  auto opened = worker.open_group({order.members, order.number, order.open_s, order.wait_s});
  if (opened.group == nullptr) return {nullptr, opened.error};
  return {std::make_shared<AllReduceExchange>(std::move(opened.group), members), ""};
}

}  // namespace hopyard
