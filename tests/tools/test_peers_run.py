"""What benchmarks/peers/run makes of figures, and that it still fits the example that it measures."""
import argparse
import unittest

from tools_under_test import ROOT, load_module

peers_run = load_module(ROOT / "benchmarks/peers/run")


class PeersRun(unittest.TestCase):
    def test_the_example_takes_the_work_and_cpu_devices(self):
        example = (ROOT / "examples/debian-sections.yaml").read_text()
        trials, train_rows, valid_rows = peers_run.sweep_work(argparse.Namespace(smoke=False))
        config = peers_run.sweep_config(example, trials, train_rows, valid_rows, 2)
        self.assertIn("devices: [{type: cpu, count: 2, memory: 2GiB, threads: 1}]", config)
        self.assertIn("lr: {grid: [3e-05, 5e-05, 0.0001, 0.0003]}", config)
        self.assertIn("freeze: {grid: [0, 4]}", config)
        self.assertIn("train_rows: 2000, valid_rows: 500", config)
        self.assertEqual(example.count("\n"), config.count("\n"))

    def test_heads_are_twelve_trials_in_one_config(self):
        trials, train_rows, valid_rows = peers_run.heads_work(argparse.Namespace(smoke=False, heads_rows=400))
        self.assertEqual((12, 400, 100), (len(trials), train_rows, valid_rows))
        config = peers_run.heads_config(trials, train_rows, valid_rows, 2)
        self.assertIn("lr: {grid: [0.0001, 0.0003, 0.001, 0.003]}, weight_decay: 0.01", config)
        self.assertIn("search: {method: grid, seeds: 3, ", config)
        self.assertIn("devices: [{type: cpu, count: 2, threads: 1}]", config)

    def test_ratios_are_to_the_yardstick_of_their_kind_and_of_medians(self):
        found = {"step/torch": [(1.0, {}), (3.0, {}), (2.0, {})], "step/deepspeed-cpu": [(5.0, {})],
                 "sweep/ray": [(50.0, {})], "sweep/hopyard": [(40.0, {})],
                 "heads/ray": [(60.0, {})], "heads/hopyard": [(5.0, {})]}
        results = {result["name"]: result for result in peers_run.summary(found)}
        self.assertEqual(2.5, results["step/deepspeed-cpu"]["ratio"])
        self.assertNotIn("ratio", results["sweep/ray"])  # sequential was not measured
        self.assertEqual(0.8, results["sweep/hopyard to sweep/ray"]["ratio"])
        self.assertTrue(results["sweep/hopyard to sweep/ray"]["holds"])
        self.assertEqual(12.0, results["heads/ray to heads/hopyard"]["ratio"])
        self.assertTrue(results["heads/ray to heads/hopyard"]["holds"])

    def test_what_fails_is_skipped_with_its_reason(self):
        with self.assertRaisesRegex(peers_run.Unavailable, "exit code 1: ValueError: no disk"):
            peers_run.run_process([peers_run.sys.executable, "-c", "raise ValueError('no disk')"], 1,
                                  ROOT / "build/peers-test.log")


if __name__ == "__main__":
    unittest.main()
