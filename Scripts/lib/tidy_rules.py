"""The rules of Scripts/tidy: what the house asks of its sources and no compiler checks."""

from __future__ import annotations

import os
import pathlib
import re
import sys
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from swift_source import Declaration, SwiftFile

LINES_MAX = 500
LINES_NOTED = 300
COLUMNS_MAX = 100
FUNCTION_LINES_MAX = 70

# What each target may import from this package: the arrows of the architecture page, one way.
_SERVED = {
    "KDNCore", "KDNControl", "KDNMemory", "KDNTier", "KDNCodec", "KDNBlend", "KDNWire",
    "KDNPool", "KDNTransport",
}
ARROWS: dict[str, set[str]] = {
    "KDNCore": {"CXXHash"},
    "KDNControl": {"KDNCore"},
    "KDNAdmin": {"KDNCore", "KDNControl"},
    "KDNMemory": {"KDNCore", "CPlatform", "CNuma"},
    "KDNCodec": {"KDNCore", "CKernels", "CZstd", "CLZ4"},
    "KDNProfile": {"KDNCore", "KDNCodec", "CPlatform"},
    "KDNBlend": {"KDNCore"},
    "KDNWire": {"KDNCore"},
    "KDNTier": {"KDNCore", "KDNMemory", "CPlatform", "CUring"},
    "KDNPool": {"KDNCore", "KDNMemory", "KDNTier"},
    "KDNTransport": {
        "KDNCore", "KDNMemory", "CPlatform", "COpenSSL", "CIBVerbs", "CRDMACM",
    },
    "KDNServer": _SERVED,
    "KDNClient": {"KDNCore", "KDNMemory", "KDNWire", "KDNTransport", "CPlatform"},
    "KDNLibrary": {
        "KDNCore", "KDNMemory", "KDNWire", "KDNTransport", "KDNClient", "CPlatform", "CKDN",
    },
    "kdnd": {"KDNCore", "KDNControl", "KDNServer", "KDNAdmin", "KDNTransport"},
    "kdn": {
        "KDNCore", "KDNControl", "KDNClient", "KDNWire", "KDNMemory", "KDNTier", "KDNTransport",
        "KDNCodec", "KDNProfile", "CPlatform",
    },
}
OWN_MODULES = {
    *ARROWS, "CKDN", "CKernels", "CPlatform", "CIBVerbs", "CLZ4", "CNuma", "COpenSSL", "CRDMACM",
    "CUring", "CXXHash", "CZstd",
}
TEST_MODULES = {"Testing", "XCTest"}

UNSAFE_TARGETS = {
    "KDNMemory", "KDNTier", "KDNTransport", "KDNClient", "KDNLibrary", "CPlatform",
    "KDNCodec", "KDNProfile",
}
# Where C may be: thin shims, the header by which C calls us, and the codecs' inner loops.
C_FOLDERS = ("Sources/CPlatform/", "Sources/KDNLibrary/include/", "Sources/CKernels/")
# A file, or a folder with a slash at its end, and why.
UNSAFE_FILES = {
    "KDNCore/ByteReader.swift": "unaligned little-endian loads behind a bounds check",
    "KDNCore/ByteWriter.swift": "stores of an integer's own bytes",
    "KDNCore/ByteSpan.swift": "bulk copies between spans and arrays",
    "KDNCore/Checksum.swift": "xxHash takes pointers",
    "KDNCore/Clock.swift": "clock_gettime takes a pointer",
    "KDNServer/Session/Session+Receive.swift": "the link receives into memory that it names",
    "KDNServer/Session/Transfer.swift": "lends the room of a reservation to the link",
    "KDNServer/Session/GetReply.swift": "lends leased extents to the link",
    "KDNServer/Session/Session+RemoteGet.swift": "hands leased extents to a device",
    "KDNServer/Session/Session+RemotePut.swift": "lends the room of a reservation to a device",
    "KDNServer/RESP/RESPSession+Receive.swift": "the link receives into memory that it names",
    "KDNServer/RESP/RESPStore.swift": "lends the room of a reservation to the link",
    "KDNServer/RESP/RESPReplies.swift": "lends leased extents to the link",
    "KDNServer/Statistics/ProcessReport+Own.swift": "getrusage, getrlimit and stat take pointers",
    "KDNServer/Configuration/PrivateFile.swift": "open, read, write and rename take pointers",
    "KDNAdmin/LoopTaskExecutor.swift": "a job is handed to the event loop unowned",
    "kdn/Admin/DaemonCheckup.swift": "statfs takes a pointer",
    "kdn/Terminal.swift": "ioctl takes a pointer",
    "KDNServer/Lifecycle/DescriptorLimit.swift": "getrlimit and setrlimit take pointers",
    "kdn/FileBytes.swift": "open, read and write take pointers",
    "kdn/Bench/": "bare blocking sockets and fork: what the daemon is measured against",
}

