#include "report/progress.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <sstream>

#include "base/text.h"
#include "report/table.h"

namespace hopyard {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::Not;

ProgressSnapshot snapshot(std::uint32_t trials) {
  ProgressSnapshot now;
  now.elapsed_s = 192;
  now.eta_s = 241;
  for (std::uint32_t i = 0; i < trials; ++i) {
    TrialProgress trial;
    trial.id = "t" + std::to_string(i);
    trial.settings = "lr 3e-05, freeze 4";
    trial.state = i % 3 == 0 ? TrialState::finished : i % 3 == 1 ? TrialState::active : TrialState::waiting;
    trial.epoch = 1, trial.epochs = 2, trial.visit = 3, trial.visits = 4;
    trial.fraction = 0.629;
    trial.loss = 1.23456;
    trial.eta_s = 80;
    now.trials.push_back(trial);
  }
  now.devices = {{"emulated:0", 0.97, "t3/s1/backward"}, {"emulated:1", 0, ""}};
  now.tiers = {{"device", 400 * MiB, 512 * MiB}, {"host", 300 * MiB, 512 * MiB}, {"disk", GiB, 8 * GiB}};
  return now;
}

std::string joined(const std::vector<std::string>& lines) { return text::join(lines, "\n"); }

/// A terminal that knows as much as ProgressView uses: text, newline, cursor up, erase to the end of line and screen.
class FakeTerminal {
 public:
  void feed(const std::string& bytes) {
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      if (bytes[i] == '\x1b')
        i = control(bytes, i);
      else if (bytes[i] == '\n')
        move_to(row_ + 1);
      else
        put(bytes[i]);
    }
  }
  std::vector<std::string> lines() const {
    auto lines = lines_;
    while (!lines.empty() && lines.back().empty()) lines.pop_back();
    return lines;
  }

 private:
  std::size_t control(const std::string& bytes, std::size_t at) {
    std::size_t end = at + 2;
    while (std::isdigit(bytes.at(end))) ++end;
    const std::string count = bytes.substr(at + 2, end - at - 2);
    if (bytes[end] == 'F')
      move_to(row_ - std::stoul(count));
    else if (bytes[end] == 'K')
      lines_[row_].resize(column_);
    else if (bytes[end] == 'J')
      lines_.resize(row_ + 1), lines_[row_].resize(column_);
    else
      ADD_FAILURE() << "unknown control sequence ending in " << bytes[end];
    return end;
  }
  void move_to(std::size_t row) {
    row_ = row, column_ = 0;
    if (row_ >= lines_.size()) lines_.resize(row_ + 1);
  }
  void put(char byte) {
    auto& line = lines_[row_];
    if (line.size() <= column_) line.resize(column_ + 1, ' ');
    line[column_++] = byte;
  }
  std::vector<std::string> lines_{""};
  std::size_t row_ = 0, column_ = 0;
};

/// A view on a fake terminal of the given size; nothing is no terminal.
struct Screen {
  explicit Screen(std::optional<TerminalSize> its_size) : size(its_size), view(out, [this] { return size; }) {}
  std::vector<std::string> lines() {
    FakeTerminal terminal;
    terminal.feed(out.str());
    return terminal.lines();
  }
  std::optional<TerminalSize> size;
  std::ostringstream out;
  ProgressView view;
};

TEST(ProgressLines, HaveALineForEachTrialAndDeviceAndOneForTiers) {
  const std::string all = joined(progress_lines(snapshot(8), {160, 40}));
  EXPECT_THAT(all, HasSubstr("3 of 8 trials ended, 3 min 12 s, about 4 min 01 s left"));
  EXPECT_THAT(all, HasSubstr("t1     ██████░░░░  62 %  1/2    3/4    1.2346"));
  EXPECT_THAT(all, HasSubstr("lr 3e-05, freeze 4"));
  EXPECT_THAT(all, HasSubstr("emulated:0  ██████████  97 %  t3/s1/backward"));
  EXPECT_THAT(all, HasSubstr("emulated:1  ░░░░░░░░░░   0 %  idle"));
  EXPECT_THAT(all, HasSubstr("bytes in device 400 MiB of 512 MiB, host 300 MiB of 512 MiB, disk 1 GiB of 8 GiB"));
  EXPECT_EQ(progress_lines(snapshot(8), {160, 40}).size(), 1u + 1 + 8 + 1 + 2 + 1);
}

