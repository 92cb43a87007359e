#include "select/rigor_duplicates.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <unordered_map>

#include "base/failure.h"
#include "base/rng.h"

namespace hopyard::rigor {
namespace {

constexpr std::uint32_t kNone = std::numeric_limits<std::uint32_t>::max();

void check(const TokenRows& rows) {
  require(rows.tokens.size() == std::size_t{rows.rows()} * rows.width, rows.tokens.size(), " tokens in rows of ",
          rows.width);
  require(rows.mask.empty() || rows.mask.size() == rows.tokens.size(), rows.mask.size(), " masks of ",
          rows.tokens.size(), " tokens");
}

/// The tokens of a row that count, in order.
void read_row(const TokenRows& rows, std::uint32_t row, std::vector<std::int64_t>& out) {
  out.clear();
  const std::size_t begin = std::size_t{row} * rows.width;
  for (std::size_t i = begin; i < begin + rows.width; ++i)
    if (rows.mask.empty() || rows.mask[i] != 0) out.push_back(rows.tokens[i]);
}

std::uint64_t hash_of(std::span<const std::int64_t> tokens) {
  std::uint64_t hash = tokens.size();
  for (const std::int64_t token : tokens) hash = derive(hash, static_cast<std::uint64_t>(token));
  return hash;
}

/// Lists of cluster first rows by hash: a map to the newest entry, and from each entry to the one before it.
class Buckets {
 public:
  void add(std::uint64_t hash, std::uint32_t row) {
    const auto [place, inserted] = newest_.try_emplace(hash, kNone);
    entries_.push_back({row, place->second});
    place->second = static_cast<std::uint32_t>(entries_.size() - 1);
  }
  /// Calls visit(row), newest first, until it returns false.
  template <class Visit>
  void each(std::uint64_t hash, const Visit& visit) const {
    const auto place = newest_.find(hash);
    if (place == newest_.end()) return;
    for (std::uint32_t entry = place->second; entry != kNone; entry = entries_[entry].before)
      if (!visit(entries_[entry].row)) return;
  }

 private:
  struct Entry {
    std::uint32_t row, before;
  };
  std::unordered_map<std::uint64_t, std::uint32_t> newest_;
  std::vector<Entry> entries_;
};

/// The sets of tokens of all rows, ascending, one after another.
class TokenSets {
 public:
  TokenSets(const TokenRows& rows, std::vector<std::int64_t> ignored) {
    std::sort(ignored.begin(), ignored.end());
    std::vector<std::int64_t> row_tokens;
    for (std::uint32_t row = 0; row < rows.rows(); ++row) {
      read_row(rows, row, row_tokens);
      std::sort(row_tokens.begin(), row_tokens.end());
      row_tokens.erase(std::unique(row_tokens.begin(), row_tokens.end()), row_tokens.end());
      std::set_difference(row_tokens.begin(), row_tokens.end(), ignored.begin(), ignored.end(),
                          std::back_inserter(tokens_));
      begin_.push_back(tokens_.size());
    }
  }
  std::span<const std::int64_t> of(std::uint32_t row) const {
    return std::span(tokens_).subspan(begin_[row], begin_[row + 1] - begin_[row]);
  }

 private:
  std::vector<std::int64_t> tokens_;
  std::vector<std::size_t> begin_{0};
};

using BandHashes = std::array<std::uint64_t, kMinHashBands>;

/// One hash for each band, of its MinHash values: the least of the tokens' keyed hashes.
BandHashes band_hashes(std::span<const std::int64_t> tokens, std::uint64_t seed) {
  std::array<std::uint64_t, kMinHashBands * kMinHashRows> least;
  least.fill(std::numeric_limits<std::uint64_t>::max());
  for (const std::int64_t token : tokens) {
    const std::uint64_t key = derive(seed, static_cast<std::uint64_t>(token));
    for (std::size_t i = 0; i < least.size(); ++i) least[i] = std::min(least[i], mix64(key + i));
  }
  BandHashes bands;
  for (std::size_t band = 0; band < bands.size(); ++band) {
    bands[band] = band;
    for (std::size_t i = 0; i < kMinHashRows; ++i) bands[band] = derive(bands[band], least[band * kMinHashRows + i]);
  }
  return bands;
}

/// Puts rows one after another into clusters, each with the first row that is most like it.
class NearClusters {
 public:
  NearClusters(const TokenSets& sets, const NearDuplicateOptions& options, std::uint32_t rows)
      : sets_(sets), options_(options), compared_with_(rows, kNone) {}

