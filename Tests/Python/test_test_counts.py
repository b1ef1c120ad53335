"""What Scripts/test reads out of the output of its steps."""

from __future__ import annotations

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Scripts" / "lib"))

from test_counts import count, outcome  # noqa: E402

SWIFT_GOOD = """
◇ Test run started.
✔ Test "a lease ends" passed after 0.001 seconds.
✔ Suite LeaseTests passed after 0.001 seconds.
✔ Test run with 12 tests in 3 suites passed after 0.002 seconds.
"""
SWIFT_BAD = """
✘ Test "a lease ends" recorded an issue at LeaseTests.swift:3:5: Expectation failed: false
✘ Test "a lease ends" failed after 0.001 seconds with 1 issue.
✘ Test "sizes" with 4 test cases failed after 0.001 seconds with 2 issues.
✘ Suite LeaseTests failed after 0.001 seconds with 3 issues.
✘ Test run with 12 tests in 3 suites failed after 0.002 seconds with 3 issues.
"""
CASES = [
    ("", (0, 0)),
    ("building for 0.3 s\n", (0, 0)),
    ("....\n4 passed in 0.12s\n", (4, 0)),
    ("2 failed, 30 passed, 1 warning in 61.02s (0:01:01)\n", (30, 2)),
    ("==== 1 failed, 3 passed, 2 errors in 5.00s ====\n", (3, 3)),
    (SWIFT_GOOD, (12, 0)),
    (SWIFT_BAD, (10, 2)),
    (SWIFT_GOOD + "3 passed in 1.00s\n", (15, 0)),
]


@pytest.mark.parametrize(("output", "counts"), CASES)
def test_tests_are_counted_as_their_runner_counts_them(
    output: str, counts: tuple[int, int]
) -> None:
    assert count(output) == counts


@pytest.mark.parametrize(
    ("output", "status", "needs_tests", "expected"),
    [
        ("all is well\n", 0, False, (1, 0)),
        ("all is well\n", 0, True, (0, 1)),
        ("an error\n", 2, False, (0, 1)),
        ("4 passed in 0.12s\n", 1, True, (4, 1)),
        (SWIFT_BAD, 1, True, (10, 2)),
    ],
)
def test_a_step_fails_by_its_status_and_by_running_nothing(
    output: str, status: int, needs_tests: bool, expected: tuple[int, int]
) -> None:
    assert outcome(output, status, needs_tests=needs_tests) == expected
