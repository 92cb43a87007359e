// `hopyard doctor`.
#include <iostream>

#include "cuda/card_watch.h"
#include "cuda/cuda_devices.h"
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

std::string gigabytes(double bytes_per_s) { return text::format_number(bytes_per_s * 1e-9, 1); }

/// "1755 of 1980 MHz, 75 of 700 W, 61 °C, slowed by: power cap", as far as the driver tells.
std::string describe_state(const CardState& state) {
  std::vector<std::string> parts;
  const auto of = [&](const std::optional<double>& now, const std::optional<double>& most, const char* unit) {
    if (!now) return;
    parts.push_back(text::format_number(*now, 0) + (most ? " of " + text::format_number(*most, 0) : "") + unit);
  };
  of(state.sm_mhz, state.sm_mhz_max, " MHz");
  of(state.power_w, state.power_limit_w, " W");
  of(state.celsius, std::nullopt, " °C");
  if (!state.slowed_by.empty()) parts.push_back("slowed by: " + text::join(state.slowed_by, ", "));
  return text::join(parts, ", ");
}

std::string describe_speed(const LinkSpeed& speed) {
  return text::cat(gigabytes(speed.to_card), " GB/s to the card, ", gigabytes(speed.to_host),
                   " to the host, both at once ", gigabytes(speed.to_card_duplex), " and ",
                   gigabytes(speed.to_host_duplex));
}

void report_card(const CudaCard& card, const CardWatch* watch) {
  const std::string what = text::cat("GPU cuda:", card.index);
  if (!card.why_unusable.empty())
    return line(what, text::cat(card.name, ", cannot be used: ", card.why_unusable), "nvidia-smi shows its state");
  line(what, text::cat(card.name, ", compute capability ", card.major, ".", card.minor, ", ",
                       text::format_bytes(card.free), " of ", text::format_bytes(card.memory), " free"));
  const CardState state = watch == nullptr ? CardState() : watch->state(card.bus_id);
  std::vector<std::string> link;
  if (const std::string known = describe_link(state); !known.empty()) link.push_back(known);
  std::string advice;
  try {
    const LinkSpeed speed = measure_cuda_link(card.index);
    link.push_back(describe_speed(speed));
    if (!speed.pinned) advice = "the system refused to pin memory, which makes copies slow: raise `ulimit -l`";
  } catch (const Failure& failure) {
    link.push_back(failure.what());
  }
  line("  link", text::join(link, ": "), advice);
  if (const std::string now = describe_state(state); !now.empty()) line("  now", now);
}

void report_cards() {
  const CudaCards found = cuda_cards();
  if (found.cards.empty())
    return line("GPUs", "none: " + found.why_none, "devices of type cpu and emulated work without one");
  std::string why_not;
  const auto watch = CardWatch::open(why_not);
  const std::string driver = watch == nullptr ? "" : watch->driver();
  line("CUDA", text::cat(found.runtime, "; driver ", driver.empty() ? "" : driver + ", ", "for up to ", found.driver));
  for (const auto& card : found.cards) report_card(card, watch.get());
}

}  // namespace

ExitCode print_doctor() {
  const MachineFacts facts = machine_facts();
  line("libtorch", text::cat(facts.libtorch, ", kernels for ", facts.cpu_capability));
  line("cores", text::cat(facts.cores, ", ", facts.cpu.empty() ? "unknown processor" : facts.cpu),
       "give devices × threads at most so many in resources.devices");
  line("memory", text::cat(text::format_bytes(facts.memory), ", ", text::format_bytes(facts.memory_available), " free"),
       facts.memory_available < kComfortableMemory ? "keep resources.host_memory well below what is free" : "");
  report_cards();
  report_disk();
  return ExitCode::done;
}

}  // namespace hopyard
