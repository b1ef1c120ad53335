"""Counts passed and failed tests in the output of one step of Scripts/test."""

from __future__ import annotations

import pathlib
import re
import sys

_PYTEST = re.compile(r"^(?:=+ )?((?:\d+ [a-z]+(?:, )?)+) in [\d.]+s\b", re.MULTILINE)
_SWIFT_RUN = re.compile(r"^\S+ Test run with (\d+) tests?\b.* (passed|failed) after", re.MULTILINE)
_SWIFT_FAILED = re.compile(
    r"^\S+ Test (?!run with|case )(.+?) (?:with \d+ test cases? )?failed after", re.MULTILINE
)


def count(output: str) -> tuple[int, int]:
    """Tests that passed and tests that failed, over all runs that `output` shows."""
    passed = failed = 0
    for summary in _PYTEST.findall(output):
        numbers = {word: int(number) for number, word in re.findall(r"(\d+) ([a-z]+)", summary)}
        passed += numbers.get("passed", 0)
        failed += sum(numbers.get(word, 0) for word in ("failed", "error", "errors"))
    total = sum(int(number) for number, _ in _SWIFT_RUN.findall(output))
    broken = len(_SWIFT_FAILED.findall(output))
    return passed + max(0, total - broken), failed + broken


def outcome(output: str, status: int, *, needs_tests: bool) -> tuple[int, int]:
    """`count`, with a step that holds no tests counted as one, and no silent failure."""
    passed, failed = count(output)
    if status != 0:
        return passed, max(1, failed)
    if passed == 0 and needs_tests:
        return 0, 1
    return max(1, passed), failed


if __name__ == "__main__":
    text = pathlib.Path(sys.argv[1]).read_text("utf-8", "replace")
    print(*outcome(text, int(sys.argv[2]), needs_tests=sys.argv[3] == "tests"))
