"""Several processes as the workers of one experiment: the digests of one process, whoever dies; strangers are turned away."""
import os
import pathlib
import socket
import subprocess
import unittest

from program import HOPYARD, PATIENCE, ROOT, committed, digests, hopyard
from workers import WORKERS, WorkersTest, free_port


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

    def test_the_number_of_workers_is_the_runs(self):
        directory, port = self.sweep.directory("number"), free_port()
        first, second = (self.start(rank, directory, port) for rank in range(WORKERS))
        self.wait_for(lambda: committed(directory) >= 1, first, second)
        for process in (first, second):
            process.kill()
            process.wait()
        self.assertIn("began with 2 workers", self.end_of(self.start(0, directory, port, workers=3), 2))
        code, _, err = hopyard("run", self.config, "--dir", directory)
        self.assertEqual(code, 2)
        self.assertIn("began with 2 workers", err)

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
