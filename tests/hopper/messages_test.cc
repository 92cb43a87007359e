// Messages come back as they were sent, to the last bit, and what is none is a sentence.
#include "hopper/messages.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <limits>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

const std::string kHostile = std::string("\0 \x01 \\ \" \n \t } ] </script> ü 漢 ", 32) + "\xf0\x9f\x98\x80";

TrialSpec spec() {
  TrialSpec spec;
  spec.id = "t01.s2r1";
  spec.index = 4294967295u;
  spec.seed = 18446744073709551615u;
  spec.settings = {{"model.flag", true},
                   {"model.whole", std::int64_t{-9223372036854775807 - 1}},
                   {"train.optimizer.lr", 0.1 + 0.2},
                   {"train.one", 1.0},
                   {"train.zero", -0.0},
                   {"train.tiny", 5e-324},
                   {"train.text", kHostile}};
  spec.lineage = Lineage{"t00", 3};
  spec.replicate = Replicate{kHostile, 2, 1, -(std::int64_t{1} << 40)};
  return spec;
}

RowOutcomes rows() { return {{0.1f, 2e-38f}, {1, 0}, {-1, 1ll << 62}, 2, {0.25f, 0.75f, 1, 0}, {0, 1}, {1.5f, -2}}; }

Trained trained() {
  Trained trained;
  trained.commit = {"t01",   3,  2,      7,  1ull << 63,
                    1.0 / 3, 12, "00ff", {}, TrialScore{"t01", Epochs::of_visits(15, 4), 0.1, 0.2, 0.3, "00ff"},
                    1e-3};
  trained.blobs = {{0, 0, 0}, {1, 1ull << 40, 0}, {7, 12, 0}};
  trained.curve = {{1, 0.1}, {2, 1e300}};
  trained.rows = rows();
  return trained;
}

std::vector<ToWorker> to_worker() {
  Hop hop{
      std::numeric_limits<std::uint64_t>::max(), true, {3, 1ull << 63}, "t02", 9, "abc", {{0, 0, 0}, {4, 5, 0}}, true};
  Train train{1ull << 63, spec(), {{"train.optimizer.lr", 3e-5}}, 7, "ab", 2, true, 1ull << 60, -0.125, 1e17, {}};
  Train together = train, judged = train;
  judged.judge_on = {0, 4294967295u};
  together.team = Team{1ull << 63, {{0, 1}, {4294967295u, 1ull << 63}}, 1, DataParallelSpec::Sum::all_reduce};
  return {train,
          together,
          judged,
          Train(),
          Abandon{kHostile},
          hop,
          Hop(),
          Keep{"t00", 4},
          Share{"t00", "t09", 12},
          CallOff{18446744073709551615u},
          Finish{true},
          Finish()};
}

std::vector<ToCoordinator> to_coordinator() {
  Trained bare = trained();
  bare.commit.score.reset();
  bare.rows.reset();
  return {Hello(),
          Hello{{{"t00", 1, "ab", {{0, 8, 0}}}, {"t00", 2, "cd", {}}}},
          trained(),
          bare,
          Trained(),
          TrainedPart{5, "t01", {{3, 0.5}}, rows()},
          TrainedPart(),
          Missing{7, "t03"},
          Evaluated{11, "t03", {{2, {{0.1, 3, 0, 4}, trained().rows.value()}}, {5, {{1, 0, 2, 1}, {}}}}},
          Failed{9, "t03", kHostile, true},
          Parted{9, "t03", kHostile},
          HopEnd{5, true, "ff", kHostile, true, true, 0.25},
          Progress{{{"t00", 0.5, 1.25}, {"t01", 0, 0}}, {{"cpu:0", "t00/s1/forward", 3.5}}},
          Progress(),
          Broken{kHostile, ExitCode::capacity},
          Account{1ull << 50,
                  1ull << 55,
                  2.5,
                  1.5,
                  0.1,
                  0.2,
                  77,
                  1ull << 60,
                  3,
                  1ull << 40,
                  {{"emulated:0", 1.5, {{"load", 0.5}, {"no work", 0.1}}, 9, 1ull << 40, 12, 1ull << 41, 3}, {}}},
          Account()};
}

TEST(Messages, EachComesBackAsItWasSent) {
  for (const auto& message : to_worker()) {
    const std::string text = encode(message);
    EXPECT_EQ(decode_to_worker(text, "rank 0"), message) << text;
  }
  for (const auto& message : to_coordinator()) {
    const std::string text = encode(message);
    EXPECT_EQ(decode_to_coordinator(text, "rank 1"), message) << text;
  }
}

TEST(Messages, NumbersThatAreNotFiniteKeepTheirBits) {
  const double values[] = {std::numeric_limits<double>::infinity(), -std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN(), std::bit_cast<double>(0xfff8dead00000001)};
  for (const double value : values) {
    Trained sent = trained();
    sent.commit.loss_sum = sent.commit.score->metric = sent.curve[0].loss = value;
    sent.rows->losses[0] = static_cast<float>(value);
    const auto got = std::get<Trained>(decode_to_coordinator(encode(sent), "rank 1"));
    for (const double same : {got.commit.loss_sum, got.commit.score->metric, got.curve[0].loss})
      EXPECT_EQ(std::bit_cast<std::uint64_t>(same), std::bit_cast<std::uint64_t>(value));
    EXPECT_EQ(std::bit_cast<std::uint32_t>(got.rows->losses[0]),
              std::bit_cast<std::uint32_t>(static_cast<float>(value)));
    Train train;
    train.settings = {{"x", value}};
    const auto back = std::get<Train>(decode_to_worker(encode(train), "rank 0"));
    EXPECT_EQ(std::bit_cast<std::uint64_t>(std::get<double>(back.settings[0].value)),
              std::bit_cast<std::uint64_t>(value));
  }
}

