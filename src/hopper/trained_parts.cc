#include "hopper/trained_parts.h"

#include <algorithm>

namespace hopyard {

namespace {

// Both together are less than kMaxMessageBytes as text: a point takes up to 70 characters, a byte of a list of numbers
// two.
constexpr std::size_t kCurvePointsMax = 100'000;
constexpr Bytes kRowsBytesMax = 4 * MiB;
// Of a message without a curve.
constexpr Bytes kJudgedBytesMax = 6 * MiB;

template <class T>
std::vector<T> slice(const std::vector<T>& values, std::size_t begin, std::size_t end) {
  begin = std::min(begin, values.size());
  end = std::min(end, values.size());
  return {values.begin() + static_cast<std::ptrdiff_t>(begin), values.begin() + static_cast<std::ptrdiff_t>(end)};
}

RowOutcomes slice(const RowOutcomes& rows, std::size_t begin, std::size_t end) {
  return {slice(rows.losses, begin, end),
          slice(rows.correct, begin, end),
          slice(rows.predicted, begin, end),
          rows.width,
          slice(rows.values, begin * rows.width, end * rows.width),
          slice(rows.labels, begin, end),
          slice(rows.targets, begin, end)};
}

Bytes bytes_of(const RowOutcomes& rows) {
  return sizeof(float) * (rows.losses.size() + rows.correct.size() + rows.values.size() + rows.targets.size()) +
         sizeof(std::int64_t) * (rows.predicted.size() + rows.labels.size());
}

std::size_t rows_in_a_part(const RowOutcomes& rows) {
  return std::max<std::size_t>(1, kRowsBytesMax * rows.losses.size() / std::max<Bytes>(1, bytes_of(rows)));
}

std::size_t parts_of(std::size_t whole, std::size_t part) { return (whole + part - 1) / part; }

void add(std::vector<CurvePoint>& curve, const std::vector<CurvePoint>& more) {
  if (!curve.empty() && !more.empty() && more.front().step <= curve.back().step)
    fail(ExitCode::input, "step ", more.front().step, " of the curve comes after step ", curve.back().step);
  curve.insert(curve.end(), more.begin(), more.end());
}

void add(RowOutcomes& rows, const RowOutcomes& more) {
  if (!more.losses.empty()) rows.add(more);
}

}  // namespace

std::vector<TrainedPart> split(Trained& trained) {
  const RowOutcomes rows = trained.rows.value_or(RowOutcomes());
  const std::vector<CurvePoint> curve = trained.curve;
  const std::size_t row_step = rows_in_a_part(rows);
  const std::size_t count = std::max(parts_of(curve.size(), kCurvePointsMax), parts_of(rows.losses.size(), row_step));
  std::vector<TrainedPart> parts;
  for (std::size_t i = 0; i + 1 < count; ++i)
    parts.push_back({trained.number, trained.commit.trial, slice(curve, i * kCurvePointsMax, (i + 1) * kCurvePointsMax),
                     slice(rows, i * row_step, (i + 1) * row_step)});
  if (parts.empty()) return parts;
  trained.curve = slice(curve, parts.size() * kCurvePointsMax, curve.size());
  if (trained.rows) trained.rows = slice(rows, parts.size() * row_step, rows.losses.size());
  return parts;
}

Trained join(const std::vector<TrainedPart>& parts, Trained last) {
  if (parts.empty()) return last;
  std::vector<CurvePoint> curve;
  RowOutcomes rows;
  for (const TrainedPart& part : parts) {
    add(curve, part.curve);
    add(rows, part.rows);
  }
  add(curve, last.curve);
  last.curve = std::move(curve);
  if (!last.rows) return last;
  add(rows, *last.rows);
  last.rows = std::move(rows);
  return last;
}

RowOutcomes shortened(RowOutcomes rows, std::size_t partitions) {
  const Bytes most = kJudgedBytesMax / partitions;
  if (bytes_of(rows) > most) rows.values = {}, rows.width = 0;
  if (bytes_of(rows) > most) return {};
  return rows;
}

}  // namespace hopyard
