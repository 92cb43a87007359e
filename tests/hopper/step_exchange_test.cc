// The conformance suite on exchanges over links of both transports, and on the fake.
#include "base/failure.h"
#include "conformance/step_exchange_conformance.h"
#include "fakes/memory_exchange.h"
#include "hopper/all_reduce_exchange.h"
#include "hopper/three_workers.h"

namespace hopyard {
namespace {

using Ends = std::vector<std::shared_ptr<StepExchange>>;

constexpr double kOpenSeconds = 30;  // on a machine that has much else to do

template <bool in_order>
class TableHarness : public ExchangeHarness {
 public:
  Ends open(std::uint32_t members, double wait_s) override {
    const auto all = fakes::MemoryExchange::of(members, in_order, wait_s);
    Ends ends;
    for (std::uint32_t m = 0; m < members; ++m) ends.push_back(all->member(m));
    return ends;
  }
};

using Open = OpenedExchange (*)(WorkerEnd&, const ExchangeOrder&);
template <class Workers, Open open_end>
class WorkersHarness : public ExchangeHarness {
 public:
  Ends open(std::uint32_t members, double wait_s) override {
    ++opened_;
    Ends ends(members);
    each_member(members, [&](std::uint32_t m) {
      auto opened = open_end(workers_.worker(m), {workers_.ids(members), m, opened_, kOpenSeconds, wait_s});
      EXPECT_EQ(opened.error, "");
      ends[m] = std::move(opened.exchange);
    });
    for (const auto& end : ends) require(end != nullptr, "a member could not open its exchange");
    return ends;
  }

 private:
  Workers workers_;
  std::uint64_t opened_ = 0;
};

template <class Harness>
ExchangeCase of(const char* name, bool in_order) {
  return {name, [] { return std::make_unique<Harness>(); }, in_order};
}

INSTANTIATE_TEST_SUITE_P(
    Exchanges, StepExchangeConformance,
    testing::Values(of<TableHarness<true>>("table", true),
                    of<WorkersHarness<MemoryWorkers, open_link_exchange>>("memory_links", true),
                    of<WorkersHarness<GlooWorkers, open_link_exchange>>("gloo_links", true),
                    of<TableHarness<false>>("unordered_table", false),
                    of<WorkersHarness<MemoryWorkers, open_all_reduce_exchange>>("memory_group", false),
                    of<WorkersHarness<GlooWorkers, open_all_reduce_exchange>>("gloo_group", false)),
    [](const auto& info) { return info.param.name; });

TEST(LinkExchange, ANeighbourThatDoesNotComeIsAnErrorInTime) {
  MemoryWorkers workers;
  const double begin = monotonic_seconds();
  for (const std::uint32_t members : {2u, 3u}) {
    const auto opened = open_link_exchange(workers.worker(0), {workers.ids(members), 0, members, 0.2, 1});
    EXPECT_EQ(opened.exchange, nullptr);
    EXPECT_NE(opened.error, "");
  }
  EXPECT_LT(monotonic_seconds() - begin, 5);
}

}  // namespace
}  // namespace hopyard
