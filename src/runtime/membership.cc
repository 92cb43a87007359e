#include "runtime/membership.h"

#include <algorithm>
#include <filesystem>

#include "base/environment.h"
#include "base/failure.h"
#include "base/files.h"
#include "base/nonce.h"
#include "data/partition_set.h"
#include "formats/keyed_hash.h"
#include "transport/sockets.h"

namespace hopyard {

namespace {

constexpr std::size_t kSecretBytes = 32;
constexpr std::size_t kSecretBytesMax = 4096;

bool is_here_alone(const std::string& host) {
  std::string ignored;
  const auto addresses = resolve(host, ignored);
  return !addresses.empty() && std::all_of(addresses.begin(), addresses.end(), is_loopback);
}

/// Whoever is on another machine can reach neither store nor links.
bool is_local(const WorkersSpec& spec, const LaunchSpec& launch) {
  return is_here_alone(spec.bind) && (launch.agent_hosts_store || is_here_alone(launch.master_address));
}

std::string without_line_end(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

}  // namespace

SharedSecret::SharedSecret(const WorkersSpec& spec, const LaunchSpec& launch, const RunPaths& paths) {
  value_ = environment_variable("HOPYARD_SECRET").value_or("");
  file_ = environment_variable("HOPYARD_SECRET_FILE").value_or(spec.secret_file);
  if (!value_.empty() || !file_.empty()) return;
  if (!is_local(spec, launch))
    fail(ExitCode::usage,
         "HOPYARD_SECRET is not set: workers of several machines know each other by it; set it, "
         "or HOPYARD_SECRET_FILE or workers.secret_file, to the same for all of them");
  file_ = paths.secret();
  in_directory_ = true;
}

void SharedSecret::make() const {
  if (in_directory_ && !std::filesystem::exists(file_))
    write_file_atomically(file_, random_hex(kSecretBytes) + "\n", FileAccess::owner);
}

std::string SharedSecret::read() const {
  if (!value_.empty()) return value_;
  if (in_directory_ && !std::filesystem::exists(file_)) return "";
  const std::string secret = without_line_end(read_file(file_, kSecretBytesMax));
  if (secret.empty()) fail(ExitCode::input, file_, ": is empty, and should hold the secret of the workers");
  return secret;
}

void check_bind(const WorkersSpec& spec) {
  std::string error;
  const auto hosts = resolve(spec.bind, error);
  if (!hosts.empty()) error = try_to_listen(hosts.front());
  if (error.empty()) return;
  fail(ExitCode::usage, "workers.bind: on ", spec.bind, " this machine cannot listen: ", error,
       "; name an address of its own that the other workers reach");
}

TransportOptions transport_options(const WorkersSpec& spec, const std::string& experiment) {
  TransportOptions options;
  options.membership.hash = keyed_hash;
  options.membership.version = HOPYARD_VERSION;
  options.membership.experiment = experiment;
  options.bind_address = spec.bind;
  return options;
}

std::string experiment_identity(const ExperimentConfig& config) {
  std::string identity = "config " + config_digest(config);
  bool cut = false;
  for (const auto& [key, folder] : {std::pair("data.train", config.data.train), {"data.valid", config.data.valid}}) {
    const bool is_cut = PartitionSet::is_one(folder);
    identity += text::cat(";", key, is_cut ? " cut as " + PartitionSet(folder).digest() : " not cut");
    cut = cut || is_cut;
  }
  // Who opens which partitions follows from the replication, too.
  const std::uint32_t replication = config.workers.replication;
  if (cut) identity += text::cat(";workers.replication ", replication == 0 ? "auto" : std::to_string(replication));
  // An end that speaks by NCCL waits for words that one without it does not say.
  identity += text::cat(";workers.links ", config.workers.links == WorkersSpec::Links::nccl ? "nccl" : "gloo");
  return identity;
}

}  // namespace hopyard
