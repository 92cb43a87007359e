"""Faults of an experiment on several workers: one that is stopped or slow, a cut link, data that are not as they were
written, a full disk, partitions without a living home. What is committed stays, and the digests are those of one process."""
import contextlib
import itertools
import os
import pathlib
import shutil
import subprocess
import threading
import time
import unittest

from program import committed, hopyard
from workers import WORKERS, WorkersTest, free_port, slow_down, stopped

PAUSE_SECONDS = 3
ONE_HOME = "workers.replication=1"
SHORT_WAIT = "workers.wait_for_worker=3s"
SMALL_DISKS = "8m", "24m"  # the states of a run take more: of some of its trials, and of each


def ip(*words):
    done = subprocess.run(["ip", *words], capture_output=True, text=True)
    if done.returncode != 0:
        raise OSError(f"ip {' '.join(words)}: {done.stderr.strip()}")


class Machines:
    """Network namespaces, and a cable between any two of them; OSError where they cannot be made."""

    def __init__(self, test, count):
        self.address = [f"10.213.7.{rank + 1}" for rank in range(count)]
        self.spaces = [f"hopyard-{os.getpid()}-{rank}" for rank in range(count)]
        for space, address in zip(self.spaces, self.address):
            ip("netns", "add", space)
            test.addCleanup(ip, "netns", "delete", space)
            ip("-n", space, "link", "set", "lo", "up")
            ip("-n", space, "address", "add", address + "/32", "dev", "lo")
        for one, other in itertools.combinations(range(count), 2):
            ip("link", "add", f"to-{other}", "netns", self.spaces[one], "type", "veth",
               "peer", f"to-{one}", "netns", self.spaces[other])
            self.plug_in(one, other)

    def plug_in(self, one, other):
        for here, there in (one, other), (other, one):
            ip("-n", self.spaces[here], "link", "set", f"to-{there}", "up")
        for here, there in (one, other), (other, one):
            ip("-n", self.spaces[here], "route", "replace", self.address[there] + "/32", "dev", f"to-{there}",
               "src", self.address[here])

    def pull_out(self, one, other):
        ip("-n", self.spaces[one], "link", "set", f"to-{other}", "down")

    def within(self, rank):
        return ["ip", "netns", "exec", self.spaces[rank]]


