"""`data.order: free`: workers that are free decide the order of visits. What they did is recorded, and is done again in one process
and on any number of workers, bit for bit."""
import contextlib
import pathlib
import threading
import unittest

from program import committed, digests, hopyard, journal
from workers import PARTITIONS, TRIALS, WorkersTest, free_port, slow_down


class FreeOrders(WorkersTest):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        text = pathlib.Path(cls.config).read_text()
        cls.free = cls.sweep.write("free.yaml", text.replace("data: {", "data: {order: free, ")
                                   .replace("wait_for_worker: 100s", "wait_for_worker: 100s, scheduler: random"))

    def start_free(self, directory, count, *options):
        port = free_port()
        return [self.start(rank, directory, port, self.free, *options, workers=count) for rank in range(count)]

    def order(self, directory):
        with contextlib.closing(journal(directory)) as looked:
            visits = looked.execute("SELECT trial, epoch, partition FROM visits ORDER BY trial, epoch, visit").fetchall()
        self.assertEqual(len(set(visits)), TRIALS * self.epochs * PARTITIONS)
        self.assertEqual(len(visits), len(set(visits)))
        return visits

    def expect_same(self, out, again, directory):
        self.assertIn(f"the same bits after each of {TRIALS * self.epochs * PARTITIONS} sub-epochs", out)
        self.assertEqual(digests(again), digests(directory))
        self.assertEqual(self.order(again), self.order(directory))

    def expect_done_again(self, directory):
        """In one process, trial by trial and as a whole, and on two and three workers."""
        self.assertNotEqual(self.order(directory), self.order(self.sweep.directory("alone")))
        for trial, digest in digests(directory).items():
            code, out, err = hopyard("reproduce", directory, "--trial", trial)
            self.assertEqual(code, 0, out + err)
            self.assertIn(f"{trial} is reproduced: the same bits after each of {self.epochs * PARTITIONS} sub-epochs, "
                          f"digest {digest}", out)
        again = directory + "-in-one"
        code, out, err = hopyard("run", self.free, "--dir", again, "--replay", directory)
        self.assertEqual(code, 0, out + err)
        self.expect_same(out, again, directory)
        for count in (2, 3):
            again = f"{directory}-on-{count}"
            workers = self.start_free(again, count, "--replay", directory)
            said = [self.end_of(worker, 0) for worker in workers]
            self.expect_same(said[0], again, directory)

    def test_what_two_workers_did_of_whom_one_was_killed(self):
        directory = self.sweep.directory("killed")
        first, second = self.start_free(directory, 2)
        self.wait_for(lambda: committed(directory) >= 3, first, second)
        second.kill()
        self.end_of(first, 0)
        self.expect_done_again(directory)

    def test_what_three_workers_did_of_whom_one_was_slow(self):
        directory = self.sweep.directory("slow")
        workers = self.start_free(directory, 3)
        self.wait_for(lambda: committed(directory) >= 3, *workers)
        slows = threading.Thread(target=slow_down, args=(workers[2],))
        slows.start()
        self.addCleanup(slows.join)
        self.addCleanup(workers[2].kill)
        for worker in workers:
            self.end_of(worker, 0)
        self.expect_done_again(directory)

    def test_a_replay_may_be_killed_too_and_is_a_record_itself(self):
        directory, again = self.sweep.directory("first"), self.sweep.directory("again")
        for worker in self.start_free(directory, 2):
            self.end_of(worker, 0)
        workers = self.start_free(again, 2, "--replay", directory)
        self.wait_for(lambda: committed(again) >= 5, *workers)
        for worker in workers:
            worker.kill()
            worker.wait()
        workers = self.start_free(again, 2)  # it knows what it repeats
        self.expect_same([self.end_of(worker, 0) for worker in workers][0], again, directory)
        code, out, err = hopyard("reproduce", again, "--trial=t02")
        self.assertEqual(code, 0, out + err)

    def test_records_that_cannot_be_repeated(self):
        directory = self.sweep.directory("recorded")
        for worker in self.start_free(directory, 2):
            self.end_of(worker, 0)
        said = self.end_of(self.start(0, self.sweep.directory("other"), free_port(), self.free, "--replay", directory,
                                      "--set", "seed=9"), 2)
        self.assertIn(f"--replay: {directory} belongs to another config", said)
        with contextlib.closing(journal(directory)) as opened, opened:
            opened.execute("UPDATE visits SET partition=(SELECT partition FROM visits WHERE trial='t01' AND epoch=1 AND visit=0)"
                           " WHERE trial='t01' AND epoch=1 AND visit=2")
        code, _, err = hopyard("reproduce", directory, "--trial=t01")
        self.assertEqual(code, 3, err)
        self.assertIn("the record of t01: has partition", err)
        self.assertIn("as visit 3 of epoch 2, which that epoch has already", err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
