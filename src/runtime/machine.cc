#include "runtime/machine.h"

#include <ATen/Version.h>
#include <pwd.h>
#include <torch/version.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <thread>

#include "base/clock.h"
#include "base/text.h"

namespace hopyard {

namespace {

constexpr Bytes kProbeBytes = 32 * MiB, kProbeCapacity = 256 * MiB;

struct ProbeFolder {
  const std::string path;
  ~ProbeFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

std::string value_after(const char* file, const std::string& key) {
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(key)) continue;
    const auto colon = line.find(':');
    const auto begin = line.find_first_not_of(" \t", colon + 1);
    return begin == std::string::npos ? "" : line.substr(begin);
  }
  return "";
}

Bytes kilobytes(const std::string& text) { return text.empty() ? 0 : std::stoull(text) * KiB; }

}  // namespace

MachineFacts machine_facts() {
  MachineFacts facts;
  facts.cpu = value_after("/proc/cpuinfo", "model name");
  facts.cores = std::max(1u, std::thread::hardware_concurrency());
  facts.libtorch = TORCH_VERSION;
  facts.cpu_capability = at::get_cpu_capability();
  facts.memory = kilobytes(value_after("/proc/meminfo", "MemTotal"));
  facts.memory_available = kilobytes(value_after("/proc/meminfo", "MemAvailable"));
  std::error_code ignored;
  for (int i = 0; std::filesystem::exists(text::cat("/dev/nvidia", i), ignored); ++i) facts.gpus = i + 1;
  return facts;
}

std::vector<std::string> describe(const MachineFacts& facts) {
  return {text::cat(facts.cores, " cores, ", facts.cpu.empty() ? "unknown processor" : facts.cpu),
          text::cat(text::format_bytes(facts.memory), " memory"),
          text::cat("libtorch ", facts.libtorch, " (", facts.cpu_capability, ")"),
          facts.gpus > 0 ? text::cat(facts.gpus, facts.gpus == 1 ? " GPU" : " GPUs") : "no GPU"};
}

std::optional<DiskSpeed> measure_disk(DiskTier& disk) try {
  auto free_aligned = [](std::byte* data) { std::free(data); };
  const std::unique_ptr<std::byte, decltype(free_aligned)> data(
      static_cast<std::byte*>(std::aligned_alloc(4096, kProbeBytes)), free_aligned);
  for (Bytes i = 0; i < kProbeBytes; ++i) data.get()[i] = static_cast<std::byte>(i * 2654435761u >> 13);
  const std::span<std::byte> bytes(data.get(), kProbeBytes);
  const BlobToWrite blob{0, bytes};
  const double begin = monotonic_seconds();
  const Version version = disk.write(std::span(&blob, 1), Durability::durable);
  const double written = monotonic_seconds();
  disk.read(version, 0, 0, bytes);
  const double read = monotonic_seconds();
  disk.drop(version);
  return DiskSpeed{static_cast<double>(kProbeBytes) / (read - written),
                   static_cast<double>(kProbeBytes) / (written - begin)};
} catch (const DiskFull&) {
  return std::nullopt;
}

std::optional<DiskSpeed> probe_disk(const std::string& parent) {
  const ProbeFolder folder{text::cat(parent, "/.hopyard-disk-probe-", getpid())};
  const auto disk = open_rocks_disk_tier({folder.path, kProbeCapacity});
  return measure_disk(*disk);
}

Signature signature_of_user() {
  Signature by;
  by.uid = ::getuid();
  by.time_s = wall_seconds();
  if (const passwd* user = ::getpwuid(by.uid)) by.author = user->pw_name;
  return by;
}

Bytes process_bytes() {
  std::ifstream in("/proc/self/statm");
  Bytes total = 0, resident = 0;
  in >> total >> resident;
  return resident * static_cast<Bytes>(sysconf(_SC_PAGESIZE));
}

}  // namespace hopyard
