"""Each rule of Scripts/tidy can fail, and what is allowed passes."""

from __future__ import annotations

import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "Scripts" / "lib"))

import tidy_rules  # noqa: E402
from swift_source import SwiftFile, blank  # noqa: E402

CORE = "Sources/KDNCore/Example.swift"
SWIFT_TEST = "Tests/KDNCoreTests/ExampleTests.swift"
PYTHON_TEST = "Tests/Python/test_example.py"
# Spelt in halves, so that these lines do not break the rules that they test.
MARK = "TO" + "DO"
NAP = "sl" + "eep"


def rules(root: pathlib.Path, path: str, text: str) -> list[str]:
    """The rules that `text` breaks when it is the only file of a checkout."""
    file = root / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)
    found = tidy_rules.House(root).findings()
    return [each.rule for each in found if not each.is_note and each.path == path]


BROKEN = [
    ("file-length", CORE, "\n" * 501),
    ("file-length", PYTHON_TEST, "\n" * 501),
    ("line-length", CORE, "let a = 1  //" + " x" * 50 + "\n"),
    ("line-length", "Scripts/example", "#" * 101 + "\n"),
    ("unfinished", CORE, f"// {MARK}: more\n"),
    ("unfinished", "Config/example.yaml", f"# {MARK}\n"),
    ("foreign", CORE, "// Copy" + "right (c) 2019 Somebody\n"),
    ("forced", CORE, "let a = b!\n"),
    ("forced", CORE, "let a = f(1)!.c\n"),
    ("forced", CORE, "let a = try! f()\n"),
    ("forced", CORE, "let a = b as! C\n"),
    ("forced", CORE, "var a: Int!\n"),
    ("forced", SWIFT_TEST, "let a = b[0]!\n"),
    ("function-length", CORE, "func f() {\n" + "  g()\n" * 69 + "}\n"),
    ("unchecked", CORE, "final class A: @unchecked Sendable {}\n"),
    ("unchecked", CORE, "// It is fine.\nfinal class A: @unchecked Sendable {}\n"),
    ("lock", CORE, "let a = Mutex(0)\n"),
    ("lock", SWIFT_TEST, "let a: Mutex<Int>\n"),
    ("unsafe", CORE, "let a = unsafe f()\n"),
    ("unsafe", CORE, "@unsafe func f() {}\n"),
    ("unsafe", CORE, "let a = unsafe f()\nlet b = unsafe f()\n"),
    ("unsafe", "Sources/KDNServer/Example.swift", "let a = unsafe f()\n"),
    ("unsafe", "Sources/kdn/Example.swift", "let a = unsafe f()\n"),
    ("documented", CORE, "package func f() {}\n"),
    ("documented", CORE, "// A comment, but no documentation.\npackage struct A {}\n"),
    ("documented", CORE, "public final class A {}\n"),
    ("documented", CORE, "@inlinable package static var a: Int { 1 }\n"),
    ("documented", CORE, "package private(set) var a = 1\n"),
    ("documented", CORE, "struct A {\n  package init(a: Int) {}\n}\n"),
    ("documented", CORE, "struct A {\n  package subscript(a: Int) -> Int { a }\n}\n"),
    ("documented", CORE, "struct A {\n  package var description: String { a }\n}\n"),
    ("arrows", CORE, "internal import KDNWire\n"),
    ("arrows", "Sources/KDNPool/Example.swift", "import KDNTransport\n"),
    ("arrows", "Sources/KDNWire/Example.swift", "package import struct KDNPool.Pool\n"),
    ("arrows", "Sources/kdnd/Example.swift", "@testable import KDNPool\n"),
    ("arrows", "Sources/KDNClient/Example.swift", "import KDNServer\n"),
    ("arrows", CORE, "import Testing\n"),
    ("arrows", "Sources/Elsewhere/Example.swift", "import KDNCore\n"),
    ("c-sources", "Sources/KDNCore/example.c", "int a;\n"),
    ("c-sources", "Sources/KDNCore/include/example.h", "int a;\n"),
    ("skipped", SWIFT_TEST, "@Test(.disabled()) func f() {}\n"),
    ("skipped", SWIFT_TEST, "withKnownIssue { f() }\n"),
    ("skipped", PYTHON_TEST, "@pytest.mark." + "skip\ndef test_a(): ...\n"),
    ("skipped", PYTHON_TEST, "pytest." + "importorskip('torch')\n"),
    ("sleep", SWIFT_TEST, f"try await Task.{NAP}(for: .seconds(1))\n"),
    ("sleep", SWIFT_TEST, f"u{NAP}(1000)\n"),
    ("process", SWIFT_TEST, "let process = Process()\n"),
    ("sleep", PYTHON_TEST, f"time.{NAP}(0.1)\n"),
    ("sleep", PYTHON_TEST, f"await asyncio.{NAP}(0.1)\n"),
]


