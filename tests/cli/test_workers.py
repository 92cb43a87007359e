"""Several processes as the workers of one experiment: the digests of one process, whoever dies; strangers are turned away."""
import contextlib
import json
import os
import pathlib
import socket
import subprocess
import time
import unittest

from program import HOPYARD, PATIENCE, ROOT, committed, digests, hopyard, journal, start_run
from workers import ROWS, TRIALS, WORKERS, WorkersTest, free_port


class Workers(WorkersTest):
    def test_two_workers_end_as_one(self):
        directory = self.sweep.directory("two")
        self.assertIn("worker 1: joined", self.on_two(self.config, directory).stderr)
        self.expect_whole(directory)
        out = self.sweep.directory("exported")
        code, said, err = hopyard("export", directory, "--trial=t00", "--out", out)
        self.assertEqual(code, 0, err)
        self.assertIn(self.expected["t00"], said)
        again = self.sweep.directory("again")
        code, said, err = hopyard("reproduce", directory, "--trial=t01", "--dir", again)
        self.assertEqual(code, 0, said + err)
        self.assertIn("t01 is reproduced", said)
        code, _, err = hopyard("run", self.config, "--dir", directory, "--set", "resources.host_memory=64MiB")
        self.assertEqual(code, 0, err)  # it is finished

    def on_two(self, config, directory):
        done = subprocess.run([ROOT / "tools/workers", str(WORKERS), config, "--dir", directory], cwd=ROOT,
                              capture_output=True, text=True, timeout=PATIENCE, env=os.environ | {"HOPYARD": HOPYARD})
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    def test_data_that_were_not_cut_may_be_everywhere(self):
        config = self.sweep.write("uncut.yaml", self.sweep.text)
        code, out, err = hopyard("run", config, "--dir", self.sweep.directory("uncut-alone"))
        self.assertEqual(code, 0, out + err)
        self.on_two(config, self.sweep.directory("uncut"))
        self.assertEqual(digests(self.sweep.directory("uncut")), digests(self.sweep.directory("uncut-alone")))

    def test_an_interrupted_run_goes_on(self):
        directory = self.sweep.directory("interrupted")
        tool = subprocess.Popen([ROOT / "tools/workers", str(WORKERS), self.config, "--dir", directory], cwd=ROOT,
                                env=os.environ | {"HOPYARD": HOPYARD}, stdout=subprocess.DEVNULL,
                                stderr=subprocess.DEVNULL)
        self.addCleanup(tool.wait)
        self.addCleanup(tool.terminate)
        self.wait_for(lambda: committed(directory) >= 3, tool)
        tool.terminate()
        self.assertEqual(tool.wait(timeout=PATIENCE), 5)
        self.on_two(self.config, directory)
        self.expect_whole(directory)

    def test_a_worker_that_dies_is_replaced_by_the_others(self):
        directory, port = self.sweep.directory("one-dies"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 3, first, second)
        second.kill()
        self.end_of(first, 0)
        self.expect_whole(directory)

    def test_what_a_worker_did_that_died_counts(self):
        directory, port = self.sweep.directory("one-dies-late"), free_port()
        first, second = (self.start(rank, directory, port, None, "--set", "train.epochs=40") for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 1 and self.has_computed(1, directory), first, second)
        time.sleep(2)  # what it did is said every second
        second.kill()
        self.end_of(first, 0)
        died = self.fact(directory, "hopping")["workers"][1]
        self.assertGreaterEqual(died["deaths"], 1)
        self.assertGreater(died["rows_read"], 0)

    def test_a_worker_that_is_asked_to_leave_says_so_and_what_it_did(self):
        directory, port = self.sweep.directory("asked-to-leave"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 3 and self.has_computed(1, directory), first, second)
        before = committed(directory)
        self.wait_for(lambda: committed(directory) >= before + 2, first, second)
        second.terminate()
        self.end_of(second, 5)
        self.assertIn("worker 1: has left", self.end_of(first, 0))
        self.expect_whole(directory)
        left, stayed = reversed(self.fact(directory, "hopping")["workers"])
        self.assertEqual([left["departures"], left["deaths"], stayed["departures"], stayed["deaths"]], [1, 0, 0, 0])
        self.assertGreater(left["rows_read"], 0)
        self.assertGreaterEqual(left["rows_read"] + stayed["rows_read"], TRIALS * self.epochs * ROWS)
        self.assertGreater(stayed["here_s"], left["here_s"])

    def has_computed(self, rank, directory):
        return any(device["device"].startswith(f"worker {rank} ") and device["utilisation"] > 0
                   for device in self.status(directory)["devices"])

    def fact(self, directory, name):
        with contextlib.closing(journal(directory)) as looked:
            return json.loads(looked.execute("SELECT json FROM facts WHERE name=?", (name,)).fetchone()[0])

    def test_the_report_and_the_trace_are_of_all_workers(self):
        directory = self.sweep.directory("reported")
        workers = self.start_some(2, directory)
        self.wait_for(lambda: committed(directory) >= 1, *workers)
        self.wait_for(lambda: len(self.status(directory)["devices"]) == 2, *workers)
        self.assertEqual([device["device"] for device in self.status(directory)["devices"]],
                         ["worker 0 emulated:0", "worker 1 emulated:0"])
        said = [self.end_of(worker, 0) for worker in workers][0]
        for rank in range(2):
            self.assertRegex(said, rf"(?m)^  worker {rank} emulated:0 +\d")
        summary = self.fact(directory, "summary")
        self.assertEqual([device["name"] for device in summary["devices"]], ["worker 0 emulated:0", "worker 1 emulated:0"])
        for device in summary["devices"]:
            self.assertGreater(device["busy_s"], 0)
            self.assertGreater(device["tasks"], 0)
            self.assertGreater(device["loaded_bytes"], 0)
            idle = sum(one["seconds"] for one in device["idle"])
            self.assertAlmostEqual(device["busy_s"] + idle, device["wall_s"], delta=0.05 * device["wall_s"])
        self.assertIn("worker 1 emulated:0", (pathlib.Path(directory) / "report.html").read_text())
        events = json.loads((pathlib.Path(directory) / "trace.json").read_text())["traceEvents"]
        names = {event["pid"]: event["args"]["name"] for event in events if event["name"] == "process_name"}
        computed = {names[event["pid"]] for event in events if event["ph"] == "X" and event["cat"] == "compute"}
        self.assertEqual(computed, {"worker 0 emulated:0", "worker 1 emulated:0"})
        times = [event["ts"] for event in events if event["ph"] == "X"]
        self.assertLess(max(times) - min(times), 1e6 * PATIENCE)

    def status(self, directory):
        code, out, err = hopyard("status", directory, "--format=json")
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def test_a_worker_that_comes_back_is_taken_in(self):
        directory, port = self.sweep.directory("comes-back"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 3, first, second)
        second.kill()
        second.wait()
        self.start(1, directory, port)
        self.end_of(first, 0)
        self.expect_whole(directory)

    def test_a_coordinator_that_dies_goes_on(self):
        directory, port = self.sweep.directory("first-dies"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 3, first, second)
        first.kill()
        first.wait()
        self.end_of(self.start(0, directory, port), 0)
        self.end_of(second, 0)
        self.expect_whole(directory)

    def test_who_does_not_belong_is_turned_away(self):
        directory, port = self.sweep.directory("strangers"), free_port()
        first = self.start(0, directory, port)
        other = self.sweep.write("other.yaml", pathlib.Path(self.config).read_text().replace("seed: 3", "seed: 4"))
        self.assertIn("worker 1 was turned away", self.end_of(self.start(1, directory, port, other), 2))
        self.assertIn("worker 1 was turned away", self.end_of(self.start(1, directory, port, secret="guessed"), 2))
        self.assertIsNone(first.poll())

    def test_a_port_in_use_is_a_sentence(self):
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", 0))
            taken.listen()
            port = taken.getsockname()[1]
            out = self.end_of(self.start(0, self.sweep.directory("port"), port), 2)
        self.assertIn(str(port), out)

    def test_several_workers_do_not_become_one(self):
        directory, port = self.sweep.directory("number"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 1, first, second)
        for process in (first, second):
            process.kill()
            process.wait()
        code, _, err = hopyard("run", self.config, "--dir", directory)
        self.assertEqual(code, 2)
        self.assertIn("began with 2 workers", err)

    def start_some(self, count, directory):
        port = free_port()
        return [self.start(rank, directory, port, workers=count) for rank in range(count)]

    def test_a_run_goes_on_with_more_workers_and_with_fewer(self):
        directory = self.sweep.directory("more-and-fewer")
        for count, visits in (2, 3), (3, 8):
            workers = self.start_some(count, directory)
            self.wait_for(lambda: committed(directory) >= visits, *workers)
            for process in workers:
                process.kill()
                process.wait()
        for process in self.start_some(2, directory):
            self.end_of(process, 0)
        self.expect_whole(directory)

    def test_one_worker_and_several_are_not_each_other(self):
        directory = self.sweep.directory("one")
        alone = start_run(self, self.config, directory)
        self.wait_for(lambda: committed(directory) >= 1, alone)
        alone.kill()
        alone.wait()
        self.assertIn("began with 1 worker", self.end_of(self.start(0, directory, free_port()), 2))

    def test_torchrun_starts_them(self):
        python = ROOT / ".venv-oracle/bin/python"
        if not python.exists():
            self.skipTest(f"torchrun needs what {python.parents[1]} has: `tools/setup oracle` makes it")
        directory = self.sweep.directory("torchrun")
        done = subprocess.run([python, "-m", "torch.distributed.run", "--nnodes=1", f"--nproc-per-node={WORKERS}",
                               f"--master-port={free_port()}", "--no-python", HOPYARD, "run", self.config, "--dir",
                               directory], cwd=ROOT, capture_output=True, text=True, timeout=2 * PATIENCE)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        self.expect_whole(directory)


if __name__ == "__main__":
    unittest.main(verbosity=2)
