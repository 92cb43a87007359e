// `hopyard doctor`.
#include <iostream>

#include "runtime/actions.h"
#include "runtime/machine.h"

namespace hopyard {

namespace {

constexpr Bytes kComfortableMemory = 4 * GiB;

void line(const std::string& what, const std::string& found, const std::string& advice = "") {
  std::cout << what << std::string(what.size() < 16 ? 16 - what.size() : 1, ' ') << found << '\n';
  if (!advice.empty()) std::cout << std::string(16, ' ') << "→ " << advice << '\n';
}

void report_disk() {
  const char* const advice = "run in a folder where you may write, with 256 MiB free";
  try {
    const auto speed = probe_disk(".");
    if (!speed) return line("disk", "no space left in this folder", advice);
    const auto rate = [](double bytes_per_s) { return text::format_bytes(static_cast<Bytes>(bytes_per_s)) + "/s"; };
    line("disk",
         text::cat("reads ", rate(speed->read_bytes_per_s), ", writes ", rate(speed->write_bytes_per_s),
                   " durably, through RocksDB, in this folder"),
         speed->write_bytes_per_s < 100e6 ? "slow: put resources.disk.path on a local SSD" : "");
  } catch (const Failure& failure) {
    line("disk", failure.what(), advice);
  }
}

}  // namespace

ExitCode print_doctor() {
  const MachineFacts facts = machine_facts();
  line("libtorch", text::cat(facts.libtorch, ", kernels for ", facts.cpu_capability));
  line("cores", text::cat(facts.cores, ", ", facts.cpu.empty() ? "unknown processor" : facts.cpu),
       "give devices × threads at most so many in resources.devices");
  line("memory", text::cat(text::format_bytes(facts.memory), ", ", text::format_bytes(facts.memory_available), " free"),
       facts.memory_available < kComfortableMemory ? "keep resources.host_memory well below what is free" : "");
  line("CUDA toolkit", facts.cuda_toolkit ? "found" : "not found",
       facts.cuda_toolkit ? "" : "not needed: this version computes on the CPU");
  line("GPUs", facts.gpus > 0 ? std::to_string(facts.gpus) : "none",
       facts.gpus > 0 ? "this version does not use them yet; devices of type cpu and emulated work"
                      : "devices of type cpu and emulated work without one");
  report_disk();
  return ExitCode::done;
}

}  // namespace hopyard
