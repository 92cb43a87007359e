// hopyard_bench: prints ratios measured side by side in one run, with the machine, and writes them as JSON.
#include <gflags/gflags.h>

#include <algorithm>
#include <functional>
#include <iostream>

#include "asha_bench.h"
#include "base/clock.h"
#include "base/files.h"
#include "base/log.h"
#include "base/text.h"
#include "device/memory_account.h"
#include "engine_bench.h"
#include "formats/json.h"
#include "gpu_bench.h"
#include "hop_bench.h"
#include "hopper_bench.h"
#include "journal_bench.h"
#include "lora_bench.h"
#include "prediction_bench.h"
#include "report/table.h"
#include "runtime/machine.h"
#include "scheduling_bench.h"
#include "schemes_bench.h"
#include "sharing_bench.h"
#include "spill_bench.h"
#include "workers_bench.h"

DEFINE_string(out, "", "file to write the rows to, as JSON");
DEFINE_bool(quick, false, "a smoke run: small sizes, figures without meaning");
DEFINE_int32(sharing_rows, 320, "training rows of the group sharing, twice those of prediction; 2000 is the full size");
DEFINE_int32(hop_worker, 0, "port: be a worker of the group hop, which starts this program again for it");
DEFINE_string(only, "", "run only the group of this name, or the groups whose names begin with it and a slash");

namespace hopyard {
namespace {

std::vector<BenchRow> bench_scheduling(const BenchScale& scale) {
  std::vector<BenchRow> rows;
  double worst = 0;
  std::string detail;
  for (const auto& row : bench_fig7()) {
    worst = std::max(worst, row.ratio);
    detail += text::cat(detail.empty() ? "" : "; ", row.name, " ", text::format_number(row.ratio, 4));
  }
  rows.push_back({"LRTF makespan ÷ max(longest trial, total ÷ devices), simulated, worst", worst, "ratio", 1.01, 1.00,
                  true, detail});
  rows.push_back({"scheduling decision with 10,000 trials", scheduling_decision_us(scale.quick ? 100 : 10'000), "µs",
                  20, 2, true, ""});
  return rows;
}

std::vector<BenchRow> bench_spill(const BenchScale& scale) {
  const Bytes bytes = scale.quick ? 8 * MiB : 64 * MiB;
  std::vector<double> reads, writes;
  for (int i = 0; i < scale.rounds(); ++i) {
    const auto times = measure_spill_bandwidth("build/bench_spill", bytes, 8, 2);
    reads.push_back(times.raw_read_s / times.rocks_read_s);
    writes.push_back(times.raw_write_s / times.rocks_write_s);
  }
  const auto row = [](const char* name, std::vector<double>& ratios, double must, double aim) {
    std::sort(ratios.begin(), ratios.end());
    return BenchRow{name,
                    ratios[ratios.size() / 2],
                    "ratio",
                    must,
                    aim,
                    false,
                    text::cat("median of ", ratios.size(), ", ", text::format_number(ratios.front(), 2), " to ",
                              text::format_number(ratios.back(), 2), "; 8 files, 2 in flight")};
  };
  return {row("RocksDB tier, read bandwidth ÷ raw O_DIRECT files", reads, 0.75, 1.0),
          row("RocksDB tier, write bandwidth, made durable ÷ raw O_DIRECT files", writes, 0.45, 0.8)};
}

Json to_row(const BenchRow& row) {
  return Json{{"name", row.name},
              {"value", row.value},
              {"unit", row.unit},
              {"must", row.must ? Json(*row.must) : Json()},
              {"aim", row.aim ? Json(*row.aim) : Json()},
              {"holds", row.holds()},
              {"detail", row.detail}};
}

using Group = std::pair<std::string, std::function<std::vector<BenchRow>(const BenchScale&)>>;

std::vector<Group> all_groups() {
  std::vector<Group> groups{{"scheduling", bench_scheduling},
                            {"hopper", bench_hopper},
                            {"spill", bench_spill},
                            {"resident", bench_resident},
                            {"cut", bench_one_cut_trial},
                            {"interleaved", bench_interleaved},
                            {"ablation", bench_ablation},
                            {"streaming", bench_streaming},
                            {"sharing", bench_sharing},
                            {"lora", bench_lora},
                            {"prediction", bench_prediction},
                            {"asha", bench_asha},
                            {"journal", bench_journal},
                            {"hop", bench_hop},
                            {"workers", bench_workers},
                            {"schemes/mlp", bench_mlp_schemes},
                            {"schemes/minilm", bench_minilm_schemes}};
  for (auto& group : gpu_groups()) groups.push_back(std::move(group));
  return groups;
}

bool is_wanted(const std::string& group) {
  return FLAGS_only.empty() || group == FLAGS_only || group.starts_with(FLAGS_only + "/");
}

void add_to_table(Table& table, const BenchRow& row) {
  const char* sign = row.less_is_better ? "≤ " : "≥ ";
  const auto bound = [&](const std::optional<double>& value) {
    return value ? sign + text::format_number(*value, 2) : "-";
  };
  table.add_row({row.name, text::format_number(row.value, 3) + (row.unit == "ratio" ? "" : " " + row.unit),
                 bound(row.must), bound(row.aim), row.must ? (row.holds() ? "yes" : "NO") : "shown", row.detail});
}

/// A group that fails does not keep the others from running: what was measured is written after each.
int run() {
  install_counting_allocator();
  const BenchScale scale{FLAGS_quick, static_cast<std::uint32_t>(FLAGS_sharing_rows)};
  for (const auto& fact : describe(machine_facts())) std::cout << fact << '\n';
  if (scale.quick) std::cout << "quick: figures without meaning\n";
  Json rows = Json::array();
  Table table(
      {{"benchmark"}, {"value", Align::right}, {"must", Align::right}, {"aim", Align::right}, {"holds"}, {"detail"}});
  int status = 0;
  for (const auto& [name, measure] : all_groups()) {
    if (!is_wanted(name)) continue;
    std::cout << "measuring " << name << " …" << std::endl;
    const double begin = monotonic_seconds();
    try {
      for (const auto& row : measure(scale)) {
        rows.push_back(to_row(row));
        add_to_table(table, row);
      }
    } catch (const std::exception& error) {
      std::cout << name << " could not be measured: " << error.what() << std::endl;
      status = 1;
    }
    std::cout << "  took " << text::format_number(monotonic_seconds() - begin, 1) << " s" << std::endl;
    if (!FLAGS_out.empty()) write_file_atomically(FLAGS_out, rows.dump(2) + "\n");
  }
  std::cout << '\n' << table.to_text();
  return status;
}

}  // namespace
}  // namespace hopyard

int main(int argc, char** argv) {
  gflags::ParseCommandLineFlags(&argc, &argv, true);
  hopyard::log::start(argv[0], false);
  if (FLAGS_hop_worker != 0) return hopyard::run_hop_worker(static_cast<std::uint16_t>(FLAGS_hop_worker));
  return hopyard::run();
}
