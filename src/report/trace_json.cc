#include "report/trace_json.h"

#include <algorithm>
#include <charconv>
#include <cstdio>
#include <fstream>
#include <limits>
#include <map>

#include "base/failure.h"
#include "report/json_fields.h"

namespace hopyard {

namespace {

/// Where a track is shown: the process of its device and a thread of its own.
struct Place {
  std::size_t process = 0, thread = 0;
};

std::string process_name(const std::string& track) { return track.substr(0, track.find('/')); }

std::string thread_name(const std::string& track) {
  const auto slash = track.find('/');
  return slash == std::string::npos ? track : track.substr(slash + 1);
}

std::string quoted(const std::string& text) { return dump_json(Json(text)); }

/// Trace times are microseconds; the digits behind the point keep nanoseconds.
std::string microseconds(double seconds) {
  char buffer[64];
  const auto end =
      std::to_chars(buffer, buffer + sizeof buffer, std::max(0.0, seconds) * 1e6, std::chars_format::fixed, 3);
  return {buffer, end.ptr};
}

void write_name(std::ostream& out, const char* kind, const Place& place, const std::string& name) {
  out << R"({"ph":"M","name":")" << kind << R"(","pid":)" << place.process << R"(,"tid":)" << place.thread
      << R"(,"args":{"name":)" << quoted(name) << "}},\n";
}

constexpr std::size_t kProcessesOfWorker = 1000;  // more than it has devices

/// Names every process and track, in the order of their first appearance, and returns where each track is.
std::vector<Place> write_names(std::ostream& out, const std::vector<std::string>& tracks,
                               const std::optional<TraceWorker>& worker) {
  const std::string owner = worker ? text::cat("worker ", worker->rank, ' ') : "";
  const std::size_t before = worker ? worker->rank * kProcessesOfWorker : 0;
  std::map<std::string, std::size_t> processes;
  std::vector<Place> places;
  for (const auto& track : tracks) {
    const auto [process, is_new] = processes.emplace(process_name(track), before + processes.size() + 1);
    places.push_back({process->second, places.size() + 1});
    if (is_new) write_name(out, "process_name", places.back(), owner + process->first);
    write_name(out, "thread_name", places.back(), thread_name(track));
  }
  return places;
}

void write_slice(std::ostream& out, const Place& place, const TraceSlice& slice, double start_s) {
  out << R"({"ph":"X","name":)" << quoted(slice.name) << R"(,"cat":)" << quoted(slice.category) << R"(,"pid":)"
      << place.process << R"(,"tid":)" << place.thread << R"(,"ts":)" << microseconds(slice.begin_s - start_s)
      << R"(,"dur":)" << microseconds(slice.end_s - slice.begin_s);
  if (slice.bytes > 0) out << R"(,"args":{"bytes":)" << slice.bytes << "}";
  out << "},\n";
}

void write_count(std::ostream& out, const Place& place, const TraceCount& count, double start_s) {
  out << R"({"ph":"C","name":)" << quoted(count.name) << R"(,"pid":)" << place.process << R"(,"tid":)" << place.thread
      << R"(,"ts":)" << microseconds(count.at_s - start_s) << R"(,"args":{"value":)" << dump_json(Json(count.value))
      << "}},\n";
}

/// The first line; of traces whose times are of one clock the same one.
std::string head_of(const std::optional<TraceWorker>& worker) {
  std::string clock;
  if (worker) std::getline(std::ifstream("/proc/sys/kernel/random/boot_id") >> std::ws, clock);
  return text::cat(R"({"displayTimeUnit":"ms",)",
                   worker ? text::cat(R"("otherData":{"clock":)", quoted(clock), "},") : "", R"("traceEvents":[)");
}

/// Its lines are events but for the first and the last one, see write_trace().
void take_in(std::ostream& out, const std::string& file, const std::string& head) {
  std::ifstream in(file, std::ios::binary);
  std::string line;
  if (!std::getline(in, line) || line != head) return;
  while (std::getline(in, line))
    if (line.ends_with("},")) out << line << '\n';
}

}  // namespace

void write_trace(std::ostream& out, const std::vector<std::string>& tracks, const std::vector<TraceSlice>& slices,
                 const std::vector<TraceCount>& counts, const std::optional<TraceWorker>& worker) {
  double first_s = std::numeric_limits<double>::infinity();
  for (const auto& slice : slices) first_s = std::min(first_s, slice.begin_s);
  for (const auto& count : counts) first_s = std::min(first_s, count.at_s);
  const double start_s = worker ? 0 : first_s;
  const std::string head = head_of(worker);
  out << head << '\n';
  const auto places = write_names(out, tracks, worker);
  for (const auto& slice : slices) {
    require(slice.track < places.size(), "a slice on track ", slice.track, " of ", places.size());
    write_slice(out, places[slice.track], slice, start_s);
  }
  for (const auto& count : counts) {
    require(count.track < places.size(), "a count on track ", count.track, " of ", places.size());
    write_count(out, places[count.track], count, start_s);
  }
  if (worker)
    for (const auto& file : worker->others) take_in(out, file, head);
  // An event without time ends the list, since JSON allows no comma behind the last one.
  out << R"({"ph":"M","name":"process_labels","pid":1,"tid":1,"args":{"labels":"Hopyard"}}]})"
      << "\n";
}

void write_trace_file(const std::string& path, const TraceRecorder& recorder,
                      const std::optional<TraceWorker>& worker) {
  const std::string temporary = path + ".tmp";
  std::ofstream out(temporary, std::ios::binary | std::ios::trunc);
  if (!out)
    fail(ExitCode::input, temporary, ": cannot create the trace: check that its folder exists and may be written");
  write_trace(out, recorder.tracks(), recorder.slices(), recorder.counts(), worker);
  out.close();
  if (!out || std::rename(temporary.c_str(), path.c_str()) != 0) {
    std::remove(temporary.c_str());
    fail(ExitCode::capacity, path, ": cannot write the trace: free some disk space and run again");
  }
}

}  // namespace hopyard
