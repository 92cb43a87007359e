// transport_child PORT RANK: joins, does what the coordinator's messages say, and ends with the code of how it stood.
//   echo TEXT                     answers TEXT
//   send RANK INCARNATION BYTES   opens link 1 to that worker and sends it so many bytes, slowly
//   receive RANK INCARNATION BYTES   takes them
// Ends with 10 when it was turned away, 11 when its coordinator was lost, 12 when it was expelled, 13 when a transfer
// failed.
#include <cstdlib>
#include <iostream>
#include <sstream>

#include "base/clock.h"
#include "transport/test_membership.h"

namespace hopyard {
namespace {

int transfer_slowly(WorkerEnd& worker, bool sends, std::istringstream& words) {
  WorkerId peer;
  Bytes bytes = 0;
  words >> peer.rank >> peer.incarnation >> bytes;
  const auto opened = worker.open_link({peer, 1, 10, 2});
  if (!opened.link) return 13;
  std::vector<std::byte> chunks(bytes);
  if (!sends) {
    const auto result = opened.link->receive(
        {1, bytes}, {[&](Bytes offset, Bytes size) { return std::span(chunks).subspan(offset, size); },
                     [](Bytes, std::span<const std::byte>) {
                       sleep_seconds(0.02);
                       return true;
                     }});
    return result.ok() ? 0 : 13;
  }
  const auto result = opened.link->send({1, bytes}, {[&](Bytes offset, Bytes size) {
                                                       sleep_seconds(0.02);
                                                       return std::span(chunks).subspan(offset, size);
                                                     },
                                                     nullptr});
  return result.ok() ? 0 : 13;
}

int run(std::uint16_t port, std::uint32_t rank) {
  auto joined = join_experiment(test_launch(rank, port), test_options(), 20);
  if (!joined.worker) return 10;
  while (!joined.worker->standing().over()) {
    const auto message = joined.worker->receive(1);
    if (!message) continue;
    std::istringstream words(*message);
    std::string verb;
    words >> verb;
    if (verb == "echo") joined.worker->send(message->substr(5));
    if (verb == "send" || verb == "receive") {
      const int code = transfer_slowly(*joined.worker, verb == "send", words);
      if (code != 0) return code;
    }
  }
  return joined.worker->standing().kind == WorkerStanding::Kind::lost ? 11 : 12;
}

}  // namespace
}  // namespace hopyard

int main(int argc, char** argv) {
  if (argc != 3) return 2;
  return hopyard::run(static_cast<std::uint16_t>(std::atoi(argv[1])), static_cast<std::uint32_t>(std::atoi(argv[2])));
}