# Members that say what their protocol says; a comment could only repeat it.
WITNESSES: dict[str, set[str]] = {
    "CustomStringConvertible": {"description"},
    "CustomDebugStringConvertible": {"debugDescription"},
    "Hashable": {"hash"},
    "Encodable": {"encode"},
    "Decodable": {"init"},
    "Codable": {"encode", "init"},
    "RawRepresentable": {"rawValue", "init"},
    "OptionSet": {"rawValue", "init"},
    "SerialExecutor": {"enqueue", "checkIsolated", "asUnownedSerialExecutor"},
    "Actor": {"unownedExecutor"},
    "Sequence": {"makeIterator"},
    "IteratorProtocol": {"next"},
    "LogHandler": {"log", "metadata", "logLevel", "subscript"},
    "ParsableCommand": {"run", "configuration", "validate", "init"},
    "AsyncParsableCommand": {"run", "configuration", "validate", "init"},
}

_UNSAFE = re.compile(r"\bunsafe\b")
_FORCED = re.compile(r"[\w)\]?]!(?!=)")
_MARKS = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
_COPYRIGHT = re.compile(r"(?i)copy" r"right\s*(?:\(c\)|©|\d{4})|SPDX-File" r"Copy")
_SKIPS_SWIFT = re.compile(r"\.disabled\b|\bXCTSkip\b|\bwithKnownIssue\b")
_SKIPS_PYTHON = re.compile(
    r"mark\.(?:skip|skipif|xfail)\b|pytest\.(?:skip|importorskip|xfail)\b|unittest\.skip"
)
# With thousands of files open it reads beyond a buffer, and now and then dies of it.
_PROCESSES = re.compile(r"\bProcess\(\)")
_SLEEPS = re.compile(r"\b(?:u|nano)?sleep\s*\((?!\s*0\s*\))|\bsleep\((?:for|until):")
_C_SUFFIXES = {".c", ".h", ".cc", ".cpp", ".m", ".mm", ".S", ".s"}
_SKIPPED_FOLDERS = re.compile(r"^(?:\.|__pycache__$|build$)|\.egg-info$")
_TEXT_SUFFIXES = {".swift", ".py", ".sh", ".c", ".h", ".md", ".yaml", ".json", ".toml", ""}


class Finding(NamedTuple):
    """One breach of a rule; a note does not fail the check."""

    path: str
    line: int
    rule: str
    message: str
    is_note: bool = False

    def __str__(self) -> str:
        kind = "note" if self.is_note else "error"
        return f"{self.path}:{self.line}: {kind}: [{self.rule}] {self.message}"


