#include "experiment/held_states.h"

#include <algorithm>
#include <set>

namespace hopyard {

namespace {

std::set<Version> distinct_versions(const HeldState& state) {
  std::set<Version> versions;
  for (const auto& blob : state.blobs) versions.insert(blob.version);
  return versions;
}

bool names(const HeldState& state, std::uint32_t blob) {
  return std::any_of(state.blobs.begin(), state.blobs.end(), [&](const auto& one) { return one.blob == blob; });
}

}  // namespace

bool same_bytes(const std::vector<HeldBlob>& one, const std::vector<HeldBlob>& other) {
  return std::equal(one.begin(), one.end(), other.begin(), other.end(),
                    [](const auto& a, const auto& b) { return a.blob == b.blob && a.bytes == b.bytes; });
}

std::vector<BlobVersion> versions_of(const HeldState& state) {
  std::vector<BlobVersion> versions;
  for (const auto& blob : state.blobs) versions.push_back({blob.blob, blob.version});
  return versions;
}

void forget_unnamed(const StateBook& book, SharedVersions& disk) {
  std::set<Version> named;
  std::vector<BlobVersion> again;
  const auto states = book.all();
  for (const auto& state : states) {
    for (const Version version : distinct_versions(state))
      if (!named.insert(version).second) again.push_back({0, version});
  }
  disk.keep_only(named);
  for (const auto& one : again) disk.share(std::span(&one, 1));
}

HeldStates::HeldStates(StateBook& book, SharedVersions& disk) : book_(book), disk_(disk) {
  for (auto& state : book_.all()) {
    Key key{state.trial, state.visits};
    states_.emplace(std::move(key), std::move(state));
  }
}

std::vector<HeldState> HeldStates::all() const {
  const std::lock_guard lock(mutex_);
  std::vector<HeldState> all;
  for (const auto& [key, state] : states_) all.push_back(state);
  return all;
}

std::vector<HeldState> HeldStates::of(const std::string& trial) const {
  const std::lock_guard lock(mutex_);
  std::vector<HeldState> states;
  for (auto at = states_.lower_bound({trial, 0}); at != states_.end() && at->first.first == trial; ++at)
    states.push_back(at->second);
  return states;
}

std::optional<HeldState> HeldStates::find(const std::string& trial, std::uint32_t visits) const {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find({trial, visits});
  return found == states_.end() ? std::nullopt : std::optional(found->second);
}

void HeldStates::put(HeldState state) {
  const std::lock_guard lock(mutex_);
  replace(std::move(state));
}

void HeldStates::put_received(HeldState state) {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find({state.trial, state.visits});
  if (found != states_.end() && found->second.digest == state.digest && same_bytes(found->second.blobs, state.blobs))
    return give_back(state);
  replace(std::move(state));
}

bool HeldStates::share(const std::string& parent, const std::string& clone, std::uint32_t visits) {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find({parent, visits});
  if (found == states_.end()) return false;
  HeldState state = found->second;
  state.trial = clone;
  disk_.share(versions_of(state));
  replace(std::move(state));
  return true;
}

void HeldStates::replace(HeldState state) {
  book_.put(state);
  const Key key{state.trial, state.visits};
  const auto found = states_.find(key);
  if (found == states_.end()) {
    states_.emplace(key, std::move(state));
    return;
  }
  const HeldState before = std::exchange(found->second, std::move(state));
  for (const Version version : distinct_versions(before)) disk_.drop(version);
}

void HeldStates::remove(const std::string& trial, std::uint32_t visits) {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find({trial, visits});
  if (found == states_.end()) return;
  book_.remove(trial, visits);
  const HeldState state = std::move(found->second);
  states_.erase(found);
  for (const Version version : distinct_versions(state)) disk_.drop(version);
}

std::optional<HeldState> HeldStates::lend(const std::string& trial, std::uint32_t visits) {
  const std::lock_guard lock(mutex_);
  const auto found = states_.find({trial, visits});
  if (found == states_.end()) return std::nullopt;
  disk_.share(versions_of(found->second));
  return found->second;
}

void HeldStates::committed(const HeldState& lent, const HeldState& state) {
  std::vector<BlobVersion> taken_over;  // of what it does not use, the cache never heard
  for (const auto& blob : lent.blobs)
    if (names(state, blob.blob)) taken_over.push_back({blob.blob, blob.version});
  disk_.share(taken_over);
}

void HeldStates::give_back(const HeldState& state) {
  for (const Version version : distinct_versions(state)) disk_.drop(version);
}

}  // namespace hopyard
