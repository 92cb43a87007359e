"""How tools/prepare_demo reads the archive's descriptions. Needs .venv."""
import json
import unittest

from tools_under_test import Tree, load_tool

load_tool("prepare_text.py")
prepare_demo = load_tool("prepare_demo")

DUMP = """Package: 0ad
Version: 0.0.26-3
Description: Real-time strategy game of ancient warfare
Section: games
Tag: game::strategy, interface::graphical,
 Section: not-this
Filename: pool/main/0/0ad/0ad_0.0.26-3_amd64.deb

Package: abr
Description: ARM: emulator
Section: non-free/utils
Filename: pool/non-free/a/abr.deb

Package: 0ad
Description: The same name again
Section: net
Filename: pool/updates/main/0/0ad.deb

Package: local
Description: installed by hand, from no archive
Section: utils

Package: silent
Section: utils
Filename: pool/main/s/silent.deb
"""


class PrepareDemo(unittest.TestCase):
    def test_archive_packages_with_synopsis_and_section_once_each(self):
        self.assertEqual({"0ad": ("Real-time strategy game of ancient warfare", "games"),
                          "abr": ("ARM: emulator", "utils")}, prepare_demo.archive_packages(DUMP))

    def test_only_the_largest_sections_are_written_in_order_of_names(self):
        sections = [f"section-{i:02d}" for i in range(18)]
        packages = {f"p{i}-{j}": ("text", section) for i, section in enumerate(sections) for j in range(20 - i)}
        with Tree({}) as root:
            rows = prepare_demo.write_table(packages, root / "table.jsonl")
            lines = [json.loads(line) for line in (root / "table.jsonl").read_text().splitlines()]
        self.assertEqual(rows, len(lines))
        self.assertEqual(set(sections[:16]), {line["section"] for line in lines})
        self.assertEqual(sorted(line["package"] for line in lines), [line["package"] for line in lines])
        self.assertEqual({"package", "text", "section"}, set(lines[0]))


if __name__ == "__main__":
    unittest.main()
