#include "experiment/feature_shelf.h"

#include <algorithm>

#include "base/failure.h"

namespace hopyard {

namespace {

constexpr Bytes kPieceBytes = 8 * MiB;  // so that what a task waits for is not behind a whole segment
constexpr std::uint32_t kBlob = 0;

}  // namespace

FeatureShelf::FeatureShelf(std::shared_ptr<Features> features, FeatureTier tier, std::uint32_t end_layer,
                           FeatureShelfParts parts)
    : features_(std::move(features)),
      tier_(tier),
      end_layer_(end_layer),
      parts_(std::move(parts)),
      segments_(features_->segments().size()),
      slots_(features_->slots()) {
  for (std::uint32_t segment = 0; segment < segments_.size(); ++segment)
    if (features_->is_in(segment)) slots_.at(segment) = segment;
}

FeatureShelf::~FeatureShelf() {
  {
    std::unique_lock lock(mutex_);
    ended_.wait(lock, [this] { return running_ == 0; });
  }
  for (const Done& done : done_)
    if (done.written) segments_[done.segment].version = done.written;
  for (const Segment& segment : segments_)
    if (segment.version) parts_.disk.drop(*segment.version);
}

bool FeatureShelf::may_leave(std::uint32_t segment, const std::set<std::uint32_t>& needed) const {
  const Segment& one = segments_[segment];
  return one.state == State::here && !one.writing && one.held.use_count() == 1 && !needed.contains(segment);
}

bool FeatureShelf::make_place(std::uint32_t segment, const std::set<std::uint32_t>& needed) {
  const auto has = [&](const auto& slot) { return slot == segment; };
  if (std::any_of(slots_.begin(), slots_.end(), has)) return true;
  auto slot = std::find(slots_.begin(), slots_.end(), std::nullopt);
  if (slot == slots_.end())
    slot = std::find_if(slots_.begin(), slots_.end(), [&](const auto& one) { return may_leave(*one, needed); });
  if (slot == slots_.end()) return false;
  if (*slot) {
    Segment& leaving = segments_[**slot];
    features_->take_out(**slot);
    leaving.state = leaving.version ? State::on_disk : State::absent;
    leaving.held.reset();
  }
  *slot = segment;
  features_->put_in(segment, static_cast<std::uint32_t>(slot - slots_.begin()));
  return true;
}

void FeatureShelf::begin_computing(std::uint32_t segment) {
  require(state(segment) == State::absent, "features are computed that are there");
  segments_[segment].state = State::computing;
}

void FeatureShelf::computed(std::uint32_t segment) {
  segments_[segment].state = State::here;
  segments_[segment].held = std::make_shared<const int>();
  if (tier_ == FeatureTier::disk) write(segment);
}

void FeatureShelf::submit(std::uint32_t segment, std::function<std::optional<Version>()> work) {
  ++in_flight_;
  {
    const std::lock_guard lock(mutex_);
    ++running_;
  }
  parts_.pool.submit([this, segment, work = std::move(work)] {
    Done done{segment, {}, nullptr};
    try {
      done.written = work();
    } catch (...) {
      done.error = std::current_exception();
    }
    {
      const std::lock_guard lock(mutex_);
      done_.push_back(std::move(done));
    }
    parts_.wake();
    const std::lock_guard lock(mutex_);
    --running_;
    ended_.notify_all();
  });
}

void FeatureShelf::write(std::uint32_t segment) {
  segments_[segment].writing = true;
  submit(segment, [this, bytes = features_->bytes_of(segment)]() -> std::optional<Version> {
    const BlobToWrite blob{kBlob, bytes};
    try {
      return parts_.disk.write(std::span(&blob, 1), Durability::spilled);
    } catch (const DiskFull&) {
      return std::nullopt;
    }
  });
}

void FeatureShelf::read(std::uint32_t segment) {
  Segment& one = segments_.at(segment);
  require(one.state == State::on_disk && features_->is_in(segment), "features are read that are not on disk");
  one.state = State::reading;
  const auto bytes = features_->bytes_of(segment);
  for (Bytes begin = 0; begin < bytes.size(); begin += kPieceBytes) {
    ++one.pieces_left;
    const auto piece = bytes.subspan(begin, std::min<Bytes>(kPieceBytes, bytes.size() - begin));
    submit(segment, [this, version = *one.version, begin, piece]() -> std::optional<Version> {
      parts_.disk.read(version, kBlob, begin, piece);
      return std::nullopt;
    });
  }
}

void FeatureShelf::poll() {
  std::vector<Done> done;
  {
    const std::lock_guard lock(mutex_);
    done.swap(done_);
  }
  for (const Done& one : done) {
    --in_flight_;
    if (one.error) std::rethrow_exception(one.error);
    Segment& segment = segments_[one.segment];
    if (segment.writing) {
      segment.writing = false;
      segment.version = one.written;
    } else if (--segment.pieces_left == 0) {
      features_->note_back(one.segment, end_layer_);
      segment.state = State::here;
      segment.held = std::make_shared<const int>();
    }
  }
}

}  // namespace hopyard
