#include "transport/launch.h"

#include <gtest/gtest.h>

#include <map>

#include "fakes/failure_of.h"

namespace hopyard {
namespace {

using Variables = std::map<std::string, std::string>;

LaunchSpec read(const Variables& variables) {
  return read_launch([&](const char* name) {
    const auto found = variables.find(name);
    return found == variables.end() ? std::nullopt : std::optional(found->second);
  });
}

std::string refusal(const Variables& variables) {
  return fakes::failure_of(ExitCode::usage, [&] { read(variables); });
}

TEST(Launch, NoVariablesAreOneWorker) { EXPECT_EQ(read({}), LaunchSpec{}); }

TEST(Launch, PlainVariables) {
  EXPECT_EQ(read({{"RANK", "1"}, {"WORLD_SIZE", "3"}, {"MASTER_ADDR", "10.0.0.1"}, {"MASTER_PORT", "29500"}}),
            (LaunchSpec{.rank = 1, .world_size = 3, .master_address = "10.0.0.1", .master_port = 29500}));
}

TEST(Launch, TorchrunsAgent) {
  const auto spec = read({{"RANK", "0"},
                          {"WORLD_SIZE", "2"},
                          {"LOCAL_RANK", "0"},
                          {"MASTER_ADDR", "localhost"},
                          {"MASTER_PORT", "29500"},
                          {"TORCHELASTIC_USE_AGENT_STORE", "True"},
                          {"TORCHELASTIC_RESTART_COUNT", "2"}});
  EXPECT_TRUE(spec.agent_hosts_store);
  EXPECT_EQ(spec.restarts, 2u);
}

TEST(Launch, Srun) {
  const Variables srun{{"SLURM_PROCID", "3"},
                       {"SLURM_STEP_NUM_TASKS", "4"},
                       {"SLURM_LOCALID", "1"},
                       {"SLURM_STEP_NODELIST", "gpu[03-04,9]"},
                       {"SLURM_JOB_ID", "1234567"}};
  EXPECT_EQ(read(srun), (LaunchSpec{.rank = 3,
                                    .world_size = 4,
                                    .local_rank = 1,
                                    .master_address = "gpu03",
                                    .master_port = 20000 + 1234567 % 20000}));
  auto told = srun;
  told["MASTER_ADDR"] = "10.0.0.1";
  told["MASTER_PORT"] = "5000";
  EXPECT_EQ(read(told).master_address, "10.0.0.1");
  EXPECT_EQ(read(told).master_port, 5000);
  told["RANK"] = "0";
  told["WORLD_SIZE"] = "1";
  EXPECT_EQ(read(told).world_size, 1u) << "torchrun's variables go before srun's";
}

TEST(Launch, FirstNodeOfAList) {
  for (const auto& [list, first] : Variables{{"a,b", "a"}, {"a", "a"}, {"a,b[1-2]", "a"}, {"n[7]", "n7"}}) {
    EXPECT_EQ(read({{"SLURM_PROCID", "0"},
                    {"SLURM_STEP_NUM_TASKS", "2"},
                    {"SLURM_STEP_NODELIST", list},
                    {"SLURM_JOB_ID", "1"}})
                  .master_address,
              first);
  }
}

TEST(Launch, WhatIsAtOddsIsASentence) {
  EXPECT_EQ(refusal({{"RANK", "1"}}), "RANK is set and WORLD_SIZE is not: set both, or neither for one worker");
  EXPECT_EQ(refusal({{"WORLD_SIZE", "2"}}), "WORLD_SIZE is set and RANK is not: set both, or neither for one worker");
  const Variables whole{{"RANK", "1"}, {"WORLD_SIZE", "2"}, {"MASTER_ADDR", "localhost"}, {"MASTER_PORT", "29500"}};
  const auto with = [&](const std::string& name, const std::string& value) {
    auto changed = whole;
    changed[name] = value;
    return refusal(changed);
  };
  EXPECT_NE(with("RANK", "2").find("rank 2 of 2 workers"), std::string::npos);
  EXPECT_EQ(with("RANK", "-1"), "RANK=-1 is no whole number from 0 to 65535");
  EXPECT_EQ(with("WORLD_SIZE", "2x"), "WORLD_SIZE=2x is no whole number from 1 to 65536");
  EXPECT_EQ(with("MASTER_PORT", "70000"), "MASTER_PORT=70000 is no whole number from 1 to 65535");
  EXPECT_EQ(with("TORCHELASTIC_USE_AGENT_STORE", "1"), "TORCHELASTIC_USE_AGENT_STORE=1 is neither True nor False");
  EXPECT_EQ(with("MASTER_ADDR", ""), "WORLD_SIZE=2 needs MASTER_ADDR, so that the workers find each other");
  EXPECT_EQ(with("MASTER_PORT", ""), "WORLD_SIZE=2 needs MASTER_PORT, so that the workers find each other");
}

}  // namespace
}  // namespace hopyard