  void add(std::uint32_t row) {
    const auto bands = band_hashes(sets_.of(row), options_.seed);
    if (const auto first = most_alike(row, bands)) {
      clusters_.of_row.push_back(clusters_.of_row[*first]);
      return;
    }
    clusters_.of_row.push_back(clusters_.count++);
    for (const std::uint64_t hash : bands) buckets_.add(hash, row);
  }
  Clusters take() { return std::move(clusters_); }

 private:
  std::optional<std::uint32_t> most_alike(std::uint32_t row, const BandHashes& bands) {
    std::optional<std::uint32_t> found;
    double best = options_.jaccard;
    std::uint32_t compared = 0;
    for (const std::uint64_t hash : bands) {
      buckets_.each(hash, [&](std::uint32_t first) {
        if (compared_with_[first] == row) return true;
        if (compared == kCandidatesMax) return false;
        compared_with_[first] = row;
        ++compared;
        const double alike = jaccard(sets_.of(row), sets_.of(first));
        if (alike > best || (alike == best && (!found || first < *found))) {
          best = alike;
          found = first;
        }
        return best < 1;
      });
      if (found && best == 1) break;
    }
    clusters_.rows_cut_short += compared == kCandidatesMax;
    return found;
  }

  const TokenSets& sets_;
  const NearDuplicateOptions& options_;
  Buckets buckets_;
  std::vector<std::uint32_t> compared_with_;  // by first row: the row last compared with it
  Clusters clusters_;
};

}  // namespace

Clusters exact_duplicates(const TokenRows& rows) {
  check(rows);
  Clusters clusters;
  Buckets buckets;
  std::vector<std::int64_t> tokens, others;
  for (std::uint32_t row = 0; row < rows.rows(); ++row) {
    read_row(rows, row, tokens);
    const std::uint64_t hash = hash_of(tokens);
    std::uint32_t cluster = kNone;
    buckets.each(hash, [&](std::uint32_t first) {
      read_row(rows, first, others);
      if (others == tokens) cluster = clusters.of_row[first];
      return cluster == kNone;
    });
    if (cluster == kNone) {
      cluster = clusters.count++;
      buckets.add(hash, row);
    }
    clusters.of_row.push_back(cluster);
  }
  return clusters;
}

Clusters near_duplicates(const TokenRows& rows, const NearDuplicateOptions& options) {
  check(rows);
  require(options.jaccard >= kJaccardMin && options.jaccard <= 1, "near duplicates are at least ", kJaccardMin,
          " and at most 1 alike, not ", options.jaccard);
  const TokenSets sets(rows, options.ignored);
  NearClusters clusters(sets, options, rows.rows());
  for (std::uint32_t row = 0; row < rows.rows(); ++row) clusters.add(row);
  return clusters.take();
}

double jaccard(std::span<const std::int64_t> first, std::span<const std::int64_t> second) {
  std::size_t common = 0;
  for (std::size_t i = 0, j = 0; i < first.size() && j < second.size();) {
    common += first[i] == second[j];
    const bool step_first = first[i] <= second[j], step_second = second[j] <= first[i];
    i += step_first;
    j += step_second;
  }
  const std::size_t all = first.size() + second.size() - common;
  return all == 0 ? 1 : static_cast<double>(common) / static_cast<double>(all);
}

}  // namespace hopyard::rigor
