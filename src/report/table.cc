#include "report/table.h"

#include <algorithm>
#include <array>
#include <cstdint>

#include "base/failure.h"

namespace hopyard {

namespace {

struct Range {
  char32_t first, last;
};

// The common blocks of Unicode's East_Asian_Width W and F and of its combining marks; terminals agree on no more.
constexpr std::array<Range, 12> kWide{{{0x1100, 0x115f},
                                       {0x2e80, 0x303e},
                                       {0x3041, 0x33ff},
                                       {0x3400, 0x4dbf},
                                       {0x4e00, 0x9fff},
                                       {0xa000, 0xa4cf},
                                       {0xac00, 0xd7a3},
                                       {0xf900, 0xfaff},
                                       {0xfe30, 0xfe6f},
                                       {0xff00, 0xff60},
                                       {0x1f300, 0x1faff},
                                       {0x20000, 0x3fffd}}};
constexpr std::array<Range, 6> kZero{
    {{0x0300, 0x036f}, {0x1ab0, 0x1aff}, {0x200b, 0x200f}, {0x20d0, 0x20ff}, {0xfe00, 0xfe0f}, {0xfe20, 0xfe2f}}};

template <std::size_t N>
bool in_any(char32_t point, const std::array<Range, N>& ranges) {
  return std::any_of(ranges.begin(), ranges.end(), [&](Range r) { return r.first <= point && point <= r.last; });
}

std::size_t width_of(char32_t point) {
  if (point < 0x20 || point == 0x7f || in_any(point, kZero)) return 0;
  return in_any(point, kWide) ? 2 : 1;
}

/// The code point at the front, and how many bytes it takes; a broken byte stands for itself.
std::pair<char32_t, std::size_t> decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const std::size_t length = byte(0) < 0x80 ? 1 : byte(0) >= 0xf0 ? 4 : byte(0) >= 0xe0 ? 3 : byte(0) >= 0xc0 ? 2 : 1;
  if (length == 1 || length > text.size()) return {byte(0), 1};
  char32_t point = byte(0) & (0x7f >> length);
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(i) & 0xc0) != 0x80) return {byte(0), 1};
    point = point << 6 | (byte(i) & 0x3f);
  }
  return {point, length};
}

void append_cell(std::string& line, const std::string& cell, std::size_t width, Align align) {
  const std::string padding(width - display_width(cell), ' ');
  line += align == Align::right ? padding + cell : cell + padding;
}

}  // namespace

std::size_t display_width(std::string_view utf8) {
  std::size_t width = 0;
  while (!utf8.empty()) {
    const auto [point, bytes] = decode(utf8);
    width += width_of(point);
    utf8.remove_prefix(bytes);
  }
  return width;
}

std::string clip_to_width(std::string_view utf8, std::size_t columns) {
  if (display_width(utf8) <= columns) return std::string(utf8);
  if (columns == 0) return "";
  std::size_t width = 0, kept = 0;
  while (kept < utf8.size()) {
    const auto [point, bytes] = decode(utf8.substr(kept));
    if (width + width_of(point) > columns - 1) break;
    width += width_of(point);
    kept += bytes;
  }
  return std::string(utf8.substr(0, kept)) + "…";
}

void Table::add_row(std::vector<std::string> cells) {
  require(cells.size() <= columns_.size(), "a row of ", cells.size(), " cells under ", columns_.size(), " headers");
  cells.resize(columns_.size());
  rows_.push_back(std::move(cells));
}

std::string Table::to_text(std::size_t indent) const {
  std::vector<std::string> headers;
  for (const auto& column : columns_) headers.push_back(column.header);
  std::vector<std::size_t> widths(columns_.size());
  const auto widen = [&](const std::vector<std::string>& cells) {
    for (std::size_t i = 0; i < cells.size(); ++i) widths[i] = std::max(widths[i], display_width(cells[i]));
  };
  widen(headers);
  for (const auto& row : rows_) widen(row);

  std::string text;
  const auto append_line = [&](const std::vector<std::string>& cells) {
    std::string line(indent, ' ');
    for (std::size_t i = 0; i < cells.size(); ++i) {
      if (i > 0) line += "  ";
      append_cell(line, cells[i], widths[i], columns_[i].align);
    }
    line.erase(line.find_last_not_of(' ') + 1);
    text += line + "\n";
  };
  append_line(headers);
  for (const auto& row : rows_) append_line(row);
  return text;
}

}  // namespace hopyard