class House:
    """The files of a checkout and what the rules find in them."""

    def __init__(self, root: pathlib.Path) -> None:
        self.root = root
        self.swift: dict[str, SwiftFile] = {}
        self.texts: dict[str, str] = {}
        for path in _files(root):
            name = path.relative_to(root).as_posix()
            self.texts[name] = path.read_text("utf-8")
            if path.suffix == ".swift":
                self.swift[name] = SwiftFile(self.texts[name])
        self.witnesses = {name: set(members) for name, members in WITNESSES.items()}
        for file in self.swift.values():
            for protocol, members in file.requirements.items():
                self.witnesses.setdefault(protocol, set()).update(members)

    def findings(self) -> Iterator[Finding]:
        """Everything that breaks a rule, file by file."""
        for name, text in sorted(self.texts.items()):
            yield from _text_rules(name, text)
            file = self.swift.get(name)
            if file is not None:
                yield from _swift_rules(name, file)
                yield from _lock_rules(name, file)
            if file is not None and name.startswith("Sources/"):
                yield from _import_rule(name, file)
                yield from _unsafe_rules(name, file)
                yield from self._documentation_rule(name, file)
        yield from _stale_exceptions(self.texts)

    def _documentation_rule(self, name: str, file: SwiftFile) -> Iterator[Finding]:
        for declared in file.declarations():
            above = file.comment_above(declared.line)
            if any(line.startswith("///") for line in above) or self._is_witness(declared):
                continue
            what = f"{declared.kind} {declared.name}"
            yield Finding(name, declared.line, "documented", f"{what} has no doc comment")

    def _is_witness(self, declared: Declaration) -> bool:
        if declared.kind == "func" and not re.match(r"`?\w", declared.name):
            return True
        if declared.scope is None:
            return False
        protocols = {*declared.scope.conformances, declared.scope.kind.capitalize()}
        return any(declared.name in self.witnesses.get(name, ()) for name in protocols)


def _files(root: pathlib.Path) -> Iterator[pathlib.Path]:
    yield from (path for path in [root / "Package.swift"] if path.exists())
    for top in ("Sources", "Tests", "Scripts", "Config"):
        for folder, folders, names in os.walk(root / top):
            folders[:] = sorted(name for name in folders if not _SKIPPED_FOLDERS.search(name))
            for name in sorted(names):
                path = pathlib.Path(folder, name)
                if path.suffix in _TEXT_SUFFIXES | _C_SUFFIXES and not name.startswith("."):
                    yield path


def _text_rules(name: str, text: str) -> Iterator[Finding]:
    lines = text.split("\n")
    suffix = pathlib.PurePosixPath(name).suffix
    if suffix in (".swift", ".py"):
        count = len(lines) - 1
        if count > LINES_MAX:
            yield Finding(name, 1, "file-length", f"{count} lines; at most {LINES_MAX}")
        elif count > LINES_NOTED:
            yield Finding(name, 1, "file-length", f"{count} lines; aim at {LINES_NOTED}", True)
    for number, line in enumerate(lines, 1):
        if len(line) > COLUMNS_MAX and suffix not in (".md", ".json", ".yaml"):
            yield Finding(name, number, "line-length", f"{len(line)} columns")
        if _MARKS.search(line):
            yield Finding(name, number, "unfinished", "finish it, or write an issue")
        if _COPYRIGHT.search(line):
            yield Finding(name, number, "foreign", "a copyright line: whose text is this?")
    if name.startswith("Sources/") and suffix in _C_SUFFIXES:
        if not name.startswith(C_FOLDERS):
            yield Finding(name, 1, "c-sources", f"C belongs in {C_FOLDERS[0]}")
    if name.startswith("Tests/") and suffix == ".py":
        yield from _grep(name, lines, _SKIPS_PYTHON, "skipped", "no test is skipped")
        yield from _grep(name, lines, _SLEEPS, "sleep", "wait for the event, not for time")