TEST(ProgressLines, NeverLeaveTheTerminal) {
  for (std::size_t columns : {1u, 7u, 40u, 80u})
    for (std::size_t rows : {1u, 2u, 5u, 9u, 24u, 100u}) {
      const auto lines = progress_lines(snapshot(30), {columns, rows});
      EXPECT_LE(lines.size(), std::max<std::size_t>(1, rows - 1));
      for (const auto& line : lines) EXPECT_LE(display_width(line), columns);
    }
}

TEST(ProgressLines, KeepActiveTrialsWhereThereAreTooMany) {
  const auto lines = progress_lines(snapshot(30), {120, 19});
  const std::string all = joined(lines);
  EXPECT_EQ(lines.size(), 18u);
  for (int active = 1; active < 30; active += 3) EXPECT_THAT(all, HasSubstr("\nt" + std::to_string(active) + " "));
  EXPECT_THAT(all, Not(HasSubstr("\nt0 ")));
  EXPECT_THAT(all, HasSubstr("… and 19 more trials"));
}

TEST(ProgressLines, SurviveNumbersThatAreNotFinite) {
  ProgressSnapshot now = snapshot(1);
  now.trials[0].fraction = NAN;
  now.trials[0].loss = NAN;
  now.trials[0].eta_s = INFINITY;
  now.eta_s = NAN;
  EXPECT_THAT(joined(progress_lines(now, {120, 24})), HasSubstr("0 %"));
}

TEST(ProgressView, RedrawsInPlace) {
  Screen screen(TerminalSize{100, 30});
  for (int i = 0; i < 5; ++i) screen.view.show(snapshot(4));
  ProgressSnapshot last = snapshot(4);
  last.elapsed_s = 200;
  screen.view.show(last);
  EXPECT_EQ(screen.lines(), progress_lines(last, {100, 30}));
}

TEST(ProgressView, ShrinkingDrawingsLeaveNothingBehind) {
  Screen screen(TerminalSize{100, 30});
  screen.view.show(snapshot(8));
  screen.view.show(snapshot(2));
  EXPECT_EQ(screen.lines(), progress_lines(snapshot(2), {100, 30}));
}

TEST(ProgressView, EventsStayAboveTheDrawing) {
  Screen screen(TerminalSize{100, 30});
  screen.view.event("first");
  screen.view.show(snapshot(2));
  screen.view.event("second");
  screen.view.show(snapshot(2));
  auto expected = progress_lines(snapshot(2), {100, 30});
  expected.insert(expected.begin(), {"first", "second"});
  EXPECT_EQ(screen.lines(), expected);
}

TEST(ProgressView, ClearLeavesOnlyEvents) {
  Screen screen(TerminalSize{100, 30});
  screen.view.event("first");
  screen.view.show(snapshot(2));
  screen.view.clear();
  screen.view.event("done");
  EXPECT_THAT(screen.lines(), testing::ElementsAre("first", "done"));
}

TEST(ProgressView, ElsewhereItIsOneLineAnEvent) {
  Screen screen(std::nullopt);
  screen.view.show(snapshot(8));
  screen.view.event("t00 finished\nepoch 1 \x1b[31m");
  screen.view.show(snapshot(8));
  screen.view.event("t01 finished");
  screen.view.clear();
  EXPECT_EQ(screen.out.str(), "t00 finished epoch 1  [31m\nt01 finished\n");
}

TEST(TerminalSize, APipeIsNoTerminal) { EXPECT_EQ(terminal_size(-1).has_value(), false); }

}  // namespace
}  // namespace hopyard
