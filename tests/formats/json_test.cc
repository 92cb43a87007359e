#include "formats/json.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/rng.h"
#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"

namespace hopyard {
namespace {

using fakes::failure_of;
using testing::HasSubstr;
using testing::StartsWith;

TEST(Json, KeepsOrderAndTypes) {
  const Json json = parse_json(R"({"b": [1, -2, 2.5, true, null, "é\u00e9"], "a": {}})", "x.json");
  EXPECT_EQ(json.dump(), R"({"b":[1,-2,2.5,true,null,"éé"],"a":{}})");
  EXPECT_TRUE(json["b"][0].is_number_unsigned());
  EXPECT_TRUE(json["b"][2].is_number_float());
}

TEST(Json, KeepsTheWholeRangeOf64Bits) {
  const Json json = parse_json("[18446744073709551615, -9223372036854775808]", "x.json");
  EXPECT_EQ(json[0].get<std::uint64_t>(), 18446744073709551615ULL);
  EXPECT_EQ(json[1].get<std::int64_t>(), std::numeric_limits<std::int64_t>::min());
}

struct Bad {
  std::string text, message;
};

TEST(Json, RefusesWithPlaceAndReason) {
  const std::vector<Bad> table{
      {R"({"a": 1, "a": 2})", "x.json:1:16: key 'a' stands twice in the object that ends here"},
      {"{\n \"a\": {\"b\": 1,\n \"b\": 2}}", "x.json:3:8: key 'b' stands twice in the object that ends here"},
      {"[18446744073709551616]", "18446744073709551616 does not fit 64 bits"},
      {"[-9223372036854775809]", "-9223372036854775809 does not fit 64 bits"},
      {"[1e999]", "is not JSON: number overflow parsing '1e999'"},
      {"[NaN]", "x.json:1:2: is not JSON: syntax error while parsing value - invalid literal"},
      {"", "x.json:1:1: is not JSON: syntax error while parsing value - unexpected end of input"},
      {"{} {}", "x.json:1:4: is not JSON: syntax error while parsing value - unexpected '{'; expected end of input"},
      {"[1,]", "x.json:1:4: is not JSON: syntax error while parsing value - unexpected ']'"},
      {"[01]", "x.json:1:3: is not JSON"},
      {"// no\n1", "x.json:1:1: is not JSON"},
      {std::string("1\0 2", 4), "x.json:1:2: is not JSON: has a NUL byte"},
      {"[\"\xff\"]", "is not JSON: syntax error while parsing value - invalid string: ill-formed UTF-8 byte"},
      {"[\"\\ud800\"]", "is not JSON: syntax error while parsing value - invalid string: surrogate"},
  };
  for (const auto& bad : table) {
    const std::string message = failure_of(ExitCode::input, [&] { parse_json(bad.text, "x.json"); });
    EXPECT_THAT(message, StartsWith("x.json:")) << bad.text;
    EXPECT_THAT(message, HasSubstr(bad.message)) << bad.text;
  }
}

TEST(Json, BoundsDepthAndSize) {
  const std::string deep(1'000'000, '[');
  EXPECT_THAT(failure_of(ExitCode::input, [&] { parse_json(deep, "x"); }),
              HasSubstr("nested deeper than the 64 levels"));
  const std::string objects = [] {
    std::string text;
    for (int i = 0; i < 100'000; ++i) text += "{\"a\":";
    return text;
  }();
  EXPECT_THAT(failure_of(ExitCode::input, [&] { parse_json(objects, "x"); }), HasSubstr("nested deeper"));
  EXPECT_THAT(failure_of(ExitCode::input, [&] { parse_json("[1, 2, 3]", "x", {.depth = 2, .values = 3}); }),
              HasSubstr("more than the 3 values"));
  EXPECT_NO_THROW(parse_json("[1, 2, 3]", "x", {.depth = 1, .values = 4}));
}

TEST(Json, ManyKeysTakeNoQuadraticTime) {
  std::string text = "{";
  for (int i = 0; i < 300'000; ++i) text += (i ? ",\"k" : "\"k") + std::to_string(i) + "\":0";
  EXPECT_EQ(parse_json(text + "}", "x").size(), 300'000u);
}

TEST(Json, GetNamesKeyAndType) {
  const Json json = parse_json(R"({"rows": -1, "big": 18446744073709551615, "name": "n", "on": true, "rate": 2})", "x");
  EXPECT_EQ(json_get<std::int64_t>(json, "rows", "w"), -1);
  EXPECT_EQ(json_get<std::uint64_t>(json, "big", "w"), 18446744073709551615ULL);
  EXPECT_EQ(json_get<std::string>(json, "name", "w"), "n");
  EXPECT_TRUE(json_get<bool>(json, "on", "w"));
  EXPECT_EQ(json_get<double>(json, "rate", "w"), 2.0);
  EXPECT_EQ(json_get_or<double>(json, "none", 7, "w"), 7.0);

  const auto message = [&](auto call) { return failure_of(ExitCode::input, call); };
  EXPECT_EQ(message([&] { json_get<bool>(json, "none", "w"); }), "w: 'none' is missing");
  EXPECT_EQ(message([&] { json_get<bool>(json, "name", "w"); }), "w: 'name' must be true or false");
  EXPECT_EQ(message([&] { json_get<std::uint64_t>(json, "rows", "w"); }),
            "w: 'rows' must be a whole number that is not negative");
  EXPECT_EQ(message([&] { json_get<std::int64_t>(json, "big", "w"); }), "w: 'big' must be a whole number");
  EXPECT_EQ(message([&] { json_get<double>(json, "on", "w"); }), "w: 'on' must be a number");
  EXPECT_EQ(message([&] { json_get_or<std::string>(json, "rate", "", "w"); }), "w: 'rate' must be text");
  EXPECT_EQ(message([&] { json_get<bool>(Json::array(), "a", "w"); }), "w: must be an object that has 'a'");
  EXPECT_EQ(message([&] { json_get_or<bool>(Json(3), "a", true, "w"); }), "w: must be an object that has 'a'");
}

TEST(Json, ReadNamesTheFile) {
  const fakes::TemporaryFolder folder;
  const std::string path = folder.write("bad.json", "{\"a\": }");
  EXPECT_THAT(failure_of(ExitCode::input, [&] { read_json(path); }), StartsWith(path + ":1:7: is not JSON"));
  EXPECT_THAT(failure_of(ExitCode::input, [&] { read_json(folder / "none.json"); }), HasSubstr("none.json"));
}

TEST(Json, FlippedBytesReadOrFail) {
  const std::string good = R"({"a": [1, -2.5e3, "text \u00e9 é", {"b": null}], "c": true, "d": 18446744073709551615})";
  KeyedStream random(1);
  int refused = 0;
  for (int round = 0; round < 20'000; ++round) {
    std::string text = good;
    for (std::uint64_t flips = random.below(3) + 1; flips > 0; --flips)
      text[random.below(text.size())] = static_cast<char>(random.below(256));
    try {
      parse_json(text, "x");
    } catch (const Failure&) {
      ++refused;
    }
  }
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace hopyard
