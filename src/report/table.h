// Aligned columns of text for people.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

namespace hopyard {

/// Columns of a terminal that UTF-8 text takes: combining marks none, East Asian wide characters and emoji two.
std::size_t display_width(std::string_view utf8);
/// At most `columns` wide; what is cut off is replaced by "…".
std::string clip_to_width(std::string_view utf8, std::size_t columns);

enum class Align { left, right };

struct Column {
  std::string header;
  Align align = Align::left;
};

/// Rows of cells under headers; missing cells are empty. Two spaces between columns, no trailing spaces.
class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void add_row(std::vector<std::string> cells);
  bool empty() const { return rows_.empty(); }
  /// Every line starts with `indent` spaces and ends with a newline.
  std::string to_text(std::size_t indent = 0) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace hopyard
