#include "cuda/activity.h"

#include <algorithm>
#include <functional>
#include <map>

#include "base/text.h"

namespace hopyard {

namespace {

Intervals pieces_of(std::span<const ActivityRecord> records, double begin_s, double end_s,
                    const std::function<bool(const ActivityRecord&)>& wanted) {
  Intervals pieces;
  for (const auto& record : records)
    if (wanted(record)) pieces.emplace_back(std::max(record.begin_s, begin_s), std::min(record.end_s, end_s));
  return united(std::move(pieces));
}

bool is_copy(ActivityKind kind) { return kind == ActivityKind::to_card || kind == ActivityKind::to_host; }

const char* word_for(ActivityKind kind) {
  switch (kind) {
    case ActivityKind::kernel:
      return "kernels";
    case ActivityKind::to_card:
      return "to card";
    case ActivityKind::to_host:
      return "to host";
    case ActivityKind::on_card:
      return "on card";
  }
  return "";
}

}  // namespace

Intervals united(Intervals pieces) {
  std::erase_if(pieces, [](const auto& piece) { return !(piece.first < piece.second); });
  std::sort(pieces.begin(), pieces.end());
  Intervals whole;
  for (const auto& [begin, end] : pieces) {
    if (whole.empty() || begin > whole.back().second)
      whole.emplace_back(begin, end);
    else
      whole.back().second = std::max(whole.back().second, end);
  }
  return whole;
}

Intervals common(const Intervals& a, const Intervals& b) {
  Intervals both;
  for (std::size_t i = 0, j = 0; i < a.size() && j < b.size();) {
    const double begin = std::max(a[i].first, b[j].first), end = std::min(a[i].second, b[j].second);
    if (begin < end) both.emplace_back(begin, end);
    ++(a[i].second < b[j].second ? i : j);
  }
  return both;
}

double length_of(const Intervals& intervals) {
  double sum = 0;
  for (const auto& [begin, end] : intervals) sum += end - begin;
  return sum;
}

CardActivity card_activity(std::span<const ActivityRecord> records, std::uint32_t card, double begin_s, double end_s) {
  const auto time_of = [&](auto wanted) {
    return pieces_of(records, begin_s, end_s,
                     [&](const ActivityRecord& record) { return record.card == card && wanted(record); });
  };
  const auto kind = [&](ActivityKind kind) {
    return time_of([kind](const ActivityRecord& record) { return record.kind == kind; });
  };
  const Intervals kernels = kind(ActivityKind::kernel), to_card = kind(ActivityKind::to_card),
                  to_host = kind(ActivityKind::to_host);
  const Intervals copies = time_of([](const ActivityRecord& record) { return is_copy(record.kind); });
  CardActivity activity;
  activity.wall_s = std::max(0.0, end_s - begin_s);
  activity.kernel_s = length_of(kernels);
  activity.to_card_s = length_of(to_card);
  activity.to_host_s = length_of(to_host);
  activity.on_card_s = length_of(kind(ActivityKind::on_card));
  activity.copy_s = length_of(copies);
  activity.both_ways_s = length_of(common(to_card, to_host));
  activity.overlapped_s = length_of(common(kernels, copies));
  activity.idle_s = activity.wall_s - length_of(time_of([](const ActivityRecord&) { return true; }));
  std::map<std::uint32_t, std::vector<ActivityRecord>> by_stream;
  for (const auto& record : records) {
    if (record.card != card || record.end_s <= begin_s || record.begin_s >= end_s) continue;
    if (record.kind == ActivityKind::to_card) activity.to_card += record.bytes;
    if (record.kind == ActivityKind::to_host) activity.to_host += record.bytes;
    by_stream[record.stream].push_back(record);
  }
  for (const auto& [stream, own] : by_stream) {
    const auto seconds = [&, &own = own](auto wanted) { return length_of(pieces_of(own, begin_s, end_s, wanted)); };
    activity.streams.push_back(
        {stream, seconds([](const ActivityRecord& record) { return record.kind == ActivityKind::kernel; }),
         seconds([](const ActivityRecord& record) { return is_copy(record.kind); })});
  }
  return activity;
}

std::vector<KernelTime> longest_kernels(const ActivityLog& log, std::uint32_t card, std::size_t count) {
  std::vector<KernelTime> times(log.names.size());
  for (std::size_t i = 0; i < times.size(); ++i) times[i].name = log.names[i];
  for (const auto& record : log.records) {
    if (record.kind != ActivityKind::kernel || record.card != card) continue;
    times.at(record.name).launches += 1;
    times[record.name].seconds += record.end_s - record.begin_s;
  }
  std::erase_if(times, [](const KernelTime& time) { return time.launches == 0; });
  std::stable_sort(times.begin(), times.end(),
                   [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  if (times.size() > count) times.resize(count);
  return times;
}

void add_to_trace(const ActivityLog& log, double join_s, TraceRecorder& trace) {
  std::map<std::pair<std::uint32_t, std::uint32_t>, std::vector<const ActivityRecord*>> by_stream;
  for (const auto& record : log.records) by_stream[{record.card, record.stream}].push_back(&record);
  for (auto& [place, own] : by_stream) {
    std::sort(own.begin(), own.end(),
              [](const ActivityRecord* a, const ActivityRecord* b) { return a->begin_s < b->begin_s; });
    const std::uint32_t track = trace.track(text::cat("cuda:", place.first, "/gpu stream ", place.second));
    for (std::size_t i = 0; i < own.size();) {
      const ActivityRecord& first = *own[i];
      TraceSlice slice{track, "", "gpu", first.begin_s, first.end_s, 0};
      std::size_t joined = 0;
      for (; i < own.size() && own[i]->kind == first.kind && own[i]->begin_s <= slice.end_s + join_s; ++i, ++joined) {
        slice.end_s = std::max(slice.end_s, own[i]->end_s);
        slice.bytes += own[i]->bytes;
      }
      const bool one_kernel = joined == 1 && first.kind == ActivityKind::kernel && first.name < log.names.size();
      slice.name = one_kernel ? log.names[first.name] : text::cat(joined, " × ", word_for(first.kind));
      trace.add(std::move(slice));
    }
  }
}

ClockMap::ClockMap(Pair begin, Pair end) : begin_(begin) {
  if (end.theirs_ns > begin.theirs_ns && end.ours_s > begin.ours_s)
    seconds_per_ns_ = (end.ours_s - begin.ours_s) / static_cast<double>(end.theirs_ns - begin.theirs_ns);
}

double ClockMap::seconds(std::uint64_t theirs_ns) const {
  // The difference first: nanoseconds since 1970 do not fit a double.
  return begin_.ours_s + static_cast<double>(static_cast<std::int64_t>(theirs_ns - begin_.theirs_ns)) * seconds_per_ns_;
}

}  // namespace hopyard
