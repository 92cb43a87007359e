#include "report/trace_json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "base/failure.h"
#include "fakes/temporary_folder.h"
#include "formats/json.h"
#include "report/sample_run.h"

namespace hopyard {
namespace {

Json parsed(const std::vector<std::string>& tracks, const std::vector<TraceSlice>& slices,
            const std::vector<TraceCount>& counts = {}) {
  std::ostringstream out;
  write_trace(out, tracks, slices, counts);
  return parse_json(out.str(), "trace").at("traceEvents");
}

std::vector<Json> events_of(const Json& events, const std::string& phase) {
  std::vector<Json> found;
  for (const auto& event : events)
    if (event.at("ph") == phase) found.push_back(event);
  return found;
}

TEST(Trace, HasAProcessForEachDeviceAndAThreadForEachTrack) {
  std::map<std::string, std::set<std::string>> threads;
  std::map<int, std::string> processes;
  for (const auto& event : events_of(parsed({"cpu:0/compute", "cpu:0/load", "cpu:1/compute", "disk"}, {}), "M")) {
    if (event.at("name") == "process_name") processes[event.at("pid")] = event.at("args").at("name");
    if (event.at("name") == "thread_name") threads[processes.at(event.at("pid"))].insert(event.at("args").at("name"));
  }
  using Threads = std::set<std::string>;
  EXPECT_THAT(threads,
              testing::ElementsAre(testing::Pair("cpu:0", Threads{"compute", "load"}),
                                   testing::Pair("cpu:1", Threads{"compute"}), testing::Pair("disk", Threads{"disk"})));
}

TEST(Trace, OfAWorkerSaysWhoseItIsAndTakesInThoseOfOthersOfTheMachine) {
  const fakes::TemporaryFolder folder;
  const auto trace_of = [](const std::string& device, double begin_s) {
    auto recorder = std::make_unique<TraceRecorder>();
    recorder->add({recorder->track(device + "/compute"), "t00/s1/forward", "compute", begin_s, begin_s + 1, 0});
    return recorder;
  };
  const std::string first = folder / "0.json", second = folder / "1.json", other = folder / "2.json";
  write_trace_file(second, *trace_of("cpu:0", 7.5), TraceWorker{1});
  write_trace_file(other, *trace_of("cpu:0", 1), std::nullopt);  // of a run of one: its clock is another
  write_trace_file(first, *trace_of("cpu:0", 5.25), TraceWorker{0, {second, other, folder / "none"}});
  const Json events = read_json(first).at("traceEvents");
  std::map<int, std::string> processes;
  for (const auto& event : events_of(events, "M"))
    if (event.at("name") == "process_name") processes[event.at("pid")] = event.at("args").at("name");
  std::map<std::string, double> times;
  for (const auto& slice : events_of(events, "X")) times[processes.at(slice.at("pid"))] = slice.at("ts").get<double>();
  EXPECT_THAT(times,
              testing::ElementsAre(testing::Pair("worker 0 cpu:0", 5.25e6), testing::Pair("worker 1 cpu:0", 7.5e6)));
}

TEST(Trace, SlicesAreCompleteEventsInMicrosecondsFromTheFirst) {
  const auto slices =
      events_of(parsed({"cpu:0/load", "cpu:0/compute"}, {{1, "t00/s1/forward", "compute", 12.5, 12.75, 0},
                                                         {0, "t00/s1/load", "load", 12.25, 12.5, 4096},
                                                         {1, "disk", "idle", 12.75, 12.7500005, 0}}),
                "X");
  ASSERT_EQ(slices.size(), 3u);
  EXPECT_EQ(slices[0].at("name"), "t00/s1/forward");
  EXPECT_EQ(slices[0].at("cat"), "compute");
  EXPECT_EQ(slices[0].at("ts").get<double>(), 250'000);
  EXPECT_EQ(slices[0].at("dur").get<double>(), 250'000);
  EXPECT_FALSE(slices[0].contains("args"));
  EXPECT_EQ(slices[1].at("ts").get<double>(), 0);
  EXPECT_EQ(slices[1].at("args").at("bytes"), 4096);
  EXPECT_EQ(slices[1].at("pid"), slices[0].at("pid"));
  EXPECT_NE(slices[1].at("tid"), slices[0].at("tid"));
  EXPECT_EQ(slices[2].at("name"), "disk");
  EXPECT_EQ(slices[2].at("cat"), "idle");
  EXPECT_NEAR(slices[2].at("dur").get<double>(), 0.5, 1e-3);
}

TEST(Trace, CountsAreOfTheDevicesProcess) {
  const auto events = parsed({"cuda:0/compute", "cuda:1/compute"}, {{0, "t00/s1/forward", "compute", 12.5, 12.75, 0}},
                             {{1, "power, W", 12.25, 612.5}, {1, "power, W", 13.25, 90}});
  std::map<std::string, int> processes;
  for (const auto& event : events_of(events, "M"))
    if (event.at("name") == "process_name") processes[event.at("args").at("name")] = event.at("pid");
  const auto counts = events_of(events, "C");
  ASSERT_EQ(counts.size(), 2u);
  EXPECT_EQ(counts[0].at("name"), "power, W");
  EXPECT_EQ(counts[0].at("pid"), processes.at("cuda:1"));
  EXPECT_EQ(counts[0].at("ts").get<double>(), 0) << "the first of all";
  EXPECT_EQ(counts[0].at("args").at("value"), 612.5);
  EXPECT_EQ(counts[1].at("ts").get<double>(), 1e6);
  EXPECT_EQ(events_of(events, "X").at(0).at("ts").get<double>(), 250'000);
}

TEST(Trace, NamesAreEscaped) {
  const std::string odd = "a\"b\\c\n\x01\xff";
  const auto events = parsed({odd + "/x"}, {{0, odd, odd, 0, 1, 0}});
  EXPECT_EQ(events_of(events, "X").at(0).at("name"), "a\"b\\c\n\x01\xef\xbf\xbd");
}

TEST(Trace, AnEmptyOneIsValid) { EXPECT_TRUE(events_of(parsed({}, {}), "X").empty()); }

TEST(Trace, ASliceWithoutTrackIsABrokenContract) {
  std::ostringstream out;
  EXPECT_THROW(write_trace(out, {"a"}, {{1, "x", "compute", 0, 1, 0}}, {}), std::logic_error);
  EXPECT_THROW(write_trace(out, {"a"}, {}, {{1, "power, W", 0, 700}}), std::logic_error);
}

TEST(Trace, FilesHoldEverySlice) {
  ReportInput input;
  sample::add_slices(input, 2000);
  TraceRecorder recorder;
  for (const auto& name : input.tracks) recorder.track(name);
  for (const auto& slice : input.slices) recorder.add(slice);
  const std::string path = testing::TempDir() + "trace_json_test.json";
  write_trace_file(path, recorder);
  EXPECT_EQ(events_of(read_json(path).at("traceEvents"), "X").size(), input.slices.size());
  EXPECT_FALSE(std::filesystem::exists(path + ".tmp"));
  std::filesystem::remove(path);
}

TEST(Trace, AFolderThatIsMissingIsASentence) {
  EXPECT_THROW(write_trace_file(testing::TempDir() + "no/such/folder/trace.json", TraceRecorder()), Failure);
}

}  // namespace
}  // namespace hopyard
