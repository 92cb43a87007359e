#include "report/timeline.h"

#include <algorithm>
#include <map>
#include <span>
#include <tuple>

#include "base/failure.h"

namespace hopyard {

namespace {

bool is_idle(const TraceSlice& slice) { return slice.category == "idle"; }

double length_of(const TraceSlice& slice) { return std::max(0.0, slice.end_s - slice.begin_s); }

DisplaySlice merged(std::span<const TraceSlice* const> group) {
  DisplaySlice out;
  const TraceSlice& first = *group.front();
  out.track = first.track;
  out.idle = is_idle(first);
  out.begin_s = first.begin_s;
  out.end_s = first.end_s;
  out.count = group.size();
  if (group.size() == 1) out.name = first.name;
  std::map<std::string, double> seconds;
  for (const TraceSlice* slice : group) {
    out.end_s = std::max(out.end_s, slice->end_s);
    out.covered_s += length_of(*slice);
    out.bytes += slice->bytes;
    seconds[owner_of(*slice)] += length_of(*slice);
  }
  out.owner =
      std::max_element(seconds.begin(), seconds.end(), [](auto& a, auto& b) { return a.second < b.second; })->first;
  return out;
}

}  // namespace

std::string owner_of(const TraceSlice& slice) {
  return is_idle(slice) ? slice.name : slice.name.substr(0, slice.name.find('/'));
}

TimeSpan span_of(const std::vector<TraceSlice>& slices) {
  if (slices.empty()) return {};
  TimeSpan span{slices.front().begin_s, slices.front().end_s};
  for (const auto& slice : slices) {
    span.begin_s = std::min(span.begin_s, slice.begin_s);
    span.end_s = std::max(span.end_s, slice.end_s);
  }
  return span;
}

std::vector<DisplaySlice> merge_for_display(const std::vector<TraceSlice>& slices, std::size_t resolution) {
  require(resolution > 0, "a picture of ", resolution, " pixels");
  std::vector<const TraceSlice*> order;
  for (const auto& slice : slices) order.push_back(&slice);
  const auto key = [](const TraceSlice* slice) {
    return std::tuple(slice->track, is_idle(*slice), slice->begin_s, slice->end_s);
  };
  std::stable_sort(order.begin(), order.end(), [&](auto* a, auto* b) { return key(a) < key(b); });

  const TimeSpan span = span_of(slices);
  const double pixel_s = (span.end_s - span.begin_s) / static_cast<double>(resolution);
  std::vector<DisplaySlice> out;
  for (std::size_t begin = 0, end = 0; begin < order.size(); begin = end) {
    const TraceSlice& first = *order[begin];
    const auto joins = [&](const TraceSlice& next) {
      return next.track == first.track && is_idle(next) == is_idle(first) && next.end_s <= first.begin_s + pixel_s;
    };
    end = begin + 1;
    if (length_of(first) <= pixel_s)
      while (end < order.size() && joins(*order[end])) ++end;
    out.push_back(merged(std::span(order).subspan(begin, end - begin)));
  }
  return out;
}

}  // namespace hopyard
