#include "fakes/fake_nccl.h"

#include <cstring>
#include <deque>
#include <map>
#include <mutex>
#include <set>

#include "base/clock.h"
#include "base/failure.h"

namespace hopyard::fakes {

namespace {

constexpr int kAsksUntilSettled = 2;
constexpr double kBlockedSeconds = 1e-3;

thread_local bool in_group = false;

/// From one member to another.
struct Way {
  std::uint64_t wanted = 0, taken = 0;  ///< chunks that the receiver's card has come to, and has
  std::deque<std::vector<std::byte>> sent;
};

struct Round {
  std::vector<double> sums;
  std::set<int> added, taken;
};

/// What all members of a communicator see.
struct Meeting {
  int members = 0;
  std::set<int> here;
  std::map<std::pair<int, int>, Way> ways;
  std::map<std::uint64_t, Round> rounds;
};

template <class T>
void add(Round& round, const void* values, std::size_t count) {
  round.sums.resize(count);
  for (std::size_t i = 0; i < count; ++i) round.sums[i] += static_cast<const T*>(values)[i];
}
template <class T>
void take(const Round& round, void* values) {
  for (std::size_t i = 0; i < round.sums.size(); ++i) static_cast<T*>(values)[i] = static_cast<T>(round.sums[i]);
}

}  // namespace

struct NcclNetwork::Meetings {
  std::mutex mutex;  // guards all below
  std::uint64_t next_id = 1;
  std::map<std::string, std::shared_ptr<Meeting>> by_id;
};

NcclNetwork::NcclNetwork() : meetings_(std::make_shared<Meetings>()) {}
NcclNetwork::~NcclNetwork() = default;

struct FakeNccl::Core {
  struct Operation {
    StreamHandle stream;
    std::function<void()> kernel;
    std::function<bool()> ready;
  };
  struct Comm {
    std::shared_ptr<Meeting> meeting;
    int member = 0;
    std::shared_ptr<std::atomic<bool>> aborted = std::make_shared<std::atomic<bool>>(false);
    std::vector<Operation> asked;  ///< not on their streams yet
    int asks_left = kAsksUntilSettled;
    std::uint64_t rounds = 0;
  };

  /// With a lock; marks what NCCL forbids.
  Comm* find(CommHandle handle) {
    const auto found = comms.find(reinterpret_cast<std::uintptr_t>(handle));
    if (found != comms.end()) return &found->second;
    misuse = "a communicator was used that is none any more";
    return nullptr;
  }
  void ask(CommHandle handle, StreamHandle stream, std::function<void()> kernel, std::function<bool()> ready) {
    Comm* const comm = find(handle);
    if (comm == nullptr) throw NcclFailure("fake NCCL: no such communicator");
    if (!in_group) misuse = "an operation was asked for outside of together()";
    if (comm->asks_left < kAsksUntilSettled && !comm->asked.empty())
      misuse = "an operation was asked for while another was under way";
    const bool hangs = operations >= faults->hangs_after;
    ++operations;
    comm->asks_left = kAsksUntilSettled;
    comm->asked.push_back(
        {stream,
         [kernel = std::move(kernel), aborted = comm->aborted] {
           if (!*aborted) kernel();
         },
         [ready = std::move(ready), aborted = comm->aborted, hangs] { return *aborted || (!hangs && ready()); }});
  }

