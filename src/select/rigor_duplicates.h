// Rows of a data set that are the same or nearly the same input. Pure; any thread.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace hopyard::rigor {

/// tokens[row × width + place]; a place counts where its mask is not 0, everywhere when there is no mask. As
/// Dataset::gather gives input_ids and attention_mask.
struct TokenRows {
  std::uint32_t width = 0;
  std::vector<std::int64_t> tokens;
  std::vector<std::int64_t> mask;  ///< empty, or as many as tokens
  std::uint32_t rows() const { return width == 0 ? 0 : static_cast<std::uint32_t>(tokens.size() / width); }
};

struct Clusters {
  std::vector<std::uint32_t> of_row;  ///< cluster of each row, numbered in the order of their first rows
  std::uint32_t count = 0;
  std::uint32_t rows_cut_short = 0;  ///< rows with more look-alikes than were compared; 0 in any but hostile data
  bool operator==(const Clusters&) const = default;
};

/// Rows whose tokens that count are equal, in order and number: found by a 64-bit hash and then compared, so that no
/// two different rows share a cluster. Linear in time and memory.
Clusters exact_duplicates(const TokenRows& rows);

struct NearDuplicateOptions {
  double jaccard = 0.8;               ///< at least this much alike, kJaccardMin … 1
  std::vector<std::int64_t> ignored;  ///< tokens that every row has, such as [CLS] and [SEP]
  std::uint64_t seed = 0;             ///< of the hash functions
};
inline constexpr double kJaccardMin = 0.7;

/// Rows whose sets of tokens have a Jaccard similarity |A ∩ B| / |A ∪ B| of at least options.jaccard (Broder, "On the
/// resemblance and containment of documents", SEQUENCES 1997, with single tokens as shingles). Candidates share one of
/// kMinHashBands bands of kMinHashRows MinHash values (Indyk and Motwani, STOC 1998, section 4; Leskovec et al., Mining
/// of Massive Datasets, section 3.4): two rows that are s alike meet with probability 1 − (1 − s^6)^20, which is 0.918
/// at 0.7, 0.998 at 0.8 and above 0.9999 at 0.87; each candidate is then verified on the sets themselves. A row joins
/// the cluster whose first row is most like it, or starts one: no chains, all of a cluster are like its first row. Per
/// row at most kCandidatesMax comparisons and 20 bucket entries of about 40 bytes: 50,000 rows of 32 tokens take about
/// a second and 60 MB.
Clusters near_duplicates(const TokenRows& rows, const NearDuplicateOptions& options);
inline constexpr std::uint32_t kMinHashBands = 20, kMinHashRows = 6, kCandidatesMax = 256;

/// Of two ascending lists without repetition; 1 for two empty ones.
double jaccard(std::span<const std::int64_t> first, std::span<const std::int64_t> second);

}  // namespace hopyard::rigor
