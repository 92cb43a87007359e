"""The commands of README.md and docs, as they stand there, in their order. `make` targets are what runs this test."""
import re
import shlex
import shutil
import subprocess
import unittest

from program import HOPYARD, ROOT


def commands():
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words and words[0].endswith("hopyard"):
                yield [HOPYARD, *words[1:]]


class Readme(unittest.TestCase):
    def test_commands(self):
        shutil.rmtree(ROOT / "runs/quick-best", ignore_errors=True)
        seen = list(commands())
        self.assertGreaterEqual(len(seen), 5)
        for command in seen:
            with self.subTest(" ".join(command[1:])):
                done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)
                self.assertEqual(done.returncode, 0, done.stdout + done.stderr)


if __name__ == "__main__":
    unittest.main(verbosity=2)
