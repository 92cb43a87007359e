#include "hop_bench.h"

#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#define USE_C10D_GLOO
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>

#include <algorithm>
#include <cstring>
#include <thread>

#include "base/clock.h"
#include "base/failure.h"
#include "base/rng.h"
#include "formats/digest.h"
#include "transport/open.h"
#include "transport/sockets.h"

extern char** environ;

namespace hopyard {
namespace {

constexpr double kPatience = 20;
constexpr int kWorldSize = 3;
constexpr int kHopsPerRound = 9;  // a tenth of a second each, and four threads at a time on whatever cores there are

// Keyed, and no secret here: the benchmark times bytes, not tags.
std::string bench_hash(std::string_view key, std::string_view bytes) {
  const std::uint64_t tag = derive(derive(1, key), bytes);
  return std::string(reinterpret_cast<const char*>(&tag), sizeof tag);
}

TransportOptions options() {
  TransportOptions options;
  options.membership = {"bench", bench_hash, "bench", "bench"};
  return options;
}

LaunchSpec launch(std::uint32_t rank, std::uint16_t port) {
  return {.rank = rank, .world_size = kWorldSize, .master_address = "127.0.0.1", .master_port = port};
}

std::unique_ptr<WorkerEnd> join(std::uint32_t rank, std::uint16_t port) {
  auto joined = join_experiment(launch(rank, port), options(), kPatience);
  require(joined.worker != nullptr, joined.error);
  return std::move(joined.worker);
}

// Both at once; seconds until the later has ended.
template <class Here, class There>
double together(const Here& here, const There& there) {
  const double start_s = monotonic_seconds();
  std::thread other(there);
  here();
  other.join();
  return monotonic_seconds() - start_s;
}

// The pair of a hop: two workers of one coordinator, a link between them, state at the one and room for it at the
// other.
class HopPair {
 public:
  explicit HopPair(Bytes bytes) : state_(bytes), room_(bytes) {
    KeyedStream stream(1);
    for (Bytes i = 0; i + 8 <= bytes; i += 8) {
      const auto word = stream.next();
      std::memcpy(state_.data() + i, &word, sizeof word);
    }
    together([&] { here_ = open(*first_, second_->id()); }, [&] { there_ = open(*second_, first_->id()); });
    const auto store = c10::make_intrusive<c10d::HashStore>();
    together([&] { raw_[0] = group(store, 0); }, [&] { raw_[1] = group(store, 1); });
    const auto before = open_sockets();
    const auto another = c10::make_intrusive<c10d::HashStore>();
    together([&] { tuned_[0] = group(another, 0); }, [&] { tuned_[1] = group(another, 1); });
    tune_connections(before);
  }

  /// Through our link, with a digest of each chunk at both ends.
  double hop_s() {
    std::vector<Digest> sent, arrived;
    TransferResult sending, receiving;
    const double seconds = together(
        [&] {
          sending = here_->send({1, state_.size()}, {[&](Bytes offset, Bytes bytes) {
                                                       const auto chunk = std::span(state_).subspan(offset, bytes);
                                                       sent.push_back(digest_bytes(chunk));
                                                       return std::span<const std::byte>(chunk);
                                                     },
                                                     nullptr});
        },
        [&] {
          receiving = there_->receive(
              {1, room_.size()}, {[&](Bytes offset, Bytes bytes) { return std::span(room_).subspan(offset, bytes); },
                                  [&](Bytes, std::span<const std::byte> bytes) {
                                    arrived.push_back(digest_bytes(bytes));
                                    return true;
                                  }});
        });
    require(sending.ok() && receiving.ok() && sent == arrived, sending.error, receiving.error);
    return seconds;
  }

  double raw_s() { return through(raw_); }
  /// Over connections as the links' are.
  double tuned_raw_s() { return through(tuned_); }

 private:
  using Groups = c10::intrusive_ptr<c10d::ProcessGroupGloo>[2];

  double through(Groups& groups) {
    const auto tensor = [](std::vector<std::byte>& bytes) {
      return std::vector{at::from_blob(bytes.data(), {static_cast<std::int64_t>(bytes.size())}, at::kByte)};
    };
    auto from = tensor(state_), to = tensor(room_);
    return together([&] { groups[0]->send(from, 1, 1)->wait(); }, [&] { groups[1]->recv(to, 0, 1)->wait(); });
  }

