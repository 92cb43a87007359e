"""Several workers train a trial together, step by step: the digests of one process, whoever dies."""
import contextlib
import json
import unittest

from program import committed, digests, hopyard, journal, leaderboard
from workers import PARTITIONS, TRIALS, WorkersTest, free_port


def together(degree, **more):
    parts = [f"degree: {degree}", *(f"{key}: {value}" for key, value in more.items())]
    return "--set", f"train.data_parallel={{{', '.join(parts)}}}"


def stale(degree):
    """What a server keeps does not fit into the 40 MiB of the other tests."""
    return *together(degree, sum="server", staleness=2), "--set", "resources.host_memory=128MiB"


class Teams(WorkersTest):
    train = "\n  micro_batch_size: 4"

    def test_workers_that_train_together_end_as_one_process(self):
        for workers, degree in ((2, 2), (3, 2), (3, 3)):
            with self.subTest(workers=workers, degree=degree):
                directory = self.sweep.directory(f"{degree}-of-{workers}")
                processes = self.start_all(directory, None, *together(degree), workers=workers)
                said = [self.end_of(process, 0) for process in processes]
                self.expect_whole(directory)
                self.assertIn("trained together", said[0])

    def test_trials_of_different_degree_take_their_turns(self):
        alone, mixed = self.sweep.directory("mixed-alone"), self.sweep.directory("mixed")
        degrees = together("{grid: [1, 2]}")
        code, _, err = hopyard("run", self.config, "--dir", alone, *degrees)
        self.assertEqual(code, 0, err)
        for process in self.start_all(mixed, None, *degrees):
            self.end_of(process, 0)
        self.assertEqual(len(digests(mixed)), 2 * TRIALS)
        self.assertEqual(digests(mixed), digests(alone))

    def test_an_all_reduce_has_bits_of_its_own_and_one_model(self):
        directory = self.sweep.directory("all-reduce")
        said = [self.end_of(process, 0)
                for process in self.start_all(directory, None, *together(2, sum="all-reduce"))]
        self.assertIn("trained together", said[0])
        self.assertEqual(set(digests(directory)), set(self.expected))
        self.assertNotEqual(digests(directory), self.expected)

    def test_a_server_without_staleness_is_an_all_reduce(self):
        ended = {}
        for scheme, how in (("reduced", {"sum": "all-reduce"}), ("served", {"sum": "server", "staleness": 0})):
            directory = self.sweep.directory(scheme)
            for process in self.start_all(directory, None, *together(2, **how)):
                self.end_of(process, 0)
            ended[scheme] = digests(directory)
        self.assertEqual(set(ended["served"]), set(self.expected))
        self.assertEqual(ended["served"], ended["reduced"])

    def test_a_stale_server_trains_every_visit_once_and_moves_no_more_than_the_formula(self):
        for workers in (2, 3):
            with self.subTest(workers=workers):
                directory = self.sweep.directory(f"stale-{workers}")
                processes = self.start_all(directory, None, *stale(workers), workers=workers)
                for process in processes:
                    self.end_of(process, 0)
                self.expect_visits(directory)
                hopping = self.hopping(directory)
                exchanged = sum(worker["exchanged_bytes"] for worker in hopping["workers"])
                self.assertLessEqual(exchanged, 1.01 * hopping["exchange_bytes_expected"])
                self.assertGreater(exchanged, 0.5 * hopping["exchange_bytes_expected"])  # all gradients at least

    def test_a_server_is_planned_and_one_process_refuses_it(self):
        code, out, err = hopyard("plan", self.config, *stale(2))
        self.assertEqual(code, 0, err)
        self.assertIn("2 workers train each step together, sum: server, staleness: 2; at most", out)
        code, _, err = hopyard("run", self.config, "--dir", self.sweep.directory("served-alone"), *stale(2))
        self.assertEqual(code, 2)
        self.assertIn("there is one worker", err)

    def test_one_process_trains_what_is_ordered_alone(self):
        directory = self.sweep.directory("alone-together")
        code, out, err = hopyard("run", self.config, "--dir", directory, *together(2))
        self.assertEqual(code, 0, err)
        self.assertEqual(digests(directory), self.expected)

    def hopping(self, directory):
        with contextlib.closing(journal(directory)) as looked:
            return json.loads(looked.execute("SELECT json FROM facts WHERE name = 'hopping'").fetchone()[0])

    def test_bytes_over_the_network_are_those_of_the_formulas(self):
        directory = self.sweep.directory("bytes-hops")
        first, second = self.start_all(directory)
        said = self.end_of(first, 0)
        self.assertIn("by formula", said)
        self.assertRegex(said, r"between workers: states .*, steps 0 B; no message carries rows: ")
        self.end_of(second, 0)
        hops = self.hopping(directory)
        sent, read = (sum(worker[key] for worker in hops["workers"]) for key in ("sent_bytes", "bytes_read"))
        self.assertAlmostEqual(sent / hops["hop_bytes"], 1, delta=0.01)  # and so nothing else
        self.assertLess(sent - hops["hop_bytes"], read)
        self.assertEqual(hops["hops"], TRIALS * self.epochs * PARTITIONS)
        self.assertAlmostEqual(hops["hop_bytes"] / hops["hop_bytes_expected"], 1, delta=0.01)
        directory = self.sweep.directory("bytes-steps")
        for process in self.start_all(directory, None, *together(2)):
            self.end_of(process, 0)
        steps = self.hopping(directory)
        self.assertEqual(steps["hop_bytes"], 0)
        exchanged = sum(worker["exchanged_bytes"] for worker in steps["workers"])
        self.assertAlmostEqual(exchanged / steps["exchange_bytes_expected"], 1, delta=0.01)
        sent = sum(worker["sent_bytes"] for worker in steps["workers"])
        self.assertAlmostEqual(sent / exchanged, 1, delta=0.01)

    def test_trials_that_stay_where_they_began_end_as_one_process(self):
        directory = self.sweep.directory("task")
        for process in self.start_all(directory, None, "--set", "workers={scheduler: task}"):
            self.end_of(process, 0)
        self.expect_whole(directory)
        self.assertLessEqual(self.hopping(directory)["hops"], TRIALS)  # on the way home

    def test_the_sum_of_c10d_has_bits_of_its_own_and_is_not_done_again(self):
        directory = self.sweep.directory("all-reduce")
        for process in self.start_all(directory, None, *together(2, sum="all-reduce")):
            self.end_of(process, 0)
        self.assertTrue(all(row["state"] == "finished" for row in leaderboard(directory)))
        code, _, err = hopyard("reproduce", directory, "--trial=t00", "--dir", self.sweep.directory("all-reduce-again"))
        self.assertEqual(code, 2)
        self.assertIn("train.data_parallel.sum", err)

    def kill_one(self, directory, victim, workers, how):
        port = free_port()
        processes = [self.start(rank, directory, port, None, *how, workers=workers) for rank in range(workers)]
        self.wait_for(lambda: committed(directory) >= 3, *processes)
        processes[victim].kill()
        processes[victim].wait()
        return processes, port

    def test_a_member_that_dies_leaves_its_trials_to_the_others(self):
        for workers, degree in ((2, 2), (3, 2)):
            with self.subTest(workers=workers, degree=degree):
                directory = self.sweep.directory(f"dies-{degree}-of-{workers}")
                processes, _ = self.kill_one(directory, workers - 1, workers, together(degree))
                self.end_of(processes[0], 0)
                self.expect_whole(directory)

    def test_a_member_of_a_server_that_dies_leaves_its_trials_to_the_others(self):
        directory = self.sweep.directory("served-dies")
        processes, _ = self.kill_one(directory, 2, 3, (*stale(2), "--set", "workers.replication=3"))
        for process in processes[:2]:
            self.end_of(process, 0)
        self.expect_visits(directory)

    def test_who_had_the_server_dies_and_the_next_start_goes_on_from_the_last_commits(self):
        directory = self.sweep.directory("server-dies")
        processes, port = self.kill_one(directory, 0, 2, stale(2))
        self.end_of(self.start(0, directory, port, None, *stale(2)), 0)
        self.end_of(processes[1], 0)
        self.expect_visits(directory)

    def test_a_member_that_comes_back_trains_along(self):
        directory = self.sweep.directory("member-back")
        processes, port = self.kill_one(directory, 1, 2, together(2))
        back = self.start(1, directory, port, None, *together(2))
        self.end_of(processes[0], 0)
        self.end_of(back, 0)
        self.expect_whole(directory)

    def test_a_coordinator_that_dies_goes_on_with_its_teams(self):
        directory = self.sweep.directory("leader-dies")
        processes, port = self.kill_one(directory, 0, 2, together(2))
        self.end_of(self.start(0, directory, port, None, *together(2)), 0)
        self.end_of(processes[1], 0)
        self.expect_whole(directory)

    def test_what_cannot_be_trained_together_is_refused_with_the_way_out(self):
        alone = self.sweep.directory("refused")
        code, _, err = hopyard("run", self.config, "--dir", alone, *together(2, sum="all-reduce"))
        self.assertEqual(code, 2)
        self.assertIn("there is one worker", err)
        refused = (
            (together(3), "3 workers are to train a trial together, and there are 2"),
            ((*together(2), "--set", "workers.replication=1"), "write 2 or auto"),
            (("--set", "workers={scheduler: task, replication: 1}"), "write 2 or auto"))
        for number, (options, sentence) in enumerate(refused):
            with self.subTest(sentence=sentence):
                first, second = self.start_all(self.sweep.directory(f"refused-{number}"), None, *options)
                self.assertIn(sentence, self.end_of(first, 2))
                self.assertIn(sentence, self.end_of(second, 2))


if __name__ == "__main__":
    unittest.main(verbosity=2)
