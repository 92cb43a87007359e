// How this process was started as one of several workers: torchrun's variables, srun's, or none.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

namespace hopyard {

/// What the launch variables say, checked. A process that was started plainly is the one worker of its experiment.
struct LaunchSpec {
  std::uint32_t rank = 0, world_size = 1, local_rank = 0;
  /// Where workers meet: the address and port of rank 0's store, or of the agent's. Port 0: any that is free.
  std::string master_address = "127.0.0.1";
  std::uint16_t master_port = 0;
  /// Under torchrun, whose agent has a store of its own at the master's address: it is used to tell where ours is.
  bool agent_hosts_store = false;
  /// How often the agent has restarted the workers: what an earlier start told its store is not read again.
  std::uint32_t restarts = 0;
  bool operator==(const LaunchSpec&) const = default;
};

/// The value of a variable; nothing where it is not set.
using LaunchVariables = std::function<std::optional<std::string>(const char*)>;

/// Reads RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_USE_AGENT_STORE and
/// TORCHELASTIC_RESTART_COUNT; where RANK and WORLD_SIZE are both missing, what srun sets for a step
/// (SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID; the first node of SLURM_STEP_NODELIST and a port that follows
/// from SLURM_JOB_ID, unless MASTER_ADDR and MASTER_PORT are set). Failure(usage) names the variable that is no
/// number, out of range, missing or at odds with another.
LaunchSpec read_launch(const LaunchVariables& variables);
/// The same from the environment of this process.
LaunchSpec read_launch();

}  // namespace hopyard
