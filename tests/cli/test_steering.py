"""A person steers a running experiment from another terminal: what is acknowledged stays, whatever is killed."""
import contextlib
import json
import os
import pathlib
import random
import socket
import sqlite3
import stat
import subprocess
import time
import unittest

from program import HOPYARD, PATIENCE, ROOT, Sweep, digests, hopyard, leaderboard, start_run


def wait_for(holds, what):
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        value = holds()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError(f"waited in vain for {what}")


class Steering(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        text = cls.sweep.text.replace("epochs: 1", "epochs: 8").replace("freeze: {grid: [0, 2]}", "freeze: 0")
        cls.config = cls.sweep.write("steered.yaml", text)
        cls.whole_directory = cls.sweep.directory("whole")
        code, out, err = hopyard("run", cls.config, "--dir", cls.whole_directory)
        assert code == 0, out + err
        cls.whole = digests(cls.whole_directory)

    def start(self, directory, config=None):
        return start_run(self, config or self.config, directory)

    def finish(self, process):
        code = process.wait(timeout=PATIENCE)
        self.assertEqual(code, 0, process.stderr.read())

    def status(self, directory):
        code, out, err = hopyard("status", directory, "--format=json")
        self.assertEqual(code, 0, err)
        return json.loads(out)

    def trial(self, directory, name):
        return next((trial for trial in self.status(directory)["trials"] if trial["trial"] == name), None)

    def wait_for_visits(self, directory, visits, name="t00"):
        def there():  # a program that starts takes a while where others build: give runs enough to do
            status = self.status(directory) if (pathlib.Path(directory) / "steer.sock").exists() else {"running": False}
            if not status["running"]:
                return False
            trial = next((trial for trial in status["trials"] if trial["trial"] == name), None)
            return trial and (trial["epoch"] - 1) * trial["visits"] + trial["visit"] - 1 >= visits
        wait_for(there, f"{visits} visits of {name}")

    def steer(self, verb, directory, *arguments):
        code, out, err = hopyard(verb, directory, *arguments)
        self.assertEqual(code, 0, err)
        self.assertEqual(err, "")
        return out

    def refused(self, code, words, *arguments, user=None):
        got, out, err = hopyard(*arguments, user=user)
        self.assertEqual(got, code, out + err)
        for word in words:
            self.assertIn(word, err)
        self.assertEqual(err.count("\n"), 1, err)

    def state_of(self, directory, name):
        return next(row for row in leaderboard(directory) if row["trial"] == name)

    def test_stop_resume_and_who_was_first(self):
        directory = self.sweep.directory("stopped")
        process = self.start(directory)
        self.wait_for_visits(directory, 2)
        out = self.steer("stop", directory, "--trial=t00", "--reason=no use")
        self.assertIn("takes effect", out)
        wait_for(lambda: self.trial(directory, "t00")["state"] == "stopped", "the end of t00")
        self.assertTrue(all("t00/" not in device["task"] for device in self.status(directory)["devices"]))
        self.refused(2, ["t00 was stopped already, by ", "no use"], "stop", directory, "--trial=t00")
        self.finish(process)
        row = self.state_of(directory, "t00")
        self.assertEqual(row["state"], "stopped")
        self.assertIn("no use", row["reason"])
        self.assertEqual(self.state_of(directory, "t01")["digest"], self.whole["t01"])
        # Nobody runs it now: the request waits, and the next run ends as if nothing had been stopped.
        out = self.steer("resume", directory, "--trial=t00")
        self.assertIn("queued", out)
        self.assertEqual([request["verb"] for request in self.status(directory)["queued"]], ["resume"])
        self.refused(2, ["asked for already"], "resume", directory, "--trial=t00")
        code, out, err = hopyard("run", self.config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(directory), self.whole)
        self.assertEqual([operation["verb"] for operation in self.status(directory)["operations"]], ["stop", "resume"])

    def test_a_clone_is_its_parent_plus_a_shown_difference(self):
        directory = self.sweep.directory("cloned")
        process = self.start(directory)
        self.wait_for_visits(directory, 1)
        self.steer("pause", directory)  # however fast the machine is
        out = self.steer("clone", directory, "--trial=t00", "--set", "train.optimizer.lr=3.0e-3")
        self.assertIn("c00 is a clone of t00", out)
        self.assertIn("train.optimizer.lr: 0.001 → 0.003", out)
        out = self.steer("clone", directory, "--trial=t00", "--warm", "--set", "train.optimizer.weight_decay=0.1")
        self.assertIn("train.optimizer.weight_decay: 0.01 → 0.1", out)
        self.steer("continue", directory)
        self.finish(process)
        self.assertEqual(self.state_of(directory, "c00")["digest"], self.whole["t01"])
        self.assertEqual(self.state_of(directory, "c01")["state"], "finished")
        code, out, _ = hopyard("leaderboard", directory)
        self.assertEqual(code, 0)
        self.assertIn("c00: clone of t00", out)
        self.assertIn("c01: clone of t00 after epoch ", out)
        code, out, err = hopyard("export", directory, "--trial=c01", "--out", self.sweep.directory("clone exported"))
        self.assertEqual(code, 0, err)
        again = self.sweep.directory("cloned again")
        code, out, err = hopyard("run", self.config, "--dir", again, "--replay", directory)
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(again), digests(directory))

    def test_a_pause_outlives_a_kill(self):
        directory = self.sweep.directory("paused")
        process = self.start(directory)
        self.wait_for_visits(directory, 1)
        self.steer("pause", directory)
        wait_for(lambda: all(trial["state"] != "active" for trial in self.status(directory)["trials"]), "stillness")
        self.refused(2, ["is paused already, by "], "pause", directory)
        process.kill()
        process.wait()
        process = self.start(directory)
        wait_for(lambda: self.status(directory)["running"], "the next run")
        self.assertTrue(self.status(directory)["paused"])
        time.sleep(1)
        self.assertTrue(all(trial["state"] != "active" for trial in self.status(directory)["trials"]))
        self.steer("continue", directory)
        self.finish(process)
        self.assertEqual(digests(directory), self.whole)

    def test_operations_survive_kills_at_random_moments(self):
        random.seed(23)
        directory = self.sweep.directory("killed")
        config = self.sweep.write("long.yaml", pathlib.Path(self.config).read_text().replace("epochs: 8", "epochs: 12"))
        wishes = [
            ("set", "--trial=t00", "--set", "train.optimizer.lr=5e-4"),
            ("clone", "--trial=t01", "--warm", "--set", "train.optimizer.lr=2e-3"),
            ("stop", "--trial=t01", "--reason=enough"),
            ("set", "--trial=t00", "--set", "train.optimizer.weight_decay=0.05", "--reason=again"),
        ]
        acknowledged = []
        for number, (verb, *arguments) in enumerate(wishes):
            process = self.start(directory, config)
            self.wait_for_visits(directory, 2 + number)
            before = len(self.status(directory)["operations"])
            asker = subprocess.Popen([HOPYARD, verb, directory, *arguments], cwd=ROOT, stdout=subprocess.PIPE,
                                     stderr=subprocess.DEVNULL, text=True)
            time.sleep(random.choice([0, 0.02, 0.1, 0.5]))
            process.kill()
            process.wait()
            out, _ = asker.communicate(timeout=PATIENCE)
            recorded = self.status(directory)
            if asker.returncode == 0:
                acknowledged.append(verb)
                self.assertEqual(len(recorded["operations"]) + len(recorded["queued"]), before + 1, recorded)
            self.assertLessEqual(len(recorded["operations"]) + len(recorded["queued"]), before + 1)
        code, out, err = hopyard("run", config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        operations = self.status(directory)["operations"]
        kept = [operation["verb"] for operation in operations]
        for verb in acknowledged:
            self.assertIn(verb, kept)
        self.assertTrue(all(operation["outcome"] for operation in operations), operations)

        # The same operations at the same boundaries, and nothing is killed.
        replayed = self.sweep.directory("replayed")
        code, out, err = hopyard("run", config, "--dir", replayed, "--replay", directory)
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(replayed), digests(directory))

    def test_the_socket_is_the_owners_alone_and_garbage_changes_nothing(self):
        directory = self.sweep.directory("garbage")
        process = self.start(directory)
        path = pathlib.Path(directory) / "steer.sock"
        wait_for(path.exists, "the socket")
        mode = path.stat().st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o600)
        self.wait_for_visits(directory, 0)
        random.seed(5)
        for _ in range(50):
            with socket.socket(socket.AF_UNIX) as peer, contextlib.suppress(BrokenPipeError, ConnectionResetError):
                peer.connect(str(path))
                peer.sendall(random.randbytes(random.choice([0, 1, 100, 100_000])) + random.choice([b"", b"\n"]))
                if random.random() < 0.5:
                    peer.shutdown(socket.SHUT_WR)
                    peer.recv(4096)
        stuck = [socket.socket(socket.AF_UNIX) for _ in range(40)]
        for peer in stuck:
            peer.connect(str(path))
            peer.sendall(b'{"verb": "st')
        self.assertTrue(self.status(directory)["running"])
        self.finish(process)
        for peer in stuck:
            peer.close()
        self.assertEqual(digests(directory), self.whole)
        self.assertEqual(self.status(directory)["operations"], [])

    def test_bad_requests_are_sentences(self):
        directory = self.whole_directory
        clone = ["clone", directory, "--set", "train.optimizer.lr=1e-5"]
        self.refused(2, ["no trial 't7'", "t00, t01"], *clone, "--trial=t7")
        self.refused(2, ["--trial is missing"], *clone)
        self.refused(2, ["t00 has ended: finished"], "set", directory, "--trial=t00", "--set", "train.optimizer.lr=1e-5")
        self.refused(2, ["--set: train.batch_size cannot change", "train.optimizer.lr"], "clone", directory,
                     "--trial=t00", "--warm", "--set", "train.batch_size=8")
        self.refused(2, ["train.optimizer.lr"], "clone", directory, "--trial=t00", "--set", "train.optimizer.lr=fast")
        self.refused(2, ["'optimzer'", "'optimizer'"], "clone", directory, "--trial=t00", "--set", "train.optimzer.lr=1e-5")
        self.refused(2, ["t00 has ended"], "stop", directory, "--trial=t00")
        self.refused(2, ["is not paused"], "continue", directory)
        self.refused(2, ["--warm"], "stop", directory, "--trial=t00", "--warm")
        self.refused(2, ["control characters"], "stop", directory, "--trial=t00", "--reason=a\nb")
        (self.sweep.folder / "empty").mkdir()
        for verb in ["status", "top", "pause", "stop"]:
            self.refused(3, ["is not a run directory"], verb, self.sweep.directory("empty"))
        self.assertEqual(self.status(directory)["queued"], [])

    @unittest.skipUnless(os.geteuid() == 0, "only root can be somebody else")
    def test_another_user_may_not_steer(self):
        directory = self.sweep.directory("foreign")
        process = self.start(directory)
        self.wait_for_visits(directory, 0)
        os.chmod(self.sweep.folder, 0o755)
        try:
            self.refused(3, ["belongs to root"], "pause", directory, user=65534)
        finally:
            os.chmod(self.sweep.folder, 0o700)
        self.finish(process)
        self.assertEqual(digests(directory), self.whole)

    def test_status_and_top(self):
        code, out, err = hopyard("status", self.whole_directory)
        self.assertEqual(code, 0, err)
        self.assertIn("no process trains it", out)
        self.assertIn("2 of 2 trials ended", out)
        self.refused(2, ["table or json"], "status", self.whole_directory, "--format=csv")
        directory = self.sweep.directory("watched")
        process = self.start(directory)
        self.wait_for_visits(directory, 0)
        self.steer("pause", directory)  # or it may end between two looks
        code, out, err = hopyard("top", directory, "--count=2")
        self.assertEqual(code, 0, err)
        self.assertEqual(out.count(": running, paused"), 2, out)
        self.assertIn("emulated", out)
        self.steer("continue", directory)
        self.finish(process)


if __name__ == "__main__":
    unittest.main(verbosity=2)
