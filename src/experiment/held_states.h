// The states that a worker holds: its book, and the versions that the book names.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "experiment/shared_versions.h"
#include "hopper/state_book.h"

namespace hopyard {

/// Keeps book and disk tier together: a version goes when the last state that names it has gone, and only once the book
/// has forgotten that one. Each state counts as one holder of each of its versions. Book and tier outlive it; the
/// book's states are counted already (forget_unnamed). Thread-safe.
class HeldStates {
 public:
  HeldStates(StateBook& book, SharedVersions& disk);

  std::vector<HeldState> all() const;  ///< by trial, then visits
  std::vector<HeldState> of(const std::string& trial) const;
  std::optional<HeldState> find(const std::string& trial, std::uint32_t visits) const;

  /// A state whose versions nobody else holds, in place of what there was after so many visits.
  void put(HeldState state);
  /// The same from a peer; when just this state is here already, that one stays.
  void put_received(HeldState state);
  /// The clone holds what its parent holds. False when that is nothing.
  bool share(const std::string& parent, const std::string& clone, std::uint32_t visits);
  void remove(const std::string& trial, std::uint32_t visits);

  /// The state's versions stay until they are given back, whatever becomes of it in the book.
  std::optional<HeldState> lend(const std::string& trial, std::uint32_t visits);
  /// A BlobCache that was restored from `lent` has committed `state` and is about to drop what that supersedes: it
  /// stays. `state` holds its versions from here on; put() it, or give it back.
  void committed(const HeldState& lent, const HeldState& state);
  void give_back(const HeldState& state);

 private:
  using Key = std::pair<std::string, std::uint32_t>;
  void replace(HeldState state);  // with the mutex held

  StateBook& book_;
  SharedVersions& disk_;
  mutable std::mutex mutex_;  // guards the book and states_, which are alike
  std::map<Key, HeldState> states_;
};

/// The same blobs, each of as many bytes, wherever they are.
bool same_bytes(const std::vector<HeldBlob>& one, const std::vector<HeldBlob>& other);
/// The versions of a state's blobs, as the trainer wants them.
std::vector<BlobVersion> versions_of(const HeldState& state);

/// Drops what a crash left in the disk tier: all that the book does not name; and counts the states that name a
/// version. Call once for a SharedVersions, before anything is written to it.
void forget_unnamed(const StateBook& book, SharedVersions& disk);

}  // namespace hopyard
