"""The script that holds kdn.engines.vllm against a vLLM's sources finds what it looks for."""

from __future__ import annotations

import ast
import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Scripts" / "lib"))

import vllm_interface as interface  # noqa: E402

BASE = """
from abc import ABC, abstractmethod

class Old(ABC):
    @abstractmethod
    def load(self, name, deadline): ...
    def inherited(self, *, wait): ...

class Base(Old):
    kind: str
    def __init__(self, size):
        self.size = size
    def save(self, name, **options): ...
"""


@pytest.fixture
def tree(tmp_path: pathlib.Path) -> interface.Tree:
    """A package vllm with a class, also to be had through its root."""
    package = tmp_path / "vllm"
    (package / "inner").mkdir(parents=True)
    (package / "inner" / "base.py").write_text(BASE)
    (package / "inner" / "__init__.py").write_text("from .base import Base as Public\n")
    (package / "__init__.py").write_text(
        "import typing\nif typing.TYPE_CHECKING:\n    from vllm.inner import Public\n"
        "LAZY = {'Engine': 'inner.base'}\ndef __getattr__(name): ...\n"
    )
    return interface.Tree(tmp_path)


def faults(tree: interface.Tree, source: str) -> list[str]:
    module = ast.parse(source)
    return [
        *interface.check_imports(tree, "ours.py", module),
        *interface.check_classes(tree, "ours.py", module),
    ]


GOOD = """
from vllm import Public, Engine, inner
from vllm.inner.base import Base

class Ours(Public):
    def load(self, name, deadline, more=None): ...
    def inherited(self, *, wait, more=None): ...
    def save(self, name, **options): ...
    def own(self, anything): ...
"""


def test_a_class_that_fits_has_no_differences(tree: interface.Tree) -> None:
    assert faults(tree, GOOD) == []


@pytest.mark.parametrize(
    ("ours", "found"),
    [
        ("def load(self, name, deadline", "def load(self, other, deadline"),
        ("def load(self, name, deadline, more=None)", "def load(self, name)"),
        ("def load(self, name, deadline, more=None)", "def load(self, name, deadline, more)"),
        ("def load(", "def loads("),
        ("def inherited(self, *, wait, more=None)", "def inherited(self)"),
        ("def save(self, name, **options)", "def save(self, name)"),
        ("import Base", "import Basis"),
        ("from vllm import Public", "from vllm import Private"),
        ("from vllm.inner.base", "from vllm.outer.base"),
    ],
)
def test_each_kind_of_difference_is_found(tree: interface.Tree, ours: str, found: str) -> None:
    assert ours in GOOD
    assert len(faults(tree, GOOD.replace(ours, found))) == 1


def test_attributes_are_looked_for_in_bases_and_constructors(tree: interface.Tree) -> None:
    lineage = tree.lineage("vllm", "Public")
    assert [node.name for node in lineage] == ["Base", "Old", "ABC"][: len(lineage)]
    there = {name for node in lineage for name in interface.class_attributes(node)}
    assert {"kind", "size", "save", "load", "inherited"} <= there
    assert "absent" not in there


def test_a_tree_without_what_is_used_is_full_of_differences(
    tree: interface.Tree, capsys: pytest.CaptureFixture[str]
) -> None:
    assert interface.main(tree.root) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert int(last.split()[0]) > len(interface.ATTRIBUTES)
