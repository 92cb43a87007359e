// Predictions as files: what is written is read, and nothing that lies is.
#include "runtime/predictions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/failure.h"
#include "fakes/failure_of.h"
#include "fakes/temporary_folder.h"
#include "formats/safetensors.h"

namespace hopyard {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

const std::string kDigest = "00112233445566778899aabbccddeeff", kOther = "ffeeddccbbaa99887766554433221100";

RowOutcomes classified() {
  RowOutcomes rows;
  rows.losses = {0.5f, 1.25f};
  rows.correct = {1, 0};
  rows.predicted = {2, 0};
  rows.labels = {2, 1};
  rows.width = 3;
  rows.values = {0.1f, 0.2f, 0.7f, 0.6f, 0.3f, 0.1f};
  return rows;
}

RowOutcomes measured() {
  RowOutcomes rows;
  rows.losses = {0.25f, 4, 0};
  rows.width = 1;
  rows.values = {0.5f, -1, 3};
  rows.targets = {1, 1, 3};
  return rows;
}

RowOutcomes of_tokens() {
  RowOutcomes rows;
  rows.losses = {2.5f, 3};
  rows.correct = {0.25f, 0.5f};
  return rows;
}

class PredictionsTest : public ::testing::Test {
 protected:
  fakes::TemporaryFolder folder_;
  const std::string path_ = predictions_path(folder_ / "trials", "t00.s1", 3);
};

TEST_F(PredictionsTest, AreReadAsTheyWereWritten) {
  EXPECT_TRUE(path_.ends_with("/trials/t00.s1/predictions-3.safetensors"));
  for (const RowOutcomes& rows : {classified(), measured(), of_tokens()}) {
    write_predictions(path_, kDigest, rows);
    EXPECT_EQ(read_predictions(path_, kDigest), rows);
  }
}

TEST_F(PredictionsTest, AreSafetensorsThatOthersRead) {
  write_predictions(path_, kDigest, classified());
  const SafetensorsFile file(path_);
  std::vector<std::string> names;
  for (const auto& tensor : file.tensors()) names.push_back(tensor.name + " " + dtype_name(tensor.dtype));
  EXPECT_THAT(names, testing::ElementsAre("correct F32", "digest U8", "labels I64", "loss F32", "predicted I64",
                                          "probabilities F32"));
  EXPECT_EQ(file.find("probabilities")->shape, (std::vector<std::int64_t>{2, 3}));
}

TEST_F(PredictionsTest, OfOtherParametersAreNone) {
  EXPECT_EQ(read_predictions(path_, kDigest), std::nullopt);
  write_predictions(path_, kDigest, classified());
  EXPECT_EQ(read_predictions(path_, kOther), std::nullopt);
}

TEST_F(PredictionsTest, DamagedOnesAreASentence) {
  RowOutcomes torn = classified();
  torn.labels.pop_back();
  write_predictions(path_, kDigest, torn);
  EXPECT_THAT(fakes::failure_of(ExitCode::input, [&] { read_predictions(path_, kDigest); }),
              HasSubstr("has tensors of 2 and of 1 rows"));
  std::ofstream(path_, std::ios::trunc) << "not tensors at all";
  EXPECT_THAT(fakes::failure_of(ExitCode::input, [&] { read_predictions(path_, kDigest); }), HasSubstr(path_));
}

TEST_F(PredictionsTest, TwoFilesATrialAreKept) {
  const auto keep = [&](const Epochs& epoch) {
    keep_predictions(folder_ / "trials", {"t00.s1", epoch, 0, 0, 0, kDigest}, classified());
  };
  const Epochs quarter = Epochs::of_visits(1, 4);
  for (const Epochs epoch : {quarter, Epochs(1), quarter * 9, Epochs(4)}) keep(epoch);
  std::vector<std::string> left;
  for (const auto& entry : fs::directory_iterator(folder_ / "trials/t00.s1"))
    left.push_back(entry.path().filename().string());
  EXPECT_THAT(left, testing::UnorderedElementsAre("predictions-2.25.safetensors", "predictions-4.safetensors"))
      << "until epoch 4 is committed, epoch 2.25 is the last one";
}

}  // namespace
}  // namespace hopyard
