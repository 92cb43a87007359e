"""What tools/gpu_check makes of machines, limits and figures, and what tools/bundle_gpu_check takes along."""
import argparse
import json
import pathlib
import subprocess
import sys
import tempfile
import unittest

from tools_under_test import ROOT, Tree, load_tool

gpu_check = load_tool("gpu_check")
bundle_gpu_check = load_tool("bundle_gpu_check")


def check_in(folder, limit=60):
    options = argparse.Namespace(quick=True, limit=limit, name="paper", out=pathlib.Path(folder), bench_flags=[],
                                 step_limits={}, sanitize="kernel")
    return gpu_check.Check(options, gpu_check.Programs((), pathlib.Path(folder), {}, "0"), [])


class GpuCheck(unittest.TestCase):
    @unittest.skipIf(gpu_check.find_gpus(), "there is a GPU here")
    def test_says_that_there_is_no_gpu(self):
        done = subprocess.run([sys.executable, ROOT / "tools/gpu_check"], capture_output=True, text=True)
        self.assertEqual(3, done.returncode)
        self.assertIn("no GPU", done.stderr)

    def test_results_are_named_after_the_card(self):
        for card, name in (("NVIDIA H200", "H200"), ("NVIDIA H100 80GB HBM3", "H100"),
                           ("NVIDIA A100-SXM4-80GB", "A100-SXM4-80GB"), ("Tesla T4", "T4")):
            self.assertEqual(name, gpu_check.name_of([{"name": card}]))

    def test_a_step_that_fails_or_hangs_is_kept_and_the_others_go_on(self):
        with tempfile.TemporaryDirectory() as folder:
            check = check_in(folder)
            check.run("tests", "hangs", ["bash", "-c", "echo before; sleep 60 & wait"], limit_s=5)
            check.run("tests", "fails", ["bash", "-c", "echo why; exit 7"])
            check.run("tests", "lacks", [f"{folder}/nothing"])
            check.run("tests", "is well", ["true"])
            report = json.loads(check.json_path.read_text())
            log = check.log_path.read_text()
        results = {result["name"]: result for result in report["results"]}
        self.assertEqual("failed: longer than 5 s", results["hangs"]["status"])
        self.assertIn("before", results["hangs"]["log_end"])
        self.assertEqual("failed: exit code 7", results["fails"]["status"])
        self.assertTrue(results["lacks"]["status"].startswith("failed: "))
        self.assertEqual("ok", results["is well"]["status"])
        self.assertIn("why", log)

    def test_no_step_begins_when_the_time_is_up(self):
        with tempfile.TemporaryDirectory() as folder:
            result = check_in(folder, limit=1).run("tests", "late", ["true"])
        self.assertEqual("not run: the time is up", result["status"])

    def test_skipped_tests_are_counted_with_their_reasons(self):
        counts = gpu_check.counts_of({"testsuites": [{"testsuite": [
            {"classname": "Door", "name": "moves", "result": "COMPLETED"},
            {"classname": "Door", "name": "waits", "result": "COMPLETED", "failures": [{"failure": "x"}]},
            {"classname": "Door", "name": "peers", "result": "SKIPPED"}]}]}, "a_test.cc:1: Skipped\none card\n\n[  SKIPPED ]\n")
        self.assertEqual({"tests": 3, "skipped": 1, "why_skipped": ["one card"], "failed": ["Door.waits"]}, counts)

    def test_peers_are_put_against_the_step_of_the_same_work(self):
        report = {"results": [
            {"step": "bench", "name": "hopyard_bench",
             "data": [{"name": "seconds a step, one cut trial of 1 B parameters", "value": 0.5}]},
            {"step": "peers", "name": "torch", "data": {"s_per_step": 0.4}},
            {"step": "peers", "name": "fsdp2-offload", "data": {"s_per_step": 1.25}}]}
        gpu_check.compare(report)
        ratios = {row["peer"]: (row["ratio"], row["must"]) for row in report["peers"]}
        self.assertEqual({"torch": (0.8, None), "fsdp2-offload": (2.5, 1.0)}, ratios)


class Bundle(unittest.TestCase):
    def test_what_every_linux_has_stays_behind(self):
        for name in ("libc.so.6", "libm.so.6", "libstdc++.so.6", "libgcc_s.so.1", "libcuda.so.1", "ld-linux-x86-64.so.2"):
            self.assertTrue(bundle_gpu_check.SYSTEM.match(name), name)
        for name in ("librocksdb.so.7.8", "libcrypto.so.3", "libzstd.so.1", "libglog.so.1"):
            self.assertFalse(bundle_gpu_check.SYSTEM.match(name), name)

    def test_the_launcher_finds_programs_and_torch_and_says_when_there_is_none(self):
        with Tree({"bundle/run": bundle_gpu_check.LAUNCHER, "torch/lib/libtorch_cpu.so": "",
                   "nvidia/cu13/lib/libcudart.so.13": "", "bundle/bin/shows": "#!/bin/sh\necho $LD_LIBRARY_PATH $1\n"}) as root:
            (root / "bundle/bin/shows").chmod(0o755)

            def shows(torch):
                return subprocess.run(["bash", root / "bundle/run", "shows", "this"], capture_output=True, text=True,
                                      env={"PATH": "/usr/bin:/bin", "HOPYARD_TORCH": str(torch)})
            done = shows(root / "torch")
            self.assertIn(f"{root}/bundle/lib:{root}/torch/lib:{root}/nvidia/cu13/lib", done.stdout)
            self.assertTrue(done.stdout.endswith(" this\n"))
            self.assertEqual(2, shows(root / "nowhere").returncode)


if __name__ == "__main__":
    unittest.main()
