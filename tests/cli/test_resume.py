"""kill -9 at ten random moments, run again, same digests, nothing left over; the same for Ctrl-C."""
import contextlib
import json
import pathlib
import random
import signal
import subprocess
import time
import unittest

from program import PATIENCE, Sweep, committed, digests, hopyard, journal, leaderboard, start_run


class Resume(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.sweep = Sweep()
        code, out, err = hopyard("run", cls.sweep.config, "--dir", cls.sweep.directory("whole"))
        assert code == 0, out + err
        cls.visits = committed(cls.sweep.directory("whole"))
        cls.expected = digests(cls.sweep.directory("whole"))

    def start(self, directory):
        return start_run(self, self.sweep.config, directory)

    def still_runs_at(self, process, directory, visits, seconds=0):
        """Waits for so many committed visits, and so much longer; says whether the process has not ended by then."""
        deadline = time.monotonic() + PATIENCE
        while committed(directory) < visits and process.poll() is None:
            self.assertLess(time.monotonic(), deadline, f"waited in vain for {visits} visits")
            time.sleep(0.01)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(timeout=seconds)
        return process.poll() is None

    def finish(self, directory):
        code, out, err = hopyard("run", self.sweep.config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(directory), self.expected)
        self.assertTrue(all(row["state"] == "finished" for row in leaderboard(directory)))

    def test_kill_at_ten_random_moments(self):
        random.seed(17)
        directory = self.sweep.directory("killed")
        kills = 0
        while kills < 10:
            process = self.start(directory)
            target = committed(directory) + random.choice([0, 0, 1])
            alive = self.still_runs_at(process, directory, target, random.uniform(0, 0.5) if kills else 0)
            process.kill()
            process.wait()
            process.stderr.close()
            if not alive:
                break  # it came to its end between two kills
            kills += 1
        self.assertGreater(kills, 0)
        self.finish(directory)
        left = [path.name for path in pathlib.Path(directory).rglob("*") if ".tmp" in path.name]
        self.assertEqual(left, [])

    def killed_at_random(self, config, directory, visits, seed):
        """Runs until the end, killed at random moments before; returns how often."""
        moments = random.Random(seed)
        for kills in range(8):
            process = start_run(self, config, directory)
            target = committed(directory) + moments.randrange(visits // 4)
            alive = self.still_runs_at(process, directory, target, moments.uniform(0, 0.3))
            process.kill()
            process.wait()
            if not alive:
                return kills  # it came to its end between two kills
        code, out, err = hopyard("run", config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        return kills + 1

    def same_whatever_kills_it(self, name, search, epochs):
        """search.deterministic: the whole experiment is a function of config and seed."""
        text = self.sweep.text.replace("search: {method: grid,", f"search: {{{search}, deterministic: true,")
        text = text.replace("{grid: [1.0e-3, 3.0e-3]}", "{loguniform: [1.0e-4, 1.0e-2]}")
        config = self.sweep.write(f"{name}.yaml", text.replace("epochs: 1", f"epochs: {epochs}"))
        whole = self.sweep.directory(name)
        code, out, err = hopyard("run", config, "--dir", whole)
        self.assertEqual(code, 0, out + err)
        expected = [{key: value for key, value in row.items() if key != "seconds"} for row in leaderboard(whole)]
        for seed in range(2):
            killed = self.sweep.directory(f"{name} killed {seed}")
            self.assertGreater(self.killed_at_random(config, killed, committed(whole), seed), 0)
            rows = [{key: value for key, value in row.items() if key != "seconds"} for row in leaderboard(killed)]
            self.assertEqual(rows, expected)
        return killed, expected

    def test_asha_killed_at_random_moments_ends_as_if_undisturbed(self):
        _, rows = self.same_whatever_kills_it("asha", "method: asha, trials: 8, eta: 2, min_epochs: 0.5", 4)
        self.assertEqual({row["state"] for row in rows}, {"finished", "stopped"})
        self.assertEqual({row["epochs"] for row in rows}, {0.5, 1, 2, 4})

    def test_a_population_killed_at_random_moments_ends_as_if_undisturbed(self):
        killed, rows = self.same_whatever_kills_it("pbt", "method: pbt, trials: 4", 3)
        self.assertGreater(len(rows), 4)  # clones took the places of the worst
        clone = max(rows, key=lambda row: row["trial"])["trial"]
        code, out, err = hopyard("export", killed, f"--trial={clone}", f"--out={self.sweep.directory('clone')}")
        self.assertEqual(code, 0, out + err)

    def bytes_on_disk(self, directory):
        return sum(path.stat().st_size for path in (pathlib.Path(directory) / "spill").rglob("*.blobs"))

    def test_a_killed_run_holds_no_more_than_an_undisturbed_one(self):
        directory = self.sweep.directory("killed once")
        process = self.start(directory)
        self.still_runs_at(process, directory, self.visits // 2)
        process.kill()
        process.wait()
        process.stderr.close()
        self.finish(directory)
        self.assertEqual(self.bytes_on_disk(directory), self.bytes_on_disk(self.sweep.directory("whole")))

    def test_interrupt_ends_cleanly_and_can_be_resumed(self):
        directory = self.sweep.directory("interrupted")
        process = self.start(directory)
        self.assertTrue(self.still_runs_at(process, directory, 1))
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 5, err)
        self.finish(directory)

    def test_a_full_disk_ends_the_run_which_goes_on_with_more_capacity(self):
        # Windows smaller than the states: beside what is committed, trials spill.
        sweep = Sweep()
        model = sweep.folder / "model/config.json"
        model.write_text(json.dumps(json.loads(model.read_text()) | {"num_hidden_layers": 16, "intermediate_size": 1024}))
        config = sweep.write("spills.yaml", sweep.text.replace("host_memory: 48MiB", "host_memory: 28MiB"))
        code, out, err = hopyard("run", config, "--dir", sweep.directory("roomy"))
        self.assertEqual(code, 0, out + err)
        need = json.loads(hopyard("plan", sweep.directory("roomy"), "--format=json")[1])["tiers"]["disk_need_bytes"]
        directory = sweep.directory("full")
        code, out, err = hopyard("run", config, "--dir", directory, "--set", f"resources.disk.capacity={need // 1024 + 64}KiB")
        self.assertEqual(code, 4, out + err)
        self.assertEqual(err.count("\n"), 1, err)
        for word in [f"{directory}/spill", "bytes", "resources.disk.capacity", "same command"]:
            self.assertIn(word, err)
        rows = leaderboard(directory)
        self.assertTrue(all(row["state"] != "failed" for row in rows), rows)
        self.assertTrue(any(row["digest"] for row in rows), rows)
        code, out, err = hopyard("run", config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(directory), digests(sweep.directory("roomy")))

    def test_a_resume_finds_room_beside_what_a_crash_left(self):
        directory = self.sweep.directory("leftovers")
        code, out, err = hopyard("run", self.sweep.config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        # Enough for two commits at a time, too little for what is left and the disk's measurement together.
        enough = json.loads(hopyard("plan", directory, "--format=json")[1])["tiers"]["disk_need_bytes"] * 3 // 2
        self.assertGreater(self.bytes_on_disk(directory) + (32 << 20), enough)
        with contextlib.closing(journal(directory)) as opened, opened:
            for table in ["trials", "settings", "visits", "state", "scores", "curve"]:
                opened.execute(f"DELETE FROM {table}")  # every version is now one that no commit names
            opened.execute("DELETE FROM facts WHERE name='finished'")
        code, out, err = hopyard("run", self.sweep.config, "--dir", directory, "--set",
                                 f"resources.disk.capacity={enough // 1024}KiB")
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(directory), self.expected)

    def test_partitions_are_decided_once(self):
        config = self.sweep.write("auto.yaml", self.sweep.text.replace("partitions: 4", "partitions: auto"))
        directory = self.sweep.directory("auto")
        code, _, err = hopyard("run", config, "--dir", directory, "--set", "resources.disk.capacity=1MiB")
        self.assertEqual(code, 4, err)
        with contextlib.closing(journal(directory)) as opened, opened:  # by its timing, this sweep would get one
            opened.execute("""INSERT OR REPLACE INTO facts VALUES('partitions', '{"count":4}')""")
        record = (pathlib.Path(directory) / "config.yaml").read_text()
        code, out, err = hopyard("run", config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        self.assertEqual(digests(directory), self.expected)
        self.assertEqual((pathlib.Path(directory) / "config.yaml").read_text(), record)
        code, out, err = hopyard("run", config, "--dir", self.sweep.directory("auto anew"))
        self.assertEqual(code, 0, out + err)
        with contextlib.closing(journal(self.sweep.directory("auto anew"))) as opened:
            self.assertEqual(opened.execute("SELECT json FROM facts WHERE name='partitions'").fetchone(), ('{"count":1}',))

    def test_runs_that_share_an_absolute_disk_path(self):
        shared = ["--set", f"resources.disk.path={self.sweep.directory('disk')}"]
        first, second = self.sweep.directory("first"), self.sweep.directory("second")
        for directory, more in [(first, []), (second, []), (first, ["--fresh"])]:
            code, out, err = hopyard("run", self.sweep.config, "--dir", directory, *shared, *more)
            self.assertEqual(code, 0, out + err)
        self.assertEqual(len(list(pathlib.Path(self.sweep.directory("disk")).iterdir())), 3)
        for directory in [first, second, first + ".1"]:
            code, out, err = hopyard("export", directory, "--trial=t00", "--out", directory + " exported")
            self.assertEqual(code, 0, out + err)
            self.assertIn(self.expected["t00"], out)

    def test_the_state_does_not_change_its_disk(self):
        directory = self.sweep.directory("elsewhere")
        code, out, err = hopyard("run", self.sweep.config, "--dir", directory)
        self.assertEqual(code, 0, out + err)
        with contextlib.closing(journal(directory)) as opened, opened:
            opened.execute("DELETE FROM facts WHERE name='finished'")
        code, _, err = hopyard("run", self.sweep.config, "--dir", directory, "--set", "resources.disk.path=other")
        self.assertEqual(code, 2, err)
        for word in ["resources.disk.path", f"{directory}/spill"]:
            self.assertIn(word, err)

    def test_other_cuts_devices_and_schedules_give_the_same_digests(self):
        variants = {
            "one device": ["--set", "resources.devices=[{type: emulated, count: 1, memory: 24MiB, link: 1GiB/s}]"],
            "cpu": ["--set", "resources.devices=[{type: cpu, count: 2, threads: 1}]", "--set",
                    "resources.host_memory=256MiB"],
            "greedy": ["--set", "execute.partitioner=greedy", "--set", "execute.scheduler=fifo"],
            "no double buffer": ["--set", "execute.double_buffer=false", "--set", "execute.interleave=false"],
            "one layer per shard": ["--set", "execute.cuts=[1, 2, 3, 4]", "--set", "execute.scheduler=random"],
        }
        for name, options in variants.items():
            with self.subTest(name):
                directory = self.sweep.directory(name)
                code, out, err = hopyard("run", self.sweep.config, "--dir", directory, *options)
                self.assertEqual(code, 0, out + err)
                self.assertEqual(digests(directory), self.expected)


if __name__ == "__main__":
    unittest.main(verbosity=2)
