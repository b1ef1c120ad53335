"""The versions of engines: one file names them, the documentation repeats it."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
PINS = ROOT / "Scripts" / "lib" / "engine-versions.txt"
PAGE = ROOT / "Sources" / "KDNServer" / "KDN.docc" / "Engines.md"


def pinned() -> dict[str, str]:
    lines = (line for line in PINS.read_text().splitlines() if line and line[0] != "#")
    return dict(line.split("==") for line in lines)


def documented() -> dict[str, str]:
    return dict(re.findall(r"^\| ([a-z-]+) \| (\d[\d.]*) \|$", PAGE.read_text(), re.MULTILINE))


def test_the_documentation_names_the_versions_that_are_tested() -> None:
    assert pinned() and documented() == pinned()


def test_requirements_leave_versions_to_the_one_file() -> None:
    for requirements in PINS.parent.glob("*-requirements.txt"):
        assert "==" not in requirements.read_text(), requirements.name
