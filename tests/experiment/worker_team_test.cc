// A worker that is one of a visit's team.
#include "experiment/worker_fixture.h"
#include "hopper/link_exchange.h"

namespace hopyard {
namespace {

/// The other member comes, and stays away from the first step's sums: the visit waits for it when the worker ends.
TEST_F(WorkerTest, LeavesWithTheLinksOfAVisitUnderWay) {
  trial_.train.data_parallel.degree = 2;
  trial_.train.micro_batch_size = 2;
  for (const bool interrupted : {false, true}) {
    WorkerNode node(1);
    const auto life = greet(node);
    const auto other = network_.join(0);
    const ExchangeOrder order{{other->id(), life->id}, 0, ++orders_};
    Train train = next_visit(courses_[0]);
    train.team = Team{order.number, order.members, 1};
    coordinator_.send(life->id, train);
    const auto opened = open_link_exchange(*other, order);
    ASSERT_TRUE(opened.exchange) << opened.error;
    std::vector<double> losses(2 * 2);
    opened.exchange->gather(losses, {0, 2});
    if (interrupted)
      life->interrupted = true;
    else
      coordinator_.send(life->id, Finish{true});
    EXPECT_EQ(life->ending(), WorkerEnding::interrupted) << life->thrown;
    EXPECT_EQ(network_.links_beyond_their_end(), 0u);
  }
}

}  // namespace
}  // namespace hopyard
