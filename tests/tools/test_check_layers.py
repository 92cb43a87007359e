"""The include ladder: what tools/check_layers lets pass and what it reports."""
import unittest

from tools_under_test import Tree, load_tool

check_layers = load_tool("check_layers")


class CheckLayers(unittest.TestCase):
    def faults(self, files):
        with Tree(files) as root:
            return check_layers.check(root)

    def test_down_and_inside_pass(self):
        self.assertEqual([], self.faults({
            "src/base/bytes.h": "#include <cstdint>\n",
            "src/model/layer.h": '#include "base/bytes.h"\n',
            "src/model/bert.cc": '#include "model/layer.h"\n#include <ATen/core/Tensor.h>\n',
        }))

    def test_up_is_reported_with_its_line(self):
        faults = self.faults({
            "src/base/bytes.h": '#include <cstdint>\n\n#include "model/layer.h"\n',
            "src/model/layer.h": "",
        })
        self.assertEqual(["src/base/bytes.h:3: base (level 0) includes model (level 2): model/layer.h"], faults)

    def test_sideways_is_reported(self):
        faults = self.faults({"src/model/layer.h": "", "src/data/rows.cc": '  #  include "model/layer.h"\n'})
        self.assertEqual(1, len(faults))
        self.assertIn("data (level 2) includes model (level 2)", faults[0])

    def test_every_pair_of_folders_obeys_the_levels(self):
        with Tree({f"src/{folder}/b.h": "" for folder in check_layers.LEVELS}) as root:
            for source, high in check_layers.LEVELS.items():
                for target, low in check_layers.LEVELS.items():
                    faults = list(check_layers.faults_of(root / "src", source, [f'#include "{target}/b.h"']))
                    self.assertEqual(source == target or low < high, faults == [], (source, target, faults))

    def test_a_name_that_is_no_file_is_reported(self):
        for name in ("bytes.h", "base/absent.h", "../base/bytes.h", "base//bytes.h", "tests/fakes.h"):
            faults = self.faults({"src/base/bytes.h": "", "src/base/a.cc": f'#include "{name}"\n'})
            self.assertEqual(1, len(faults), name)

    def test_our_header_in_angles_is_reported(self):
        self.assertEqual(1, len(self.faults({"src/base/bytes.h": "", "src/base/a.cc": "#include <base/bytes.h>\n"})))

    def test_an_unknown_folder_is_reported(self):
        self.assertEqual(1, len(self.faults({"src/misc/a.cc": ""})))
        self.assertEqual(1, len(self.faults({"src/a.cc": ""})))


if __name__ == "__main__":
    unittest.main()