def _swift_rules(name: str, file: SwiftFile) -> Iterator[Finding]:
    code = file.code_lines
    yield from _grep(name, code, _FORCED, "forced", "no force unwrap, try! or as!")
    for function, first, last in file.functions:
        length = last - first + 1
        if length > FUNCTION_LINES_MAX:
            message = f"{function} has {length} lines; at most {FUNCTION_LINES_MAX}"
            yield Finding(name, first, "function-length", message)
    for number, line in enumerate(code, 1):
        if not re.search(r"@unchecked\s+Sendable\b", line):
            continue
        if not any(text.startswith("// Safe because") for text in file.comment_above(number)):
            yield Finding(name, number, "unchecked", "say above it: // Safe because …")
    if name.startswith("Tests/"):
        yield from _grep(name, code, _SKIPS_SWIFT, "skipped", "no test is skipped")
        yield from _grep(name, code, _SLEEPS, "sleep", "wait for the event, not for time")
        yield from _grep(name, code, _PROCESSES, "process", "TestPrograms starts programs")


def _import_rule(name: str, file: SwiftFile) -> Iterator[Finding]:
    target = name.split("/")[1]
    if target not in ARROWS:
        yield Finding(name, 1, "arrows", f"target {target} has no row in the table of arrows")
        return
    for number, module in file.imports():
        if module in TEST_MODULES:
            yield Finding(name, number, "arrows", f"{module} belongs in Tests")
        elif module in OWN_MODULES and module not in ARROWS[target]:
            yield Finding(name, number, "arrows", f"{target} must not import {module}")


def _lock_rules(name: str, file: SwiftFile) -> Iterator[Finding]:
    """Under contention the thread sanitizer reports races of a bare Mutex that are none."""
    if name == "Sources/KDNCore/Guarded.swift":
        return
    for number, line in enumerate(file.code_lines, 1):
        if re.search(r"\bMutex\b", line):
            yield Finding(name, number, "lock", "Guarded, not Mutex: the sanitizer must follow it")


def _unsafe_rules(name: str, file: SwiftFile) -> Iterator[Finding]:
    path = name.removeprefix("Sources/")
    is_excepted = any(path == each or path.startswith(each + "/") for each in UNSAFE_TARGETS)
    if is_excepted or any(_covers(exception, path) for exception in UNSAFE_FILES):
        return
    lines = [number for number, line in enumerate(file.code_lines, 1) if _UNSAFE.search(line)]
    if lines:
        message = f"{len(lines)} lines; it belongs in {', '.join(sorted(UNSAFE_TARGETS))}"
        yield Finding(name, lines[0], "unsafe", message)


def _covers(exception: str, path: str) -> bool:
    return path == exception or (exception.endswith("/") and path.startswith(exception))


def _stale_exceptions(texts: dict[str, str]) -> Iterator[Finding]:
    """An exception that nothing needs any more is a hole for the next one."""
    for exception in UNSAFE_FILES:
        target = exception.split("/")[0]
        if not any(name.startswith(f"Sources/{target}/") for name in texts):
            continue
        covered = [
            text
            for name, text in texts.items()
            if _covers(exception, name.removeprefix("Sources/")) and name.endswith(".swift")
        ]
        if not any(_UNSAFE.search(SwiftFile(text).code) for text in covered):
            message = "nothing needs this exception in the list of Scripts/tidy"
            yield Finding(f"Sources/{exception}", 1, "unsafe", message)


def _grep(
    name: str, lines: Iterable[str], pattern: re.Pattern[str], rule: str, message: str
) -> Iterator[Finding]:
    for number, line in enumerate(lines, 1):
        if pattern.search(line):
            yield Finding(name, number, rule, message)


def main(root: pathlib.Path) -> int:
    """Prints all findings; returns 1 if one of them is more than a note."""
    house = House(root)
    findings = list(house.findings())
    for finding in findings:
        print(finding)
    errors = sum(not finding.is_note for finding in findings)
    notes = len(findings) - errors
    print(f"tidy: {len(house.texts)} files, {errors} errors, {notes} notes", file=sys.stderr)
    return 1 if errors else 0
