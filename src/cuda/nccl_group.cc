#include "cuda/nccl_group.h"

#include <algorithm>
#include <cstring>
#include <optional>

#include "base/failure.h"
#include "cuda/first_kept.h"
#include "cuda/nccl_link.h"

namespace hopyard {

namespace {

/// What the thread that asks NCCL shares with the group, and may outlive it with.
struct Core {
  const std::unique_ptr<Group> inner;
  NcclLane lane;
  const double stall_s;
  FirstKept<std::string> broken;  // why; empty while all is well

  /// Breaks the group, if it is whole; the words that it broke with.
  std::string break_off(const std::string& reason) {
    std::string first = broken.keep(reason);
    inner->cancel(first);
    lane.communicator->abort();
    return first;
  }
};

void ask_to_add_up(Core& core, NcclValues type, std::size_t chunk, Bytes bytes) {
  NcclStaging& staging = *core.lane.staging;
  const std::size_t count = bytes / (type == NcclValues::float32 ? sizeof(float) : sizeof(double));
  staging.to_card(chunk, bytes);
  core.lane.communicator->ask(
      [&](NcclCalls& nccl, CommHandle comm) {
        nccl.all_reduce(comm, staging.card(chunk), count, type, staging.nccl_stream());
      },
      core.stall_s);
  staging.to_host(chunk, bytes, false);
}

class NcclGroup final : public Group {
 public:
  explicit NcclGroup(std::shared_ptr<Core> core) : core_(std::move(core)) {}
  ~NcclGroup() override { cancel("the group was closed"); }

  TransferResult all_reduce(std::span<float> values) override { return add_up(values, NcclValues::float32); }
  TransferResult all_reduce(std::span<double> values) override { return add_up(values, NcclValues::float64); }
  void cancel(const std::string& reason) override { core_->break_off(reason); }
  bool broken() const override { return !core_->broken.get().empty() || core_->inner->broken(); }

 private:
  template <class T>
  TransferResult add_up(std::span<T> values, NcclValues type) {
    std::string reason = core_->broken.get();
    if (reason.empty() && values.size_bytes() < kNcclBytesLeast) return core_->inner->all_reduce(values);
    std::optional<NcclPassage> passage;  // goes last, when its thread has nothing to wait for any more
    try {
      if (reason.empty()) {
        chunks_through(std::as_writable_bytes(values), type, passage);
        meet_again();
        return {};
      }
    } catch (const std::exception& problem) {
      reason = core_->break_off(problem.what());
    }
    return {text::cat("the members' values could not be added up: ", reason)};
  }

  /// Where one member has its sums, NCCL may still be on the way with those of others: nobody leaves before all have
  /// them.
  void meet_again() {
    double nothing = 0;
    const auto met = core_->inner->all_reduce(std::span(&nothing, 1));
    if (!met.ok()) throw std::runtime_error(met.error);
  }

  void chunks_through(std::span<std::byte> values, NcclValues type, std::optional<NcclPassage>& made) {
    const auto bytes_of = [bytes = values.size()](std::size_t chunk) {
      return std::min<Bytes>(kChunkBytes, bytes - chunk * kChunkBytes);
    };
    NcclPassage& passage = made.emplace(
        core_->lane, core_->stall_s, [core = core_] { return core->broken.get(); },
        [core = core_, type, bytes_of](NcclPassage::Asker& asker) {
          constexpr double kAsLongAsItTakes = 1e6;  // until the caller has one more, or is through
          for (std::size_t chunk = 0; asker.next(kAsLongAsItTakes) == NcclPassage::Asker::Next::chunk; ++chunk) {
            ask_to_add_up(*core, type, chunk, bytes_of(chunk));
            asker.asked();
          }
        });
    const NcclStaging& staging = *core_->lane.staging;
    const std::size_t chunks = (values.size() + kChunkBytes - 1) / kChunkBytes;
    for (std::size_t next = 0, done = 0; done < chunks;) {
      if (next < chunks && next - done < kChunksInFlight) {
        std::memcpy(staging.host(next), values.data() + next * kChunkBytes, bytes_of(next));
        ++next;
        passage.hand_over();
        continue;
      }
      passage.await(done);
      std::memcpy(values.data() + done * kChunkBytes, staging.host(done), bytes_of(done));
      ++done;
    }
    passage.finish();
  }

  const std::shared_ptr<Core> core_;
};

}  // namespace

std::unique_ptr<Group> make_nccl_group(std::unique_ptr<Group> inner, NcclLane lane, double stall_s) {
  const std::shared_ptr<Core> core(new Core{std::move(inner), std::move(lane), stall_s, {}});
  return std::make_unique<NcclGroup>(core);
}

}  // namespace hopyard
