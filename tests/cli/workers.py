"""Several processes as the workers of one experiment over data that were cut: what the tests of them have in common."""
import contextlib
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import time
import unittest

from program import HOPYARD, PATIENCE, ROOT, Sweep, committed, digests, first_rows, hopyard, journal, leaderboard

WORKERS, PARTITIONS, TRIALS, ROWS = 2, 4, 4, 160
SLOW_RUNS, SLOW_PAUSES = 0.03, 0.3  # seconds: a tenth of the speed, and shorter than what makes a worker dead


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@contextlib.contextmanager
def stopped(*processes):
    """They go on at the end, or once what this gives is called."""
    def go_on():
        for process in processes:
            process.send_signal(signal.SIGCONT)

    for process in processes:
        process.send_signal(signal.SIGSTOP)
    try:
        yield go_on
    finally:
        go_on()


def slow_down(process):
    while process.poll() is None:
        with stopped(process):
            time.sleep(SLOW_PAUSES)
        time.sleep(SLOW_RUNS)


def variables(rank, port, secret="of the test", workers=WORKERS, master="127.0.0.1"):
    return os.environ | {"RANK": str(rank), "WORLD_SIZE": str(workers), "LOCAL_RANK": str(rank),
                         "MASTER_ADDR": master, "MASTER_PORT": str(port), "HOPYARD_SECRET": secret}


class WorkersTest(unittest.TestCase):
    """`self.config` is for cut data in `self.cut`; `self.expected` are the digests of one process."""
    epochs = 2
    train = ""  # more of the config's train part

    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        data = first_rows(ROOT / "data/sections/valid", ROWS, cls.sweep.directory("data"))
        cls.cut = cls.sweep.directory("cut")
        code, out, err = hopyard("partition", data, f"--into={PARTITIONS}", "--out", cls.cut, "--seed=3")
        assert code == 0, out + err
        text = cls.sweep.text.replace(f"{ROOT}/data/sections/train", cls.cut).replace("train_rows: 160, ", "")
        text = text.replace("epochs: 1", f"epochs: {cls.epochs}{cls.train}").replace("count: 2, ", "count: 1, ")
        cls.config = cls.sweep.write("cut.yaml", text + "workers: {wait_for_worker: 100s}\n")
        code, out, err = hopyard("run", cls.config, "--dir", cls.sweep.directory("alone"))
        assert code == 0, out + err
        cls.expected = digests(cls.sweep.directory("alone"))
        assert len(cls.expected) == TRIALS

    def start(self, rank, directory, port, config=None, *options, within=(), **other):
        """A worker, `within` a command that starts it; what it says is in its `log`."""
        handle, log = tempfile.mkstemp(dir=self.sweep.folder)
        with open(handle, "w") as said:
            process = subprocess.Popen([*within, HOPYARD, "run", config or self.config, "--dir", directory, *options],
                                       cwd=ROOT, env=variables(rank, port, **other), stdout=said,
                                       stderr=subprocess.STDOUT)
        process.log = pathlib.Path(log)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def start_all(self, directory, config=None, *options, workers=WORKERS):
        port = free_port()
        return [self.start(rank, directory, port, config, *options, workers=workers) for rank in range(workers)]

    def end_of(self, process, code):
        try:
            process.wait(timeout=PATIENCE)
        except subprocess.TimeoutExpired:
            self.fail("does not end: " + process.log.read_text())
        out = process.log.read_text()
        self.assertEqual(process.returncode, code, out)
        return out

    def wait_for(self, what, *processes):
        deadline = time.monotonic() + PATIENCE
        while not what():
            for process in processes:
                self.assertIsNone(process.poll(), "a worker ended before its time")
            self.assertLess(time.monotonic(), deadline, "waited in vain")
            time.sleep(0.02)

    def wait_until_said(self, sentence, process, times=1):
        self.wait_for(lambda: process.log.read_text().count(sentence) >= times, process)

    def expect_whole(self, directory):
        self.assertEqual(digests(directory), self.expected)
        self.expect_visits(directory)

    def expect_visits(self, directory):
        self.assertTrue(all(row["state"] == "finished" for row in leaderboard(directory)))
        with contextlib.closing(journal(directory)) as looked:
            visits = looked.execute("SELECT trial, epoch, partition FROM visits").fetchall()
        self.assertEqual(len(visits), TRIALS * self.epochs * PARTITIONS)
        self.assertEqual(len(visits), len(set(visits)))
