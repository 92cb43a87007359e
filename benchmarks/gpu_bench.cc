#include "gpu_bench.h"

#include <algorithm>
#include <iostream>
#include <latch>

#include "base/clock.h"
#include "base/failure.h"
#include "base/text.h"
#include "gpu_session.h"
#include "resident_loop.h"

namespace hopyard {

namespace {

using text::cat;
using text::format_number;

std::string gigabytes(double bytes_per_s) { return format_number(bytes_per_s * 1e-9, 1); }

// The link.

/// Bytes/s each way of transfers that go both ways at once through a device's copy door, by the host's clock.
std::pair<double, double> door_speed(Device& device, HostTier& host, Bytes bytes) {
  constexpr int kTransfers = 12, kPieces = 4;
  const auto block = [&] { return HostBuffer(*host.reserve(HostBuffer::rounded(bytes)), bytes); };
  HostBuffer out = block(), in = block();
  std::fill(out.span().begin(), out.span().end(), std::byte{1});
  const auto count = static_cast<std::int64_t>(bytes);
  const at::Tensor loaded = device.allocate({count}, at::kByte), stored = device.allocate({count}, at::kByte);
  const Bytes piece = bytes / kPieces;
  const auto copies = [&](void* to, const void* from) {
    std::vector<CopyRequest> all;
    for (Bytes at = 0; at + piece <= bytes; at += piece)
      all.push_back({static_cast<std::byte*>(to) + at, static_cast<const std::byte*>(from) + at, piece});
    return all;
  };
  double load_s = 0, store_s = 0;
  for (int round = 0; round < 2; ++round) {  // in the first, the link is asleep
    std::latch left(2 * kTransfers);
    const double begin = monotonic_seconds();
    const auto note = [&](double& last) {
      return [&] {
        last = monotonic_seconds() - begin;
        left.count_down();
      };
    };
    for (int i = 0; i < kTransfers; ++i) {
      device.load(copies(loaded.data_ptr(), out.data()), "bench", note(load_s));
      device.store(copies(in.data(), stored.data_ptr()), "bench", note(store_s));
    }
    left.wait();
  }
  const double moved = static_cast<double>(kTransfers * kPieces * piece);
  return {moved / load_s, moved / store_s};
}

std::vector<BenchRow> bench_link(GpuSession& session) {
  const Bytes bytes = session.quick() ? MiB : 256 * MiB;
  const GpuCard& card = session.card();
  const auto memory = card.is_real() ? make_pinned_memory(2 * bytes, 0) : nullptr;
  HostTier host(2 * bytes, memory.get());
  std::vector<std::pair<double, std::string>> ratios;
  for (int round = 0; round < (session.quick() ? 1 : 3); ++round) {
    const LinkSpeed raw = card.measure_link();
    const auto device = card.make(card.spec(8 * bytes));
    const auto [load, store] = door_speed(*device, host, bytes);
    ratios.emplace_back(
        std::min(load / raw.to_card_duplex, store / raw.to_host_duplex),
        cat(gigabytes(load), " and ", gigabytes(store), " GB/s to the card and to the host; raw copies ",
            gigabytes(raw.to_card_duplex), " and ", gigabytes(raw.to_host_duplex), ", one way at a time ",
            gigabytes(raw.to_card), " and ", gigabytes(raw.to_host), raw.pinned ? "" : "; nothing could be pinned"));
  }
  std::sort(ratios.begin(), ratios.end());
  const auto& [ratio, detail] = ratios[ratios.size() / 2];
  return {{"pinned copies through the copy door ÷ raw copies, both ways at once, the worse way", ratio, "ratio", 0.95,
           0.98, false,
           cat("median of ", ratios.size(), ", ", format_number(ratios.front().first, 3), " to ",
               format_number(ratios.back().first, 3), "; ", detail)}};
}

/// One shard, although an update on the host might make more of them quicker.
ExecuteSpec uncut() {
  ExecuteSpec execute;
  execute.cuts.emplace();
  return execute;
}

// The bits.

struct BitsCase {
  Precision precision;
  UpdatePlace update;
  std::uint32_t steps;
};

/// How many of three trials come out the same cut and interleaved as each whole on the card.
double same_bits(GpuSession& session, const BitsCase& bits, std::string& detail) {
  constexpr std::uint32_t kTrials = 3;
  const bool quick = session.quick();
  const BenchModel model = quick && !session.card().is_real() ? BenchModel(32, 4, 64, 16, 8, 4, 0.1)
                                                              : BenchModel(256, 6, 512, 128, 16, 8, 0.1);
  TrainSpec train = model.train;
  train.micro_batch_size = train.batch_size / 2;
  train.precision = bits.precision;
  train.update = bits.update;
  ExecuteSpec cut;
  cut.cuts = even_cuts(*model.source, 2);
  const DeviceSpec spec = session.card().spec(session.quick() ? 512 * MiB : 2 * GiB);
  std::vector<std::vector<std::string>> outcomes;
  for (const bool whole : {true, false}) {
    const ExecuteSpec execute = whole ? uncut() : cut;
    const TrialSetup plan = plan_on_card(model, train, session.card(), spec, execute);
    const auto memory = session.card().is_real() ? make_pinned_memory(kTrials * host_bytes(plan), 0) : nullptr;
    HostTier host(kTrials * host_bytes(plan), memory.get());
    StandingTrials trials(model, session.card(), spec, host, plan, kTrials);
    const CardTimes times = trials.run({.trials = kTrials,
                                        .steps = quick ? 2 : bits.steps - 1,
                                        .execute = execute,
                                        .one_at_a_time = whole,
                                        .records_activity = false});
    outcomes.push_back(trials.outcomes());
    detail += cat(whole ? "" : ", ", whole ? "whole " : "cut ", format_number(times.wall_s, 1), " s");
  }
  double same = 0;
  for (std::uint32_t t = 0; t < kTrials; ++t) same += outcomes[0][t] == outcomes[1][t] ? 1 : 0;
  return same / kTrials;
}

std::vector<BenchRow> bench_tolerance(GpuSession& session) {
  std::vector<BenchRow> rows;
  for (const BitsCase& bits :
       {BitsCase{Precision::fp32, UpdatePlace::device, 100}, BitsCase{Precision::fp32, UpdatePlace::host, 30},
        BitsCase{Precision::bf16, UpdatePlace::device, 30}}) {
    std::string detail;
    const double same = same_bits(session, bits, detail);
    rows.push_back(
        {cat("share of trials with equal losses of ", bits.steps,
             " steps and equal digests, cut and interleaved "
             "against whole, ",
             to_string(bits.precision), ", update on the ", bits.update == UpdatePlace::host ? "host" : "device"),
         same, "ratio", 1, 1, false, cat("three trials, dropout; ", detail)});
  }
  return rows;
}

// Graphs.

/// A model whose kernels are short: asking for them takes longer than computing them.
std::vector<BenchRow> bench_graphs(GpuSession& session) {
  const bool quick = session.quick();
  const std::uint32_t steps = quick ? 3 : 200;
  const BenchModel model = quick ? BenchModel(32, 4, 64, 16, 8, 4, 0.1) : BenchModel(512, 12, 8192, 128, 32, 8, 0.1);
  TrainSpec train = model.train;
  train.micro_batch_size = train.batch_size / 8;
  train.precision = Precision::bf16;
  train.update = UpdatePlace::device;
  const DeviceSpec spec = session.card().spec(quick ? 512 * MiB : 8 * GiB);
  const TrialSetup plan = plan_on_card(model, train, session.card(), spec, uncut());
  std::vector<CardTimes> times;
  std::vector<std::string> outcomes;
  for (const bool graphs : {false, true}) {
    const auto memory = session.card().is_real() ? make_pinned_memory(host_bytes(plan), 0) : nullptr;
    HostTier host(host_bytes(plan), memory.get());
    StandingTrials trials(model, session.card(), spec, host, plan, 1);
    CardRun run{.steps = steps, .execute = uncut(), .records_activity = false};
    run.execute.cuda_graphs = graphs;
    times.push_back(trials.run(run));
    outcomes.push_back(trials.outcomes().front());
  }
  const auto ms = [&](const CardTimes& one) { return format_number(one.wall_s / steps * 1e3, 2); };
  return {
      {cat("losses of ", steps, " steps and digest equal, recorded as a graph against asked for step by step, bf16"),
       outcomes[0] == outcomes[1] && times[1].recorded_steps + 2 >= steps ? 1.0 : 0.0, "ratio", 1, 1, false,
       cat(times[1].recorded_steps, " steps recorded; dropout, 8 micro-batches a step")},
      {"a step of a trial whole on the card, asked for kernel by kernel ÷ as a graph, time",
       times[0].wall_s / times[1].wall_s, "ratio", std::nullopt, std::nullopt, false,
       cat("small kernels (GPT-2 of 12 layers of 512, 8 micro-batches of 4 × 128 tokens); ", ms(times[0]), " and ",
           ms(times[1]), " ms a step, the state's way there and back among them")}};
}

// The large model.

/// What stands beside a figure of cut trials.
std::string describe(const CardTimes& times, double steps) {
  std::string out =
      cat(format_number(times.wall_s / steps, 3), " s a step: tasks ", format_number(times.busy_s / steps, 3), ", ");
  if (times.activity) {
    const CardActivity& activity = *times.activity;
    out +=
        cat("kernels ", format_number(activity.kernel_s / steps, 3), ", copies ",
            format_number(activity.to_card_s / steps, 3), " to the card and ",
            format_number(activity.to_host_s / steps, 3), " to the host, at once with kernels ",
            format_number(activity.overlapped_s / steps, 3), ", nothing ", format_number(activity.idle_s / steps, 3));
  } else {
    out += cat("by the host's clock (", times.why_no_activity, ")");
  }
  out += cat("; ", text::format_bytes(static_cast<Bytes>(static_cast<double>(times.link.loaded) / steps)), " loaded, ",
             text::format_bytes(static_cast<Bytes>(static_cast<double>(times.link.stored) / steps)), " stored; peak ",
             text::format_bytes(times.memory_peak), "; ", times.tasks, " tasks");
  if (times.recuts > 0) out += cat(", cut again ", times.recuts, " times");
  return out;
}

/// Time ÷ the longest of computing and of moving what was moved, at the rates of raw copies.
double over_bound(const CardTimes& times, const LinkSpeed& link) {
  const double load_s = static_cast<double>(times.link.loaded) / link.to_card_duplex;
  const double store_s = static_cast<double>(times.link.stored) / link.to_host_duplex;
  return times.wall_s / std::max({times.compute_s(), load_s, store_s});
}

/// What a figure of a real card must reach counts only where the card's own record says what kernels took: tasks by the
/// host's clock contain their waits, and would pass by that.
std::optional<double> must(GpuSession& session, const CardTimes& times, double value) {
  return times.activity || !session.card().is_real() ? std::optional(value) : std::nullopt;
}

std::string cut_text(GpuSession& session) {
  const TrialSetup& plan = session.cut_plan();
  return cat(session.text_of_work(), "; ", plan.plan.shards.size(), " shards in ", text::format_bytes(session.budget()),
             ", micro-batches of ", plan.train.micro_batch_size, " rows");
}

std::vector<BenchRow> bench_whole(GpuSession& session) {
  const std::uint32_t few = 2, many = session.quick() ? 3 : 6;
  session.let_go_of_trials();
  constexpr std::uint32_t kMicroRows = 16;  // of the whole card, not of the small one of the rows above
  TrainSpec train = session.train();
  train.micro_batch_size = std::min(session.rows(), kMicroRows);
  const TrialSetup plan = session.plan_that_fits(train, session.whole_card(), uncut());
  StandingTrials trials(session.model(), session.card(), session.whole_card(), session.pinned_host(), plan, 1);
  const CardTimes fewer = trials.run({.steps = few, .records_activity = false});
  const CardTimes more = trials.run({.steps = many, .records_activity = false});
  // The state goes there before the first step and back after the last.
  const double seconds = (more.wall_s - fewer.wall_s) / (many - few);
  const double loop_s =
      run_resident_loop(session.model(), plan.train, session.card().maker(session.whole_card()), {}, many) / many;
  const double peak = peak_flops_per_s(session.card().name()), rate = session.flops_per_step() / seconds;
  std::vector<BenchRow> out;
  if (peak > 0 || session.quick())
    out.push_back({"one trial whole on the card, share of the chip's dense bf16 peak", peak > 0 ? rate / peak : 0,
                   "ratio", 0.40, 0.55, false,
                   cat(session.text_of_work(), ", micro-batches of ", plan.train.micro_batch_size, " rows; ",
                       format_number(rate * 1e-12, 1), " of ", format_number(peak * 1e-12, 0), " TFLOP/s; ",
                       format_number(seconds, 3), " s a step, and ", format_number(more.wall_s - many * seconds, 3),
                       " s for its state there and back; peak ", text::format_bytes(more.memory_peak))});
  else
    std::cout << "  no peak is known of " << session.card().name() << '\n';
  out.push_back({"one trial whole on the card ÷ a plain loop by the same functions, time", seconds / loop_s, "ratio",
                 std::nullopt, std::nullopt, true,
                 cat("the same micro-batches; a plain loop takes ", format_number(loop_s, 3), " s a step")});
  return out;
}

std::vector<BenchRow> bench_cut(GpuSession& session) {
  const std::uint32_t steps = session.quick() ? 1 : 5;
  const LinkSpeed link = session.card().measure_link();
  const CardTimes times = session.cut_trials().run({.steps = steps, .execute = session.execute()});
  const CardTimes kept = session.cut_trials().run({.steps = steps, .records_activity = false});
  const double seconds = times.wall_s / steps, kept_s = kept.wall_s / steps;
  return {{"one cut trial, time ÷ max(compute, bytes ÷ link)", over_bound(times, link), "ratio",
           must(session, times, 1.10), must(session, times, 1.03), true,
           cat(cut_text(session), "; ", describe(times, steps), "; whole and recomputing ",
               format_number(session.resident_step_s(true), 3))},
          {cat("seconds a step, one cut trial, ", session.text_of_work()), std::min(seconds, kept_s), "s", std::nullopt,
           std::nullopt, true,
           cat("the better of recomputing, ", format_number(seconds, 3),
               ", and of keeping forward passes where there "
               "is room, ",
               format_number(kept_s, 3), " (", kept.spared_forwards, " kept)")}};
}

std::vector<BenchRow> bench_card_interleaved(GpuSession& session) {
  const CardTimes& four = session.four_interleaved();
  const double steps = GpuSession::kTrials * GpuSession::kSteps;
  const double again = session.resident_step_s(true), plain = session.resident_step_s(false);
  return {{"four cut trials interleaved, kernel-busy share of wall time", four.compute_s() / four.wall_s, "ratio",
           must(session, four, 0.95), must(session, four, 0.99), false,
           cat(cut_text(session), "; ", describe(four, steps))},
          {"four cut trials interleaved, throughput ÷ one trial that is whole and computes the same layers twice",
           steps * again / four.wall_s, "ratio", 0.90, 0.98, false,
           cat("÷ plain, whole: ", format_number(steps * plain / four.wall_s, 3), "; a step takes ",
               format_number(four.wall_s / steps, 3), " s, whole ", format_number(again, 3), " and plain ",
               format_number(plain, 3))}};
}

BenchRow ablation(const char* name, double ratio, const CardTimes& times, double steps) {
  return {cat("ablation on a card: ", name), ratio, "ratio", std::nullopt, std::nullopt, false, describe(times, steps)};
}

std::vector<BenchRow> bench_ablations_of_four(GpuSession& session) {
  const std::uint32_t steps = session.quick() ? 1 : 2;
  const double full_s = session.four_interleaved().wall_s / (GpuSession::kTrials * GpuSession::kSteps);
  const auto of_four = [&](bool double_buffer, bool interleave) {
    CardRun run{.trials = GpuSession::kTrials, .steps = steps, .execute = session.execute()};
    run.execute.double_buffer = double_buffer;
    run.one_at_a_time = !interleave;
    return session.cut_trials().run(run);
  };
  const double all = GpuSession::kTrials * steps;
  const CardTimes single = of_four(false, true), in_turn = of_four(true, false), neither = of_four(false, false);
  return {ablation("four trials without double buffering ÷ full", single.wall_s / all / full_s, single, all),
          ablation("four trials without interleaving ÷ full", in_turn.wall_s / all / full_s, in_turn, all),
          ablation("four trials without both ÷ full", neither.wall_s / all / full_s, neither, all)};
}

std::vector<BenchRow> bench_ablations_of_one(GpuSession& session) {
  const std::uint32_t steps = session.quick() ? 1 : 2;
  const CardRun one{.steps = steps, .execute = session.execute()};
  session.let_go_of_trials();
  const auto alone = [&](HostTier& host, const TrialSetup& plan) {
    return StandingTrials(session.model(), session.card(), session.small_card(), host, plan, 1).run(one);
  };
  const CardTimes pinned = alone(session.pinned_host(), session.cut_plan());
  const TrialSetup on_host = plan_on_card(session.model(), session.train(UpdatePlace::host), session.card(),
                                          session.small_card(), session.execute());
  const CardTimes host_update = alone(session.pinned_host(), on_host);
  HostTier pageable(host_bytes(session.cut_plan()));
  const CardTimes slow = alone(pageable, session.cut_plan());
  return {
      ablation("one trial, update on the host ÷ on the device", host_update.wall_s / pinned.wall_s, host_update, steps),
      ablation("one trial, pageable host memory ÷ pinned", slow.wall_s / pinned.wall_s, slow, steps)};
}

}  // namespace

std::vector<std::pair<std::string, std::function<std::vector<BenchRow>(const BenchScale&)>>> gpu_groups() {
  const auto session = std::make_shared<std::shared_ptr<GpuSession>>();
  const auto with_card = [session](std::vector<BenchRow> (*measure)(GpuSession&)) {
    return [session, measure](const BenchScale& scale) {
      if (*session == nullptr) *session = GpuSession::open(scale);
      return *session == nullptr ? std::vector<BenchRow>() : measure(**session);
    };
  };
  // What matters most first: where time ends, what was measured before is there.
  return {{"gpu/link", with_card(bench_link)},
          {"gpu/cut", with_card(bench_cut)},
          {"gpu/interleaved", with_card(bench_card_interleaved)},
          {"gpu/ablation/four", with_card(bench_ablations_of_four)},
          {"gpu/whole", with_card(bench_whole)},
          {"gpu/ablation/one", with_card(bench_ablations_of_one)},
          {"gpu/graphs", with_card(bench_graphs)},
          {"gpu/tolerance", with_card(bench_tolerance)}};
}

}  // namespace hopyard
