"""What the tests of tools/ share: loading a tool as a module, and small trees of files."""
import importlib.machinery
import importlib.util
import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]


def load_tool(name):
    """tools/NAME as a module."""
    return load_module(ROOT / "tools" / name)


def load_module(path):
    """A Python file as a module, whether or not it is named .py."""
    loader = importlib.machinery.SourceFileLoader(path.stem, str(path))
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    sys.modules[loader.name] = module
    sys.dont_write_bytecode = True
    loader.exec_module(module)
    return module


class Tree:
    """A temporary folder with the given files (relative name: text); the value of `with` is its path."""

    def __init__(self, files):
        self.files = files

    def __enter__(self):
        self.folder = tempfile.TemporaryDirectory()
        root = pathlib.Path(self.folder.name)
        for name, text in self.files.items():
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text(text, encoding="utf-8")
        return root

    def __exit__(self, *_):
        self.folder.cleanup()