class WorkerFaults(WorkersTest):
    epochs = 6

    def goes_on(self, directory, *processes, visits=4):
        until = committed(directory) + visits
        self.wait_for(lambda: committed(directory) >= until, *processes)

    @contextlib.contextmanager
    def back_before_the_end(self, directory, first):
        """What happens within brings worker 1 back: nothing begins until it is, so that the run does not end before."""
        self.steer("pause", directory)
        yield
        self.wait_until_said("worker 1: is here", first, times=2)
        self.steer("continue", directory)

    def steer(self, verb, directory):
        code, out, err = hopyard(verb, directory)
        self.assertEqual(code, 0, out + err)

    def expect_all_end(self, directory, *workers):
        for worker in workers:
            self.end_of(worker, 0)
        self.expect_whole(directory)

    def test_a_stopped_worker_is_buried_and_taken_in_again(self):
        directory = self.sweep.directory("stopped")
        first, second = self.start_all(directory)
        self.goes_on(directory, first, second)
        with stopped(second) as going_on:
            self.wait_until_said("worker 1: is gone", first)
            self.goes_on(directory, first)
            with self.back_before_the_end(directory, first):
                going_on()
        self.expect_all_end(directory, first, second)

    def test_a_stopped_coordinator_is_lost_and_found_again(self):
        directory = self.sweep.directory("stopped-first")
        first, second = self.start_all(directory)
        self.goes_on(directory, first, second)
        with stopped(first):
            self.wait_until_said("out of the experiment", second)
            time.sleep(PAUSE_SECONDS)
        with self.back_before_the_end(directory, first):
            pass
        self.expect_all_end(directory, first, second)

    def test_nobody_is_buried_when_all_stop_at_once(self):
        directory = self.sweep.directory("all-stopped")
        workers = self.start_all(directory)
        self.goes_on(directory, *workers)
        with stopped(*workers):
            time.sleep(PAUSE_SECONDS)
        self.expect_all_end(directory, *workers)
        for worker in workers:
            self.assertNotIn("is gone", worker.log.read_text())
            self.assertNotIn("out of the experiment", worker.log.read_text())

    def test_a_worker_may_be_ten_times_slower(self):
        directory = self.sweep.directory("slow")
        first, second = self.start_all(directory)
        self.goes_on(directory, first, second)
        slows = threading.Thread(target=slow_down, args=(second,))
        slows.start()
        self.addCleanup(slows.join)
        self.addCleanup(second.kill)
        self.expect_all_end(directory, first, second)

    def start_on_machines(self, directory, count, *options):
        try:
            machines = Machines(self, count)
        except OSError as error:
            self.skipTest(f"network namespaces cannot be made: {error}")
        port = free_port()
        return machines, [self.start(rank, directory, port, None, "--set", f"workers.bind={machines.address[rank]}",
                                     *options, within=machines.within(rank), master=machines.address[0], workers=count)
                          for rank in range(count)]

    def test_a_cut_link_comes_back(self):
        directory = self.sweep.directory("cut-link")
        machines, (first, second) = self.start_on_machines(directory, 2)
        self.goes_on(directory, first, second)
        machines.pull_out(0, 1)
        self.wait_until_said("worker 1: is gone", first)
        self.goes_on(directory, first, second)
        with self.back_before_the_end(directory, first):
            time.sleep(PAUSE_SECONDS)
            machines.plug_in(0, 1)
        self.expect_all_end(directory, first, second)

    def test_states_go_around_a_cut_link_between_two_workers(self):
        directory = self.sweep.directory("cut-beside")
        machines, workers = self.start_on_machines(directory, 3, "--set", ONE_HOME)
        self.goes_on(directory, *workers, visits=2)
        machines.pull_out(1, 2)
        self.wait_until_said("workers 1 and 2 do not reach each other", workers[0])
        self.goes_on(directory, *workers)
        self.expect_all_end(directory, *workers)
        self.assertNotIn("is gone", workers[0].log.read_text())

    def test_an_altered_partition_is_named(self):
        directory = self.sweep.directory("altered")
        file = next((pathlib.Path(self.cut) / "partition-001").glob("*.safetensors"))
        written = file.read_bytes()
        file.write_bytes(written[:-1] + bytes([written[-1] ^ 1]))
        self.addCleanup(file.write_bytes, written)
        self.expect_partition_1_named(directory, "partition 1 was altered since it was written")
        file.write_bytes(written)
        self.expect_all_end(directory, *self.start_all(directory, None, "--set", ONE_HOME))

    def test_a_missing_partition_is_named(self):
        directory = self.sweep.directory("missing")
        folder = pathlib.Path(self.cut) / "partition-001"
        away = folder.rename(folder.with_name("away"))
        self.addCleanup(lambda: away.exists() and away.rename(folder))
        self.expect_partition_1_named(directory, "partition 1 is missing")
        away.rename(folder)
        self.expect_all_end(directory, *self.start_all(directory, None, "--set", ONE_HOME))

    def expect_partition_1_named(self, directory, sentence):
        """Of which worker 1 alone is home."""
        first, second = self.start_all(directory, None, "--set", ONE_HOME, "--set", SHORT_WAIT)
        self.assertRegex(self.end_of(second, 3), f"hopyard: worker 1: .*{sentence}")
        self.assertIn("partition 1 has no living home: worker 1 is not here", self.end_of(first, 5))

    def test_a_file_that_is_gone_when_a_run_goes_on_costs_nothing(self):
        directory = self.sweep.directory("file-gone")
        workers = self.start_all(directory)
        self.goes_on(directory, *workers)
        for worker in workers:
            worker.terminate()
        self.end_of(workers[0], 5)
        self.end_of(workers[1], 5)
        before = committed(directory)
        file = next((pathlib.Path(self.cut) / "partition-002").glob("*.safetensors"))
        away = file.rename(file.with_name("away"))
        self.addCleanup(lambda: away.exists() and away.rename(file))
        for worker in self.start_all(directory, None, "--set", SHORT_WAIT):
            self.assertIn("partition 2 is missing its file", self.end_of(worker, 3))
        away.rename(file)
        self.assertEqual(committed(directory), before)
        self.expect_all_end(directory, *self.start_all(directory))

    def test_fewer_partitions_than_workers_are_refused(self):
        directory = self.sweep.directory("too-few")
        out = self.end_of(self.start(0, directory, free_port(), workers=5), 3)
        self.assertIn("has 4 partitions, 0 to 3, for 5 workers", out)
        self.expect_all_end(directory, *self.start_all(directory))

    def test_a_worker_with_too_little_disk_does_not_hold_up_the_other(self):
        directory, port = self.sweep.directory("little-disk"), free_port()
        first = self.start(0, directory, port)
        second = self.start(1, directory, port, None, "--set", "resources.disk.capacity=20MiB")
        self.assertIn("resources.disk.capacity", self.end_of(second, 4))
        self.expect_all_end(directory, first)

    def test_a_worker_whose_disk_is_full_is_named_and_the_other_goes_on(self):
        for size in SMALL_DISKS:
            with self.subTest(size=size):
                self.expect_a_full_disk_named(size)

    def expect_a_full_disk_named(self, size):
        directory, port = self.sweep.directory(f"full-disk-{size}"), free_port()
        spill = pathlib.Path(directory) / "workers/1/spill"
        spill.mkdir(parents=True)
        on_a_small_disk = ["unshare", "--mount", "sh", "-c",
                           f'mount -t tmpfs -o size={size} tmpfs "{spill}" && exec "$@"', "sh"]
        tried = subprocess.run([*on_a_small_disk, "true"], capture_output=True, text=True)
        if tried.returncode != 0:
            self.skipTest(f"a small disk cannot be made: {tried.stderr.strip()}")
        first = self.start(0, directory, port)
        second = self.start(1, directory, port, within=on_a_small_disk)
        self.assertIn("No space left on device", self.end_of(second, 4))
        said = self.end_of(first, 0)
        self.assertRegex(said, "(?m)^worker 1: .*/workers/1/spill/.*: No space left on device: free some space")
        self.expect_whole(directory)

    def states_of(self, directory, rank):
        folder = pathlib.Path(directory) / ("spill" if rank == 0 else f"workers/{rank}/spill")
        return folder, [file for file in folder.glob("versions/*") if file.stat().st_size > 50_000]

    def interrupted_run(self, name):
        directory = self.sweep.directory(name)
        workers = self.start_all(directory)
        self.goes_on(directory, *workers, visits=8)
        for worker in workers:
            worker.terminate()
        for worker in workers:
            self.end_of(worker, 5)
        return directory

    def test_a_disk_that_is_not_there_is_refused_and_nothing_is_forgotten(self):
        directory = self.interrupted_run("unmounted")
        folder, files = self.states_of(directory, 0)
        self.assertTrue(files)
        folder.rename(folder.with_name("elsewhere"))
        workers = self.start_all(directory, None, "--set", SHORT_WAIT)
        self.assertIn("has lost version", self.end_of(workers[0], 3))
        self.end_of(workers[1], 5)
        shutil.rmtree(folder)
        folder.with_name("elsewhere").rename(folder)
        self.expect_all_end(directory, *self.start_all(directory))

    def test_a_worker_that_cannot_listen_where_it_is_to_is_refused(self):
        directory, port = self.sweep.directory("no-address"), free_port()
        first = self.start(0, directory, port)
        second = self.start(1, directory, port, None, "--set", "workers.bind=192.0.2.1")
        self.assertIn("worker 1: workers.bind: on 192.0.2.1 this machine cannot listen", self.end_of(second, 2))
        self.expect_all_end(directory, first)

    def test_a_partition_without_a_living_home_ends_the_run_which_goes_on_later(self):
        directory = self.sweep.directory("homeless")
        first, second = self.start_all(directory, None, "--set", ONE_HOME, "--set", SHORT_WAIT)
        self.goes_on(directory, first, second)
        second.kill()
        out = self.end_of(first, 5)
        self.assertIn("partition 1 has no living home: worker 1 is not here", out)
        self.assertIn("3 s (workers.wait_for_worker)", out)
        self.expect_all_end(directory, *self.start_all(directory, None, "--set", ONE_HOME))


if __name__ == "__main__":
    unittest.main(verbosity=2)