TEST(Messages, VersionsAndTheStatesOfACommitStayAtHome) {
  Trained sent = trained();
  sent.blobs[0].version = 9;
  sent.commit.state = {{0, 9}};
  EXPECT_EQ(decode_to_coordinator(encode(sent), "rank 1"), ToCoordinator(trained()));
}

TEST(Messages, TextThatIsNoUtf8IsSentAsFarAsItIs) {
  const auto back = decode_to_coordinator(encode(Broken{"disk \xff full", ExitCode::input}), "rank 1");
  EXPECT_EQ(std::get<Broken>(back).sentence, "disk \xef\xbf\xbd full");
}

TEST(Messages, WhatIsNoMessageIsASentenceThatNamesWhoSaidIt) {
  const struct {
    const char *text, *says;
  } cases[] = {
      {"", "is not JSON"},
      {"[]", "one message"},
      {"{}", "one message"},
      {R"({"keep":{"trial":"t","visits":1},"finish":{"interrupted":true}})", "one message"},
      {R"({"trained":{}})", "nobody expects"},
      {R"({"keep":7})", "must be an object"},
      {R"({"keep":{"trial":"t"}})", "'visits' is missing"},
      {R"({"keep":{"trial":7,"visits":1}})", "'trial' must be text"},
      {R"({"keep":{"trial":"t","visits":-1}})", "'visits' must be a whole number"},
      {R"({"keep":{"trial":"t","visits":4294967296}})", "'visits' must be a whole number"},
      {R"({"keep":{"trial":"t","visits":1,"more":1}})", "more than the 2 fields"},
      {R"({"keep":{"trial":"t","visits":1,"visits":1}})", "twice"},
      {R"({"finish":{"interrupted":1}})", "'interrupted' must be true or false"},
  };
  for (const auto& one : cases) {
    const auto sentence = fakes::failure_of(ExitCode::input, [&] { decode_to_worker(one.text, "rank 0"); });
    EXPECT_NE(sentence.find(one.says), std::string::npos) << sentence;
    EXPECT_NE(sentence.find("rank 0"), std::string::npos) << sentence;
  }
}

TEST(Messages, BlobsAreInOrderAndTheirBytesCanBeAdded) {
  const auto refused = [](const char* blobs) {
    const std::string text =
        text::cat(R"({"hello":{"held":[{"trial":"t","visits":1,"digest":"","blobs":)", blobs, "}]}}");
    return fakes::failure_of(ExitCode::input, [&] { decode_to_coordinator(text, "rank 1"); });
  };
  EXPECT_NE(refused("[[1,2],[1,2]]").find("out of order"), std::string::npos);
  EXPECT_NE(refused("[[2,2],[1,2]]").find("out of order"), std::string::npos);
  EXPECT_NE(refused("[[1,9223372036854775807],[2,1]]").find("more bytes"), std::string::npos);
  EXPECT_NE(refused("[[1,-2]]").find("pairs"), std::string::npos);
  EXPECT_NE(refused("[[1]]").find("pairs"), std::string::npos);
  EXPECT_NE(refused("{}").find("list"), std::string::npos);
}

TEST(Messages, WhatAJournalWouldNotTakeIsRefusedFromAPeer) {
  const auto refused = [](Trained sent) {
    return fakes::failure_of(ExitCode::input, [&] { decode_to_coordinator(encode(sent), "rank 1"); });
  };
  Trained one = trained();
  one.commit.score->trial = "t02";
  EXPECT_NE(refused(one).find("another trial's"), std::string::npos);
  for (const char* epochs : {"[15,0]", "[15]", "3.75", "[-1,4]"}) {
    std::string text = encode(trained());
    text.replace(text.find("[15,4]"), 6, epochs);
    EXPECT_NE(fakes::failure_of(ExitCode::input, [&] { decode_to_coordinator(text, "rank 1"); }).find("'epoch'"),
              std::string::npos)
        << epochs;
  }
  one = trained();
  one.curve[1].step = 1;
  EXPECT_NE(refused(one).find("out of order"), std::string::npos);
  one = trained();
  one.rows->values.pop_back();
  EXPECT_NE(refused(one).find("numbers of rows"), std::string::npos);
}

/// Cut anywhere, a message is refused, and nothing else happens.
TEST(Messages, ATornMessageIsRefused) {
  for (const auto& message : to_coordinator()) {
    const std::string text = encode(message);
    for (std::size_t length = 0; length < text.size(); ++length)
      fakes::failure_of(ExitCode::input, [&] { decode_to_coordinator(text.substr(0, length), "rank 1"); });
  }
}

}  // namespace
}  // namespace hopyard