  std::shared_ptr<NcclNetwork::Meetings> network;
  std::shared_ptr<FakeCuda> cuda;
  NcclFaults* faults = nullptr;
  std::mutex mutex;  // guards all below
  std::map<std::uintptr_t, Comm> comms;
  std::uintptr_t next_comm = 1;
  std::uint64_t operations = 0;
  std::string misuse;
};

FakeNccl::FakeNccl(NcclNetwork& network, std::shared_ptr<FakeCuda> cuda) : core_(std::make_shared<Core>()) {
  core_->network = network.meetings_;
  core_->cuda = std::move(cuda);
  core_->faults = &faults;
}
FakeNccl::~FakeNccl() = default;

NcclId FakeNccl::make_id() {
  if (faults.no_ids) throw NcclFailure("fake NCCL: no socket to meet at");
  const std::lock_guard lock(core_->network->mutex);
  NcclId id;
  std::memcpy(id.bytes.data(), &core_->network->next_id, sizeof core_->network->next_id);
  ++core_->network->next_id;
  return id;
}

CommHandle FakeNccl::begin(const NcclId& id, int members, int member) {
  Core::Comm comm;
  comm.member = member;
  {
    const std::lock_guard lock(core_->network->mutex);
    auto& meeting = core_->network->by_id[{id.bytes.begin(), id.bytes.end()}];
    if (meeting == nullptr) meeting = std::make_shared<Meeting>(Meeting{.members = members});
    if (!faults.never_connects) meeting->here.insert(member);
    comm.meeting = meeting;
  }
  const std::lock_guard lock(core_->mutex);
  core_->comms.emplace(core_->next_comm, std::move(comm));
  return reinterpret_cast<CommHandle>(core_->next_comm++);
}

bool FakeNccl::settled(CommHandle handle) {
  std::vector<Core::Operation> begun;
  {
    const std::lock_guard lock(core_->mutex);
    Core::Comm* const comm = core_->find(handle);
    if (comm == nullptr) throw NcclFailure("fake NCCL: no such communicator");
    if (core_->operations > faults.fails_after) throw NcclFailure("fake NCCL: the network broke");
    {
      const std::lock_guard meeting(core_->network->mutex);
      if (comm->meeting->here.size() < static_cast<std::size_t>(comm->meeting->members)) return false;
    }
    if (!comm->asked.empty() && core_->operations > faults.never_begins_after) return false;
    if (comm->asks_left > 0) {
      --comm->asks_left;
      return false;
    }
    begun.swap(comm->asked);
  }
  for (auto& operation : begun)
    core_->cuda->launch(operation.stream, std::move(operation.kernel), std::move(operation.ready));
  return true;
}

void FakeNccl::together(const std::function<void()>& ask) {
  while (operations() >= faults.blocks_after) sleep_seconds(kBlockedSeconds);
  in_group = true;
  ask();
  in_group = false;
}

void FakeNccl::send(CommHandle handle, const void* values, Bytes bytes, int to, StreamHandle stream) {
  const std::lock_guard lock(core_->mutex);
  Core::Comm* const comm = core_->find(handle);
  if (comm == nullptr) throw NcclFailure("fake NCCL: no such communicator");
  const auto way = [meeting = comm->meeting, from = comm->member, to]() -> Way& { return meeting->ways[{from, to}]; };
  core_->ask(
      handle, stream,
      [network = core_->network, way, values, bytes] {
        const std::lock_guard meeting(network->mutex);
        const auto* const first = static_cast<const std::byte*>(values);
        way().sent.emplace_back(first, first + bytes);
      },
      [network = core_->network, way] {
        const std::lock_guard meeting(network->mutex);
        return way().wanted > way().taken + way().sent.size();
      });
}

void FakeNccl::receive(CommHandle handle, void* values, Bytes bytes, int from, StreamHandle stream) {
  const std::lock_guard lock(core_->mutex);
  Core::Comm* const comm = core_->find(handle);
  if (comm == nullptr) throw NcclFailure("fake NCCL: no such communicator");
  const auto way = [meeting = comm->meeting, from, to = comm->member]() -> Way& { return meeting->ways[{from, to}]; };
  core_->ask(
      handle, stream,
      [network = core_->network, way, values, bytes] {
        const std::lock_guard meeting(network->mutex);
        const auto sent = std::move(way().sent.front());
        way().sent.pop_front();
        ++way().taken;
        // NCCL would take what comes, to wherever it goes.
        std::memcpy(values, sent.data(), std::min<Bytes>(bytes, sent.size()));
      },
      [network = core_->network, way] {
        const std::lock_guard meeting(network->mutex);
        way().wanted = way().taken + 1;
        return !way().sent.empty();
      });
}

void FakeNccl::all_reduce(CommHandle handle, void* values, std::size_t count, NcclValues type, StreamHandle stream) {
  const std::lock_guard lock(core_->mutex);
  Core::Comm* const comm = core_->find(handle);
  if (comm == nullptr) throw NcclFailure("fake NCCL: no such communicator");
  const auto network = core_->network;
  const auto meeting = comm->meeting;
  const int member = comm->member;
  const std::uint64_t round = comm->rounds++;
  const bool floats = type == NcclValues::float32;
  core_->ask(
      handle, stream,
      [=] {
        const std::lock_guard met(network->mutex);
        Round& sums = meeting->rounds[round];
        floats ? take<float>(sums, values) : take<double>(sums, values);
        sums.taken.insert(member);
        if (sums.taken.size() == static_cast<std::size_t>(meeting->members)) meeting->rounds.erase(round);
      },
      [=] {
        const std::lock_guard met(network->mutex);
        Round& sums = meeting->rounds[round];
        if (sums.added.insert(member).second)
          floats ? add<float>(sums, values, count) : add<double>(sums, values, count);
        return sums.added.size() == static_cast<std::size_t>(meeting->members);
      });
}

void FakeNccl::abort(CommHandle handle) noexcept {
  const std::lock_guard lock(core_->mutex);
  Core::Comm* const comm = core_->find(handle);
  if (comm == nullptr) return;
  *comm->aborted = true;
  core_->comms.erase(reinterpret_cast<std::uintptr_t>(handle));
}

std::uint64_t FakeNccl::operations() const {
  const std::lock_guard lock(core_->mutex);
  return core_->operations;
}
std::uint64_t FakeNccl::open() const {
  const std::lock_guard lock(core_->mutex);
  return core_->comms.size();
}
std::string FakeNccl::misuse() const {
  const std::lock_guard lock(core_->mutex);
  return core_->misuse;
}

}  // namespace hopyard::fakes
