#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "base/rng.h"
#include "data/data_folder.h"
#include "data/dataset.h"
#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using testing::HasSubstr;

struct BadJson {
  std::string pointer, value, message;  // what stands at the JSON pointer; "" as value: it is erased
};

Json spoiled(const BadJson& bad) {
  const Json::json_pointer at(bad.pointer);
  Json json = fakes::DataFolder::json();
  if (bad.value.empty())
    json.at(at.parent_pointer()).erase(at.back());
  else
    json[at] = parse_json(bad.value, "table");
  return json;
}

TEST(DatasetHostile, RefusesBadClaims) {
  const std::vector<BadJson> table{
      {"", "[]", "dataset.json: must be an object that has 'format'"},
      {"/format", "", "dataset.json: 'format' is missing"},
      {"/format", "\"arrow\"", "its format is 'arrow', not 'hopyard-dataset'; make it with tools/prepare_text.py"},
      {"/version", "2", "has version 2; this build reads version 1"},
      {"/rows", "", "dataset.json: 'rows' is missing"},
      {"/rows", "-5", "'rows' must be a whole number that is not negative"},
      {"/rows", "5.5", "'rows' must be a whole number"},
      {"/rows", "0", "the data set has no rows"},
      {"/rows", "4294967296", "4294967296 rows are more than the 4294967294 allowed"},
      {"/rows", "6", "claims 6 rows, but its parts have 5"},
      {"/rows", "4", "claims 4 rows, but its parts have at least 5"},
      {"/columns", "", "'columns' must be an object of columns"},
      {"/columns", "[]", "'columns' must be an object of columns"},
      {"/columns", "{}", "the data set has no columns"},
      {"/columns/ids/dtype", "\"I33\"", "column 'ids': unknown dtype 'I33'"},
      {"/columns/ids/dtype", "\"I64\"", "part-00000.safetensors: column 'ids' is I32, dataset.json says I64"},
      {"/columns/ids/shape", "[3]", "column 'ids' has shape [3, 2], dataset.json says [3, 3]"},
      {"/columns/ids/shape", "[0]", "column 'ids': 'shape' must be sizes from 1"},
      {"/columns/ids/shape", "[-2]", "column 'ids': 'shape' must be sizes from 1"},
      {"/columns/ids/shape", "[1073741824, 2]",
       "column 'ids': 'shape' must be sizes from 1 whose product is at most 1073741824"},
      {"/columns/ids/shape", "[18446744073709551615]", "column 'ids': 'shape' must be sizes from 1"},
      {"/columns/ids/shape", "2", "column 'ids': 'shape' must be a list"},
      {"/columns/text", R"({"dtype": "U8", "shape": []})", "part-00000.safetensors: has no column 'text'"},
      {"/labels", "[1]", "'labels' must be a list of names"},
      {"/labels", "{}", "'labels' must be a list of names"},
      {"/vocabulary", "-1", "'vocabulary' must not be negative"},
      {"/vocabulary", "\"x\"", "'vocabulary' must be a whole number"},
      {"/parts", "", "'parts' must be a list of parts"},
      {"/parts", "[]", "claims 5 rows, but its parts have 0"},
      {"/parts/0", "3", "a part: must be an object that has 'file'"},
      {"/parts/0/file", "\"../x.safetensors\"", "part '../x.safetensors' leaves the folder"},
      {"/parts/0/file", "\"/etc/passwd\"", "part '/etc/passwd' leaves the folder"},
      {"/parts/0/file", "\"none.safetensors\"", "none.safetensors: cannot open it: No such file"},
      {"/parts/1/file", "\"part-00000.safetensors\"", "part 'part-00000.safetensors' is listed twice"},
      {"/parts/1/rows", "1", "column 'ids' has shape [2, 2], dataset.json says [1, 2]"},
      {"/parts/1/rows", "18446744073709551615", "are more than the 4294967294 allowed"},
  };
  const fakes::DataFolder folder;
  for (const auto& bad : table) {
    folder.write_json(spoiled(bad));
    const std::string message = failure_of(ExitCode::input, [&] { Dataset{folder.path()}; });
    EXPECT_THAT(message, HasSubstr(folder.path())) << bad.pointer << " = " << bad.value;
    EXPECT_THAT(message, HasSubstr(bad.message)) << bad.pointer << " = " << bad.value;
  }
}

TEST(DatasetHostile, RefusesUnequalColumns) {
  const fakes::DataFolder folder;
  folder.write_part("part-00001.safetensors", 3, 2, 1);
  EXPECT_THAT(failure_of(ExitCode::input, [&] { Dataset{folder.path()}; }),
              HasSubstr("part-00001.safetensors: column 'labels' has shape [1], dataset.json says [2]"));
}

TEST(DatasetHostile, RefusesTruncatedAndMissingFiles) {
  const fakes::DataFolder folder;
  const std::string part = folder / "part-00001.safetensors";
  std::filesystem::resize_file(part, std::filesystem::file_size(part) - 1);
  EXPECT_THAT(failure_of(ExitCode::input, [&] { Dataset{folder.path()}; }), HasSubstr("(truncated?)"));
  std::filesystem::remove(folder / "dataset.json");
  EXPECT_THAT(failure_of(ExitCode::input, [&] { Dataset{folder.path()}; }), HasSubstr("dataset.json: cannot open it"));
}

TEST(DatasetHostile, FlippedBytesReadOrFail) {
  const fakes::DataFolder folder;
  const std::string good = fakes::DataFolder::json().dump();
  KeyedStream random(11);
  const std::string alphabet = "0123456789,:\"[]{}-.";
  int refused = 0;
  for (int round = 0; round < 1500; ++round) {
    std::string text = good;
    for (std::uint64_t flips = random.below(3) + 1; flips > 0; --flips)
      text[random.below(text.size())] = alphabet[random.below(alphabet.size())];
    folder.folder().write("dataset.json", text);
    try {
      const Dataset data(folder.path());
      for (const auto& column : data.columns())
        if (column.dtype != Dtype::f16) data.check_range(column.name, data.rows(), -1'000'000, 1'000'000);
    } catch (const Failure& failure) {
      EXPECT_EQ(failure.code(), ExitCode::input);
      ++refused;
    }
  }
  EXPECT_GT(refused, 500);
}

}  // namespace
}  // namespace hopyard