  static std::unique_ptr<Link> open(WorkerEnd& worker, const WorkerId& peer) {
    auto opened = worker.open_link({peer, 1, kPatience, kPatience});
    require(opened.link != nullptr, opened.error);
    return std::move(opened.link);
  }
  static c10::intrusive_ptr<c10d::ProcessGroupGloo> group(const c10::intrusive_ptr<c10d::Store>& store, int rank) {
    auto options = c10d::ProcessGroupGloo::Options::create();
    options->devices.push_back(c10d::ProcessGroupGloo::createDeviceForHostname("127.0.0.1"));
    return c10::make_intrusive<c10d::ProcessGroupGloo>(store, rank, 2, options);
  }

  std::unique_ptr<CoordinatorEnd> coordinator_ = open_coordinator(launch(0, 0), options());
  std::unique_ptr<WorkerEnd> first_ = join(1, coordinator_->endpoint().port);
  std::unique_ptr<WorkerEnd> second_ = join(2, coordinator_->endpoint().port);
  std::vector<std::byte> state_, room_;
  std::unique_ptr<Link> here_, there_;
  Groups raw_, tuned_;
};

// Seconds from kill -9 of a worker until the coordinator knows.
double detection_s() {
  const auto coordinator = open_coordinator(launch(0, 0), options());
  const std::string flag = text::cat("--hop_worker=", coordinator->endpoint().port);
  char* argv[] = {const_cast<char*>("hopyard_bench"), const_cast<char*>(flag.c_str()), nullptr};
  pid_t child = 0;
  require(::posix_spawn(&child, "/proc/self/exe", nullptr, nullptr, argv, environ) == 0, "cannot start a worker");
  const auto wait_for = [&](CoordinatorEvent::Kind kind) {
    for (const double until_s = monotonic_seconds() + kPatience; monotonic_seconds() < until_s;) {
      const auto event = coordinator->next(kPatience);
      if (event && event->kind == kind) return;
    }
    require(false, "the worker did not join or was never missed");
  };
  wait_for(CoordinatorEvent::Kind::message);
  const double start_s = monotonic_seconds();
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  wait_for(CoordinatorEvent::Kind::dead);
  return monotonic_seconds() - start_s;
}

BenchRow row(std::string name, std::vector<double> values, std::string unit, std::optional<double> must,
             std::optional<double> aim, std::string what) {
  std::sort(values.begin(), values.end());
  return {std::move(name),
          values[values.size() / 2],
          std::move(unit),
          must,
          aim,
          true,
          text::cat("median of ", values.size(), ", ", text::format_number(values.front(), 2), " to ",
                    text::format_number(values.back(), 2), "; ", what)};
}

}  // namespace

std::vector<BenchRow> bench_hop(const BenchScale& scale) {
  const Bytes bytes = scale.quick ? 8 * MiB : 256 * MiB;
  std::vector<double> ratios, to_tuned, rates, detections;
  {
    HopPair pair(bytes);
    pair.raw_s();  // pages are touched and sockets have grown
    pair.tuned_raw_s();
    pair.hop_s();
    for (int i = 0; i < kHopsPerRound * scale.rounds(); ++i) {
      const double raw_s = pair.raw_s(), hop_s = pair.hop_s();
      ratios.push_back(hop_s / raw_s);
      to_tuned.push_back(hop_s / pair.tuned_raw_s());
      rates.push_back(static_cast<double>(bytes) / hop_s / static_cast<double>(GiB));
    }
  }
  for (int i = 0; i < scale.rounds(); ++i) detections.push_back(detection_s());
  std::sort(rates.begin(), rates.end());
  return {row(text::cat("hop of ", text::format_bytes(bytes), " over loopback ÷ raw Gloo send/recv of the same bytes"),
              ratios, "ratio", 1.25, 1.05,
              text::cat(text::format_number(rates[rates.size() / 2], 2),
                        " GiB/s with a digest of each chunk at both ends")),
          row("the same ÷ raw Gloo over connections tuned as the hop's (src/transport/sockets.h)", to_tuned, "ratio",
              {}, {}, "where the system paces connections (BBR), the row above has both effects"),
          row("detection of a killed worker", detections, "s", 2, 0.5, "kill -9 until the coordinator's event")};
}

int run_hop_worker(std::uint16_t port) {
  const auto worker = join(1, port);
  worker->send("here");
  while (!worker->standing().over()) worker->receive(kPatience);
  return 0;
}

}  // namespace hopyard
