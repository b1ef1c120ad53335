"""Just enough of Swift's grammar for Scripts/tidy: comments, strings, scopes, declarations."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_ACCESS = re.compile(r"\b(?:package|public|open)\b(?!\s*\()")
_DECLARED = re.compile(
    r"\b(func|var|let|init|struct|enum|class|protocol|actor|subscript|typealias|macro)\b"
)
_TYPE_SCOPE = re.compile(r"\b(struct|enum|class|protocol|actor|extension)\s+([\w.]+)")
_FUNCTION_SCOPE = re.compile(r"\b(?:func\s+(`?\w+`?|[^\w\s(]+)|(init|deinit|subscript)\b)")
_NOT_A_TYPE = re.compile(r"\bclass\s+(?:func|var|let)\b")


def blank(text: str, *, keep_strings: bool = False) -> str:
    """`text` with comments (and strings) turned to spaces, every line where it was."""
    out: list[str] = []
    position = 0
    while position < len(text):
        end, is_string = _skip(text, position)
        if end == position:
            out.append(text[position])
            position += 1
            continue
        piece = text[position:end]
        keeps = is_string and keep_strings
        out.append(piece if keeps else re.sub(r"[^\n]", " ", piece))
        position = end
    return "".join(out)


def _skip(text: str, start: int) -> tuple[int, bool]:
    """Where the comment or string that begins at `start` ends, or `start`; is it a string?"""
    if text.startswith("//", start):
        end = text.find("\n", start)
        return (len(text) if end < 0 else end), False
    if text.startswith("/*", start):
        return _block_comment_end(text, start), False
    opening = re.compile(r'(#*)("""|")').match(text, start)
    if opening is None:
        return start, False
    return _string_end(text, opening), True


def _block_comment_end(text: str, start: int) -> int:
    depth = 0
    for mark in re.compile(r"/\*|\*/").finditer(text, start):
        depth += 1 if mark.group() == "/*" else -1
        if depth == 0:
            return mark.end()
    return len(text)


def _string_end(text: str, opening: re.Match[str]) -> int:
    hashes, quote = opening.groups()
    position = opening.end()
    while position < len(text):
        if text.startswith("\\" + hashes + "(", position):
            position = _interpolation_end(text, position + 2 + len(hashes))
        elif text.startswith("\\" + hashes, position):
            position += 2 + len(hashes)
        elif text.startswith(quote + hashes, position):
            return position + len(quote) + len(hashes)
        elif quote == '"' and text[position] == "\n":
            return position
        else:
            position += 1
    return len(text)


def _interpolation_end(text: str, position: int) -> int:
    depth = 1
    while position < len(text) and depth > 0:
        end, _ = _skip(text, position)
        if end > position:
            position = end
            continue
        depth += {"(": 1, ")": -1}.get(text[position], 0)
        position += 1
    return position


@dataclass(frozen=True)
class Scope:
    """A braced region: of a type, an extension, a function, or something else."""

    kind: str
    name: str
    conformances: frozenset[str]
    first_line: int


@dataclass(frozen=True)
class Declaration:
    """A declaration with package or public access; `scope` is the innermost type around it."""

    kind: str
    name: str
    line: int
    scope: Scope | None


class SwiftFile:
    """One Swift source, with its comments and strings told from its code."""

    def __init__(self, text: str) -> None:
        self.lines = text.split("\n")
        self.code = blank(text)
        self.code_lines = self.code.split("\n")
        self._scope_at: list[Scope | None] = []
        self.functions: list[tuple[str, int, int]] = []
        self.requirements: dict[str, set[str]] = {}
        self._read_scopes()

    def imports(self) -> Iterator[tuple[int, str]]:
        """Line number and module of each import."""
        pattern = re.compile(r"^\s*(?:@\w+(?:\(.*?\))?\s+)*(?:\w+\s+)?import\s+(?:\w+\s+)?(\w+)")
        for number, line in enumerate(self.code_lines, 1):
            found = pattern.match(line)
            if found:
                yield number, found.group(1)

    def declarations(self) -> Iterator[Declaration]:
        """All declarations with package, public or open access."""
        for number, line in enumerate(self.code_lines, 1):
            access = _ACCESS.search(line)
            if access is None or re.search(r"\bimport\b", line):
                continue
            found = _DECLARED.search(line, access.end())
            if found is None:
                continue
            if found.group() == "class" and _NOT_A_TYPE.search(line):
                found = _DECLARED.search(line, found.end()) or found
            name = re.match(r"\s+(`?\w+`?|[^\w\s(]+)", line[found.end() :])
            text = name.group(1) if name else None
            yield Declaration(
                found.group(), text or found.group(), number, self._scope_at[number - 1]
            )

    def comment_above(self, line: int) -> list[str]:
        """The comment lines right above `line` (counted from 1), attributes stepped over."""
        above: list[str] = []
        index = line - 2
        while index >= 0:
            text = self.lines[index].strip()
            if text.startswith("//"):
                above.append(text)
            elif not (text.startswith("@") and above == []):
                break
            index -= 1
        return above[::-1]

    def _read_scopes(self) -> None:
        stack: list[tuple[Scope, int]] = []
        header_start = 0
        line = 1
        self._scope_at = [None] * len(self.code_lines)
        for position, mark in enumerate(self.code):
            if mark == "\n":
                line += 1
                if line <= len(self._scope_at):
                    self._scope_at[line - 1] = _innermost_type(stack)
            elif mark == "{":
                scope = _scope(self.code[header_start:position], line)
                self._note_requirement(stack, self.code[header_start:position])
                stack.append((scope, line))
                header_start = position + 1
            elif mark == "}":
                self._note_requirement(stack, self.code[header_start:position])
                if stack:
                    scope, _ = stack.pop()
                    if scope.kind == "function":
                        self.functions.append((scope.name, scope.first_line, line))
                header_start = position + 1

    def _note_requirement(self, stack: list[tuple[Scope, int]], text: str) -> None:
        if not stack or stack[-1][0].kind != "protocol":
            return
        names = re.findall(r"\b(?:func|var)\s+(`?\w+`?)|\b(init|subscript)\b", text)
        known = self.requirements.setdefault(stack[-1][0].name, set())
        known.update(name or keyword for name, keyword in names)


def _innermost_type(stack: list[tuple[Scope, int]]) -> Scope | None:
    kinds = ("struct", "enum", "class", "protocol", "actor", "extension")
    return next((scope for scope, _ in reversed(stack) if scope.kind in kinds), None)


def _scope(header: str, line: int) -> Scope:
    types = [found for found in _TYPE_SCOPE.finditer(header) if not _is_class_member(header, found)]
    functions = list(_FUNCTION_SCOPE.finditer(header))
    function = functions[-1] if functions else None
    if function is not None and (not types or types[-1].start() < function.start()):
        first = line - header[function.start() :].count("\n")
        return Scope("function", function.group(1) or function.group(2), frozenset(), first)
    if types:
        found = types[-1]
        rest = header[found.end() :].partition(":")[2]
        names = frozenset(re.findall(r"\b[A-Z]\w*", rest))
        return Scope(found.group(1), found.group(2), names, line)
    return Scope("other", "", frozenset(), line)


def _is_class_member(header: str, found: re.Match[str]) -> bool:
    return found.group(1) == "class" and found.group(2) in ("func", "var", "let")
