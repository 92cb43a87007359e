#include "transport/launch.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <limits>

#include "base/environment.h"
#include "base/failure.h"

namespace hopyard {
namespace {

constexpr std::uint32_t kMaxWorldSize = 65536;
constexpr std::uint32_t kFirstDerivedPort = 20000, kDerivedPorts = 20000;

class Reader {
 public:
  explicit Reader(const LaunchVariables& variables) : variables_(variables) {}

  std::optional<std::string> text(const char* name) const {
    auto value = variables_(name);
    return value && value->empty() ? std::nullopt : value;
  }

  std::optional<std::uint32_t> number(const char* name, std::uint32_t least, std::uint32_t most) const {
    const auto value = text(name);
    if (!value) return std::nullopt;
    std::uint32_t number = 0;
    const auto [end, error] = std::from_chars(value->data(), value->data() + value->size(), number);
    if (error != std::errc() || end != value->data() + value->size() || number < least || number > most) {
      fail(ExitCode::usage, name, "=", *value, " is no whole number from ", least, " to ", most);
    }
    return number;
  }

  std::uint32_t needed(const char* name, std::uint32_t least, std::uint32_t most, const char* beside) const {
    const auto value = number(name, least, most);
    if (!value) fail(ExitCode::usage, beside, " is set and ", name, " is not: set both, or neither for one worker");
    return *value;
  }

 private:
  const LaunchVariables& variables_;
};

// "gpu[03-07,12],login1" → "gpu03".
std::string first_node(const std::string& list) {
  const auto bracket = list.find('['), comma = list.find(',');
  if (bracket == std::string::npos || comma < bracket) return list.substr(0, comma);
  const auto end = list.find_first_of(",-]", bracket);
  return list.substr(0, bracket) + list.substr(bracket + 1, end == std::string::npos ? end : end - bracket - 1);
}

void read_master(const Reader& reader, LaunchSpec& spec) {
  if (const auto address = reader.text("MASTER_ADDR")) spec.master_address = *address;
  const auto port = reader.number("MASTER_PORT", 1, std::numeric_limits<std::uint16_t>::max());
  if (port) spec.master_port = static_cast<std::uint16_t>(*port);
}

LaunchSpec read_torchrun(const Reader& reader) {
  LaunchSpec spec;
  spec.world_size = reader.needed("WORLD_SIZE", 1, kMaxWorldSize, "RANK");
  spec.rank = reader.needed("RANK", 0, kMaxWorldSize - 1, "WORLD_SIZE");
  spec.local_rank = reader.number("LOCAL_RANK", 0, kMaxWorldSize - 1).value_or(0);
  spec.restarts = reader.number("TORCHELASTIC_RESTART_COUNT", 0, std::numeric_limits<std::uint32_t>::max()).value_or(0);
  const auto agent = reader.text("TORCHELASTIC_USE_AGENT_STORE");
  if (agent && *agent != "True" && *agent != "False") {
    fail(ExitCode::usage, "TORCHELASTIC_USE_AGENT_STORE=", *agent, " is neither True nor False");
  }
  spec.agent_hosts_store = agent == "True";
  read_master(reader, spec);
  const bool several = spec.world_size > 1 || spec.agent_hosts_store;
  for (const char* name : {"MASTER_ADDR", "MASTER_PORT"}) {
    if (several && !reader.text(name)) {
      fail(ExitCode::usage, "WORLD_SIZE=", spec.world_size, " needs ", name, ", so that the workers find each other");
    }
  }
  return spec;
}

LaunchSpec read_srun(const Reader& reader) {
  LaunchSpec spec;
  spec.world_size = *reader.number("SLURM_STEP_NUM_TASKS", 1, kMaxWorldSize);
  spec.rank = reader.needed("SLURM_PROCID", 0, kMaxWorldSize - 1, "SLURM_STEP_NUM_TASKS");
  spec.local_rank = reader.number("SLURM_LOCALID", 0, kMaxWorldSize - 1).value_or(0);
  if (spec.world_size > 1) {
    const auto nodes = reader.text("SLURM_STEP_NODELIST");
    const auto job = reader.number("SLURM_JOB_ID", 0, std::numeric_limits<std::uint32_t>::max());
    if (!reader.text("MASTER_ADDR") && !nodes)
      fail(ExitCode::usage, "srun set no SLURM_STEP_NODELIST: set MASTER_ADDR");
    if (!reader.text("MASTER_PORT") && !job) fail(ExitCode::usage, "srun set no SLURM_JOB_ID: set MASTER_PORT");
    if (nodes) spec.master_address = first_node(*nodes);
    if (job) spec.master_port = static_cast<std::uint16_t>(kFirstDerivedPort + *job % kDerivedPorts);
  }
  read_master(reader, spec);
  return spec;
}

}  // namespace

LaunchSpec read_launch(const LaunchVariables& variables) {
  const Reader reader(variables);
  LaunchSpec spec;
  if (reader.text("RANK") || reader.text("WORLD_SIZE")) {
    spec = read_torchrun(reader);
  } else if (reader.text("SLURM_STEP_NUM_TASKS")) {
    spec = read_srun(reader);
  }
  if (spec.rank >= spec.world_size) {
    fail(ExitCode::usage, "rank ", spec.rank, " of ", spec.world_size, " workers: ranks begin at 0, so the last is ",
         spec.world_size - 1, "; see RANK and WORLD_SIZE (or srun's SLURM_PROCID and SLURM_STEP_NUM_TASKS)");
  }
  return spec;
}

LaunchSpec read_launch() { return read_launch(environment_variable); }

}  // namespace hopyard
