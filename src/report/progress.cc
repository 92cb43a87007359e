#include "report/progress.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "base/text.h"
#include "report/table.h"

namespace hopyard {

namespace {

constexpr std::size_t kBarWidth = 10;

/// One line without control characters, whatever the text holds.
std::string printable_line(std::string text) {
  for (char& c : text)
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = ' ';
  return text;
}

double share(double value) { return std::isfinite(value) ? std::clamp(value, 0.0, 1.0) : 0.0; }

std::string percent(double value) { return text::format_number(std::floor(100 * share(value)), 0) + " %"; }

std::string bar(double value) {
  const auto filled = static_cast<std::size_t>(std::lround(share(value) * kBarWidth));
  std::string out;
  for (std::size_t i = 0; i < kBarWidth; ++i) out += i < filled ? "█" : "░";
  return out;
}

std::string seconds_text(const std::optional<double>& seconds) {
  return seconds && std::isfinite(*seconds) ? text::format_seconds(std::max(0.0, std::round(*seconds))) : "";
}

std::string number_text(const std::optional<double>& value) { return value ? text::format_number(*value, 4) : ""; }

std::string of_total(std::uint32_t part, std::uint32_t whole) { return whole == 0 ? "" : text::cat(part, "/", whole); }

std::string head_line(const ProgressSnapshot& snapshot) {
  const auto ended = std::count_if(snapshot.trials.begin(), snapshot.trials.end(), [](const auto& trial) {
    return trial.state != TrialState::waiting && trial.state != TrialState::active;
  });
  std::string line =
      text::cat(ended, " of ", snapshot.trials.size(), " trials ended, ", seconds_text(snapshot.elapsed_s));
  if (snapshot.eta_s) line += ", about " + seconds_text(snapshot.eta_s) + " left";
  return line;
}

/// The lower, the longer a trial stays when not all have a line.
int priority(TrialState state) {
  switch (state) {
    case TrialState::active:
      return 0;
    case TrialState::failed:
      return 1;
    case TrialState::waiting:
      return 2;
    default:
      return 3;
  }
}

/// At most `limit` trials, in their own order.
std::vector<const TrialProgress*> chosen(const std::vector<TrialProgress>& trials, std::size_t limit) {
  std::vector<std::size_t> order(trials.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::stable_sort(order.begin(), order.end(),
                   [&](auto a, auto b) { return priority(trials[a].state) < priority(trials[b].state); });
  order.resize(std::min(order.size(), limit));
  std::sort(order.begin(), order.end());
  std::vector<const TrialProgress*> kept;
  for (const std::size_t i : order) kept.push_back(&trials[i]);
  return kept;
}

std::vector<std::string> lines_of(const std::string& text) {
  auto lines = text::split(text, '\n');
  lines.pop_back();
  return lines;
}

std::vector<std::string> trial_lines(const std::vector<const TrialProgress*>& trials) {
  Table table({{"trial"},
               {"done"},
               {"", Align::right},
               {"epoch"},
               {"visit"},
               {"loss", Align::right},
               {"score", Align::right},
               {"state"},
               {"left", Align::right},
               {"settings"}});
  for (const auto* trial : trials)
    table.add_row({printable_line(trial->id), bar(trial->fraction), percent(trial->fraction),
                   of_total(trial->epoch, trial->epochs), of_total(trial->visit, trial->visits),
                   number_text(trial->loss), number_text(trial->metric), to_string(trial->state),
                   seconds_text(trial->eta_s), printable_line(trial->settings)});
  return lines_of(table.to_text());
}

std::vector<std::string> device_lines(const std::vector<DeviceProgress>& devices) {
  Table table({{"device"}, {"busy"}, {"", Align::right}, {"task"}});
  for (const auto& device : devices)
    table.add_row({printable_line(device.name), bar(device.utilisation), percent(device.utilisation),
                   device.task.empty() ? "idle" : printable_line(device.task)});
  return lines_of(table.to_text());
}

std::string tier_line(const std::vector<TierProgress>& tiers) {
  std::vector<std::string> parts;
  for (const auto& tier : tiers) {
    const std::string budget = tier.budget == 0 ? "" : " of " + text::format_bytes(tier.budget);
    parts.push_back(text::cat(tier.name, " ", text::format_bytes(tier.used), budget));
  }
  return "bytes in " + text::join(parts, ", ");
}

}  // namespace

std::vector<std::string> progress_lines(const ProgressSnapshot& snapshot, const TerminalSize& size) {
  const std::size_t limit = size.rows > 1 ? size.rows - 1 : 1;
  std::vector<std::string> below;
  if (!snapshot.devices.empty()) below = device_lines(snapshot.devices);
  if (!snapshot.tiers.empty()) below.push_back(tier_line(snapshot.tiers));

  std::vector<std::string> lines{head_line(snapshot)};
  if (!snapshot.trials.empty()) {
    const std::size_t others = lines.size() + below.size() + 1;  // with the table's headers
    std::size_t room = limit > others ? limit - others : 1;
    if (room < snapshot.trials.size() && room > 1) --room;  // for the line that counts the rest
    const auto shown = chosen(snapshot.trials, room);
    for (auto& line : trial_lines(shown)) lines.push_back(std::move(line));
    if (shown.size() < snapshot.trials.size())
      lines.push_back(text::cat("… and ", snapshot.trials.size() - shown.size(), " more trials"));
  }
  lines.insert(lines.end(), below.begin(), below.end());
  if (lines.size() > limit) lines.resize(limit);
  for (auto& line : lines) line = clip_to_width(line, size.columns);
  return lines;
}

ProgressView::ProgressView(std::ostream& out, std::function<std::optional<TerminalSize>()> size)
    : out_(out), size_(std::move(size)) {}

void ProgressView::show(const ProgressSnapshot& snapshot) {
  const std::lock_guard lock(mutex_);
  const auto size = size_();
  if (!size) return;
  last_ = snapshot;
  has_drawing_ = true;
  out_ << up() << drawing(*size) << std::flush;
}

void ProgressView::event(const std::string& line) {
  const std::lock_guard lock(mutex_);
  const auto size = size_();
  if (!size) {
    out_ << printable_line(line) << std::endl;
    return;
  }
  const std::string above = up() + "\x1b[J" + printable_line(line) + "\n";
  out_ << above << (has_drawing_ ? drawing(*size) : "") << std::flush;
}

void ProgressView::clear() {
  const std::lock_guard lock(mutex_);
  if (has_drawing_) out_ << up() << "\x1b[J" << std::flush;
  has_drawing_ = false;
}

std::string ProgressView::up() {
  const std::size_t lines = std::exchange(drawn_lines_, 0);
  return lines == 0 ? "" : text::cat("\x1b[", lines, "F");
}

std::string ProgressView::drawing(const TerminalSize& size) {
  std::string text;
  const auto lines = progress_lines(last_, size);
  for (const auto& line : lines) text += line + "\x1b[K\n";
  drawn_lines_ = lines.size();
  return text + "\x1b[J";
}

}  // namespace hopyard
