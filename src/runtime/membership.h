// How workers of an experiment know each other: a secret, the version, and what the experiment is.
#pragma once

#include <functional>
#include <string>

#include "runtime/run_directory.h"
#include "transport/open.h"

namespace hopyard {

/// A secret that may change under whoever waits for the coordinator: rank 0 makes a new one for a new directory.
class SharedSecret {
 public:
  /// From HOPYARD_SECRET; else the file that HOPYARD_SECRET_FILE or workers.secret_file names; else, where everything
  /// is loopback, a file of the run directory that is its owner's alone. Failure(usage) where there is none of these.
  SharedSecret(const WorkersSpec& spec, const LaunchSpec& launch, const RunPaths& paths);
  /// Makes the file of the run directory if it is to be there and is not.
  void make() const;
  /// The secret; empty while the file of the run directory is not there. Failure(input) for a file that cannot be read.
  std::string read() const;

 private:
  std::string value_, file_;
  bool in_directory_ = false;  // file_ is in the run directory
};

/// Failure(usage) unless workers.bind is of this machine: where nobody can listen, no state arrives.
void check_bind(const WorkersSpec& spec);

/// All but the secret. `experiment`: what must be the same for all workers.
TransportOptions transport_options(const WorkersSpec& spec, const std::string& experiment);
/// Over config and data, in parts, so that who is turned away hears which differ.
std::string experiment_identity(const ExperimentConfig& config);

}  // namespace hopyard
