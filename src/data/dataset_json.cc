// Opening a data folder: dataset.json and its claims against the part files.
#include <algorithm>
#include <set>

#include "base/failure.h"
#include "data/dataset.h"
#include "formats/json.h"
#include "formats/printable.h"

namespace hopyard {

namespace {

constexpr std::uint64_t kRowsMax = 0xffff'fffe;  // rows are numbered with 32 bits
constexpr std::int64_t kItemsMax = 1 << 30;      // of one row of one column

const Json& member(const Json& object, const char* key, Json::value_t type, const char* expected,
                   const std::string& where) {
  const auto found = object.is_object() ? object.find(key) : object.end();
  if (found == object.end() || found->type() != type) fail(ExitCode::input, where, ": '", key, "' must be ", expected);
  return *found;
}

ColumnInfo parse_column(const std::string& name, const Json& json, const std::string& file) {
  const std::string where = file + ": column " + printable(name);
  ColumnInfo column{.name = name};
  const auto word = json_get<std::string>(json, "dtype", where);
  const auto dtype = parse_dtype(word);
  if (!dtype) fail(ExitCode::input, where, ": unknown dtype ", printable(word));
  column.dtype = *dtype;
  std::int64_t items = 1;
  for (const auto& size : member(json, "shape", Json::value_t::array, "a list of whole numbers", where)) {
    const bool fits =
        size.is_number_unsigned() && size.get<std::uint64_t>() > 0 && size.get<std::uint64_t>() <= kItemsMax;
    items = fits ? items * size.get<std::int64_t>() : 0;
    if (items <= 0 || items > kItemsMax)
      fail(ExitCode::input, where, ": 'shape' must be sizes from 1 whose product is at most ", kItemsMax);
    column.shape.push_back(size.get<std::int64_t>());
  }
  return column;
}

std::uint32_t parse_rows(const Json& json, const std::string& where) {
  const auto rows = json_get<std::uint64_t>(json, "rows", where);
  if (rows > kRowsMax) fail(ExitCode::input, where, ": ", rows, " rows are more than the ", kRowsMax, " allowed");
  return static_cast<std::uint32_t>(rows);
}

std::vector<std::string> parse_labels(const Json& json, const std::string& where) {
  std::vector<std::string> labels;
  if (!json.contains("labels")) return labels;
  for (const auto& label : member(json, "labels", Json::value_t::array, "a list of names", where)) {
    if (!label.is_string()) fail(ExitCode::input, where, ": 'labels' must be a list of names");
    labels.push_back(label.get<std::string>());
  }
  return labels;
}

std::int64_t parse_vocabulary(const Json& json, const std::string& where) {
  const auto found = json.find("vocabulary");
  if (found == json.end() || found->is_null()) return 0;
  const auto vocabulary = json_get<std::int64_t>(json, "vocabulary", where);
  if (vocabulary < 0) fail(ExitCode::input, where, ": 'vocabulary' must not be negative");
  return vocabulary;
}

void check_format(const Json& json, const std::string& where) {
  const auto format = json_get<std::string>(json, "format", where);
  if (format != "hopyard-dataset")
    fail(ExitCode::input, where, ": its format is ", printable(format),
         ", not 'hopyard-dataset'; make it with tools/prepare_text.py");
  const auto version = json_get<std::int64_t>(json, "version", where);
  if (version != 1) fail(ExitCode::input, where, ": has version ", version, "; this build reads version 1");
}

std::string show(const std::vector<std::int64_t>& shape) {
  std::vector<std::string> sizes;
  for (const std::int64_t size : shape) sizes.push_back(std::to_string(size));
  return "[" + text::join(sizes, ", ") + "]";
}

void check_column(const SafetensorsFile& part, const ColumnInfo& column, std::uint32_t rows) {
  const TensorInfo* tensor = part.find(column.name);
  if (tensor == nullptr) fail(ExitCode::input, part.path(), ": has no column ", printable(column.name));
  if (tensor->dtype != column.dtype)
    fail(ExitCode::input, part.path(), ": column ", printable(column.name), " is ", dtype_name(tensor->dtype),
         ", dataset.json says ", dtype_name(column.dtype));
  std::vector<std::int64_t> expected{rows};
  expected.insert(expected.end(), column.shape.begin(), column.shape.end());
  if (tensor->shape != expected)
    fail(ExitCode::input, part.path(), ": column ", printable(column.name), " has shape ", show(tensor->shape),
         ", dataset.json says ", show(expected));
}

}  // namespace

Dataset::Dataset(const std::string& folder) : folder_(folder) {
  const std::string file = folder + "/dataset.json";
  const Json json = read_json(file);
  check_format(json, file);
  rows_ = parse_rows(json, file);
  if (rows_ == 0) fail(ExitCode::input, file, ": the data set has no rows");
  for (const auto& [name, column] :
       member(json, "columns", Json::value_t::object, "an object of columns", file).items())
    columns_.push_back(parse_column(name, column, file));
  if (columns_.empty()) fail(ExitCode::input, file, ": the data set has no columns");
  label_names_ = parse_labels(json, file);
  vocabulary_ = parse_vocabulary(json, file);
  open_parts(json, file);
}

void Dataset::open_parts(const Json& json, const std::string& file) {
  std::uint64_t total = 0;
  std::set<std::string> seen;
  for (const auto& part : member(json, "parts", Json::value_t::array, "a list of parts", file)) {
    const auto name = json_get<std::string>(part, "file", file + ": a part");
    if (!is_plain_file_name(name)) fail(ExitCode::input, file, ": part ", printable(name), " leaves the folder");
    if (!seen.insert(name).second) fail(ExitCode::input, file, ": part ", printable(name), " is listed twice");
    const std::uint32_t rows = parse_rows(part, file + ": part " + printable(name));
    part_begin_.push_back(static_cast<std::uint32_t>(total));
    total += rows;
    if (total > rows_) break;
    part_end_.push_back(static_cast<std::uint32_t>(total));
    parts_.emplace_back(folder_ + "/" + name);
    for (const auto& column : columns_) check_column(parts_.back(), column, rows);
  }
  if (total != rows_)
    fail(ExitCode::input, file, ": claims ", rows_, " rows, but its parts have ", total > rows_ ? "at least " : "",
         total);
}

Dataset::Dataset(const std::string& name, std::uint32_t rows, std::span<const Piece> pieces)
    : folder_(name), rows_(rows) {
  require(!pieces.empty(), name, " is made of nothing");
  for (const Piece& piece : pieces) take_over(Dataset(piece.folder), piece);
}

void Dataset::take_over(Dataset piece, const Piece& place) {
  const bool first = parts_.empty();
  if (first) {
    columns_ = piece.columns_;
    label_names_ = piece.label_names_;
    vocabulary_ = piece.vocabulary_;
  }
  if (columns_ != piece.columns_ || label_names_ != piece.label_names_ || vocabulary_ != piece.vocabulary_)
    fail(ExitCode::input, place.folder, ": its columns, labels or vocabulary are not those of the others in ", folder_);
  require((first || place.first_row >= part_end_.back()) && piece.rows_ <= rows_ - place.first_row, place.folder,
          " begins at row ", place.first_row, " of ", rows_);
  for (std::size_t part = 0; part < piece.parts_.size(); ++part) {
    part_begin_.push_back(place.first_row + piece.part_begin_[part]);
    part_end_.push_back(place.first_row + piece.part_end_[part]);
    parts_.push_back(std::move(piece.parts_[part]));
  }
}

}  // namespace hopyard