@pytest.mark.parametrize(("rule", "path", "text"), BROKEN)
def test_a_breach_is_found_once(
    tmp_path: pathlib.Path, rule: str, path: str, text: str
) -> None:
    assert rules(tmp_path, path, text) == [rule]


ALLOWED = [
    (CORE, "\n" * 500),
    (CORE, "let a = 1  //" + " x" * 43 + "\n"),
    (CORE, "if a != b && !c { f(!d) }\n"),
    (CORE, "// Unwrap! unsafe! try!\n/* b! /* c! */ d! */\nlet a = \"stop!\"\n"),
    (CORE, 'let a = """\n  try! "b!" \\(c("!)"))\n  """\nlet b = #"\\"!"#\n'),
    (CORE, "func f() {\n" + "  g()\n" * 68 + "}\n"),
    (CORE, "// Safe because: of a lock.\nfinal class A: @unchecked Sendable {}\n"),
    (CORE, "/// Does it.\n@inlinable\npackage func f() {}\n"),
    (CORE, "internal import KDNCore\npackage import Glibc\n".replace("KDNCore", "Crypto")),
    (CORE, "struct A: Equatable {\n  package static func == (a: A, b: A) -> Bool { true }\n}\n"),
    (
        CORE,
        "struct A: CustomStringConvertible {\n  package var description: String { a }\n}\n",
    ),
    (
        CORE,
        "protocol P {\n  func f()\n  var v: Int { get }\n}\n"
        "struct A: P {\n  package func f() {}\n  package var v: Int { 1 }\n}\n",
    ),
    ("Sources/KDNMemory/Example.swift", "let a = unsafe f()\n"),
    ("Sources/kdn/Bench/Example.swift", "let a = unsafe f()\n"),
    ("Sources/KDNServer/Example.swift", "import KDNPool\nimport KDNTransport\n"),
    ("Sources/CPlatform/CPlatform/example.c", "int a;\n"),
    (PYTHON_TEST, f"await asyncio.{NAP}(0)\n"),
    (SWIFT_TEST, "/// The test is not .disabled here: the word is in a comment.\nfunc f() {}\n"),
]


@pytest.mark.parametrize(("path", "text"), ALLOWED)
def test_what_is_allowed_passes(tmp_path: pathlib.Path, path: str, text: str) -> None:
    assert rules(tmp_path, path, text) == []


def test_a_member_needs_its_own_comment_where_its_type_lacks_the_protocol(
    tmp_path: pathlib.Path,
) -> None:
    text = "protocol P {\n  func f()\n}\nstruct A {\n  package func f() {}\n}\n"
    assert rules(tmp_path, CORE, text) == ["documented"]


def test_an_exception_that_is_needed_no_longer_is_found(tmp_path: pathlib.Path) -> None:
    path = "Sources/KDNCore/" + "Checksum.swift"
    assert rules(tmp_path, path, "let a = 1\n") == ["unsafe"]


def test_a_long_file_is_a_note_before_it_is_an_error(tmp_path: pathlib.Path) -> None:
    file = tmp_path / CORE
    file.parent.mkdir(parents=True)
    file.write_text("\n" * 301)
    notes = [each for each in tidy_rules.House(tmp_path).findings() if each.path == CORE]
    assert [(note.rule, note.is_note) for note in notes] == [("file-length", True)]


def test_the_script_prints_place_and_rule_and_fails(tmp_path: pathlib.Path) -> None:
    file = tmp_path / "Sources" / "KDNWire" / "Example.swift"
    file.parent.mkdir(parents=True)
    file.write_text("\nimport KDNPool\n")
    command = [ROOT / "Scripts" / "tidy", tmp_path]
    run = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert run.returncode == 1
    assert "Sources/KDNWire/Example.swift:2: error: [arrows]" in run.stdout


def test_the_arrows_of_the_script_are_those_of_the_package() -> None:
    manifest = blank((ROOT / "Package.swift").read_text(), keep_strings=True)
    for target, allowed in tidy_rules.ARROWS.items():
        found = re.search(rf'arget\(\s*name: "{target}"', manifest)
        assert found is not None, target
        begin = found.start()
        body = manifest[begin : manifest.index("swiftSettings", begin)]
        declared = {name for name in tidy_rules.OWN_MODULES - {target} if f'"{name}"' in body}
        assert declared == allowed, target


def test_blanking_keeps_every_character_in_its_place() -> None:
    text = 'let a = "x\\(b("y"))z" /* c\n d */ + e // f\nlet g = 1\n'
    code = blank(text)
    assert len(code) == len(text)
    assert [len(line) for line in code.split("\n")] == [len(line) for line in text.split("\n")]
    assert code.split() == ["let", "a", "=", "+", "e", "let", "g", "=", "1"]


def test_declarations_know_the_type_around_them() -> None:
    text = "extension A: B {\n  package class func f() { if x { } }\n  package let y = 1\n}\n"
    found = [
        (each.kind, each.name, each.scope.name if each.scope else None)
        for each in SwiftFile(text).declarations()
    ]
    assert found == [("func", "f", "A"), ("let", "y", "A")]
