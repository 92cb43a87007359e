"""The lists that tools/setup installs, the page that explains them, and the quick way through a finished set-up."""
import re
import subprocess
import unittest

from tools_under_test import ROOT


def entries(name):
    lines = (ROOT / "requirements" / name).read_text().splitlines()
    return [line for line in lines if line and not line.startswith(("#", "-"))]


class Requirements(unittest.TestCase):
    def setUp(self):
        page = (ROOT / "docs/DEPENDENCIES.md").read_text()
        rows = re.findall(r"^\| (\S+) \| (\S+) \| ([^|]+) \| ([^|]+) \|$", page, re.M)
        self.explained = {package: rest for package, *rest in rows if rest[0] != "version"}
        self.lists = sorted(path.name for path in (ROOT / "requirements").glob("*.txt"))

    def test_every_python_package_is_pinned_and_explained_at_its_version(self):
        for name in self.lists:
            for entry in [] if name.startswith("debian") else entries(name):
                package, _, version = entry.partition("==")
                self.assertRegex(version, r"^\d[\w.]*$", entry)
                self.assertEqual(version, self.explained.get(package, ["absent"])[0], f"{package} in docs/DEPENDENCIES.md")

    def test_every_debian_package_is_explained(self):
        for name in ("debian.txt", "debian-peers.txt"):
            for package in entries(name):
                self.assertIn(package, self.explained)

    def test_nothing_is_explained_that_is_not_installed(self):
        listed = {entry.partition("==")[0] for name in self.lists for entry in entries(name)}
        self.assertEqual(set(), set(self.explained) - listed)

    def test_no_package_is_in_two_lists(self):
        names = [entry.partition("==")[0] for name in self.lists for entry in entries(name)]
        self.assertEqual(sorted(set(names)), sorted(names))


class Setup(unittest.TestCase):
    def test_help_names_every_step(self):
        said = subprocess.run([ROOT / "tools/setup", "--help"], capture_output=True, text=True, check=True).stdout
        for step in ("packages", "python", "oracle", "data", "peers"):
            self.assertRegex(said, rf"(?m)^\s+{step} ")

    def test_an_unknown_step_is_refused(self):
        done = subprocess.run([ROOT / "tools/setup", "everything"], capture_output=True, text=True)
        self.assertEqual(1, done.returncode)
        self.assertIn("there is no step 'everything'", done.stderr)


if __name__ == "__main__":
    unittest.main()
