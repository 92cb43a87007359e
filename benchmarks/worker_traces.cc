#include "worker_traces.h"

#include <algorithm>
#include <map>
#include <string_view>
#include <vector>

#include "base/text.h"
#include "formats/json.h"

namespace hopyard {

namespace {

struct Slice {
  std::uint32_t worker = 0;
  std::string thread, category, name;
  double begin_s = 0, end_s = 0;
  double seconds() const { return end_s - begin_s; }
};

using ThreadKey = std::pair<std::int64_t, std::int64_t>;
ThreadKey thread_of(const Json& event) {
  return {event.at("pid").get<std::int64_t>(), event.at("tid").get<std::int64_t>()};
}

/// Of a process with the name "worker 1 cpu:0".
std::uint32_t worker_of(const std::string& process) {
  constexpr std::string_view kFront = "worker ";
  return process.starts_with(kFront) ? static_cast<std::uint32_t>(std::stoul(process.substr(kFront.size()))) : 0;
}

/// All that is no idle time, by when it began. The trace of a run of several workers has all of them.
std::vector<Slice> slices_of(const std::string& directory) {
  const Json trace = read_json(directory + "/trace.json");
  std::map<std::int64_t, std::uint32_t> workers;
  std::map<ThreadKey, std::string> threads;
  std::vector<Slice> slices;
  const Json& events = trace.at("traceEvents");
  for (const auto& event : events) {
    const auto name_of = [&] { return event.at("args").at("name").get<std::string>(); };
    if (event.at("name") == "process_name") workers[event.at("pid").get<std::int64_t>()] = worker_of(name_of());
    if (event.at("name") == "thread_name") threads[thread_of(event)] = name_of();
  }
  for (const auto& event : events) {
    if (event.at("ph") != "X" || event.value("cat", "") == "idle") continue;
    const double begin_s = event.at("ts").get<double>() / 1e6;
    const ThreadKey thread = thread_of(event);
    slices.push_back({workers[thread.first], threads[thread], event.value("cat", ""),
                      event.at("name").get<std::string>(), begin_s, begin_s + event.at("dur").get<double>() / 1e6});
  }
  std::stable_sort(slices.begin(), slices.end(), [](const Slice& a, const Slice& b) { return a.begin_s < b.begin_s; });
  return slices;
}

/// Seconds of [begin, end] in which something of `slices`, which are in order, was going on.
double covered_s(const std::vector<Slice>& slices, double begin_s, double end_s) {
  double covered = 0, until_s = begin_s;
  for (const auto& slice : slices) {
    const double from_s = std::max(slice.begin_s, until_s), to_s = std::min(slice.end_s, end_s);
    if (to_s <= from_s) continue;
    covered += to_s - from_s;
    until_s = to_s;
  }
  return covered;
}

}  // namespace

HiddenHops hidden_hops(const std::string& directory) {
  std::map<std::uint32_t, std::vector<Slice>> computed;  // by worker
  std::vector<Slice> hops;
  for (auto& slice : slices_of(directory)) {
    if (slice.category == "hop")
      hops.push_back(std::move(slice));
    else if (slice.thread == "compute")
      computed[slice.worker].push_back(std::move(slice));
  }
  HiddenHops sum;
  for (const auto& hop : hops) {
    sum.hop_s += hop.seconds();
    sum.hidden_s += covered_s(computed[hop.worker], hop.begin_s, hop.end_s);
  }
  return sum;
}

double TaskTimes::floor() const { return std::max({compute_s, load_s, store_s}) / std::max(one_by_one_s, 1e-9); }

TaskTimes task_times(const std::string& directory) {
  struct Task {
    double compute_s = 0, load_s = 0, store_s = 0;
  };
  std::map<std::string, std::vector<Task>> tasks;  // by name, in the order of computing
  std::map<std::string, double> loaded_s;          // and not computed with yet
  TaskTimes times;
  for (const auto& slice : slices_of(directory)) {
    if (slice.worker != 0) continue;
    if (slice.thread == "load") {
      loaded_s[slice.name] += slice.seconds();
      times.load_s += slice.seconds();
    } else if (slice.thread == "compute") {
      tasks[slice.name].push_back({slice.seconds(), std::exchange(loaded_s[slice.name], 0), 0});
      times.compute_s += slice.seconds();
    } else if (slice.thread == "store") {
      constexpr std::string_view kMoments = " moments";  // of the same task
      const bool moments = slice.name.ends_with(kMoments);
      auto& stored = tasks[slice.name.substr(0, slice.name.size() - (moments ? kMoments.size() : 0))];
      if (!stored.empty()) stored.back().store_s += slice.seconds();
      times.store_s += slice.seconds();
    }
  }
  for (const auto& [name, all] : tasks)
    for (const auto& task : all) times.one_by_one_s += std::max({task.compute_s, task.load_s, task.store_s});
  return times;
}

}  // namespace hopyard
