"""Manual pages from what the programs say of themselves: kdnd(8), kdn(1) and kdnd.yaml(5).

usage: man_pages.py --kdnd PROGRAM --kdn PROGRAM --config FILE --output DIRECTORY
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

DATE = "November 2026"


def escaped(text: str) -> str:
    """Text that groff takes for text."""
    text = text.replace("\\", "\\e").replace("-", "\\-")
    return "\\&" + text if text[:1] in (".", "'") else text


def head(title: str, section: int, description: str) -> Iterator[str]:
    """The first lines of a page."""
    yield f'.TH "{escaped(title.upper())}" "{section}" "{DATE}" "KDN" "Knowledge Delivery Network"'
    yield ".SH NAME"
    yield f"{escaped(title)} \\- {escaped(first_clause(description))}"


def first_clause(text: str) -> str:
    """A sentence as `whatis` wants it: no capital, no full stop."""
    text = text.split("; ")[0].rstrip(".")
    return text[:1].lower() + text[1:]


def dumped(program: str) -> dict:
    """What a program's parser says of its commands and options."""
    output = subprocess.run(
        [program, "--experimental-dump-help"], check=True, capture_output=True, text=True
    )
    return json.loads(output.stdout)["command"]


def spelled(argument: dict) -> str:
    """An option or argument with the value that it takes."""
    value = f"\\fI{escaped(argument['valueName'])}\\fR"
    if argument["kind"] == "positional":
        return value
    dashes = {"short": "-", "long": "--", "longWithSingleDash": "-"}
    names = ", ".join(
        f"\\fB{escaped(dashes[name['kind']] + name['name'])}\\fR" for name in argument["names"]
    )
    return names if argument["kind"] == "flag" else f"{names} {value}"


def options(command: dict) -> Iterator[str]:
    """Every option of a command with its meaning and default."""
    for argument in command.get("arguments", []):
        if not argument.get("shouldDisplay", True):
            continue
        yield ".TP"
        yield spelled(argument)
        yield escaped(argument.get("abstract", "")) or "\\&"
        if argument.get("defaultValue"):
            yield f"Default: {escaped(argument['defaultValue'])}."


def synopsis(name: str, command: dict) -> Iterator[str]:
    """How a command is called, in short."""
    yield f".B {escaped(name)}"
    for argument in command.get("arguments", []):
        if argument["kind"] == "positional":
            dots = " ..." if argument["isRepeating"] else ""
            text = spelled(argument) + dots
            yield f"[{text}]" if argument["isOptional"] else text
    if any(argument["kind"] != "positional" for argument in command.get("arguments", [])):
        yield "[\\fIoptions\\fR]"
    if any(sub["commandName"] != "help" for sub in command.get("subcommands", [])):
        yield "\\fIcommand\\fR"


def commands(name: str, command: dict) -> Iterator[str]:
    """All commands below one, each with its options."""
    for sub in command.get("subcommands", []):
        if sub["commandName"] == "help":
            continue
        full = f"{name} {sub['commandName']}"
        yield f".SS {escaped(full)}"
        yield from synopsis(full, sub)
        yield ".PP"
        yield escaped(sub.get("abstract", ""))
        if sub.get("discussion"):
            yield from paragraphs(sub["discussion"])
        yield from options(sub)
        yield from commands(full, sub)


def paragraphs(text: str) -> Iterator[str]:
    """Text with its empty lines as breaks."""
    for part in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        yield from (escaped(line.strip()) for line in part.splitlines())


def program_page(program: str, section: int, also: list[str]) -> str:
    """The page of a program."""
    command = dumped(program)
    name = command["commandName"]
    lines = [*head(name, section, command["abstract"]), ".SH SYNOPSIS", *synopsis(name, command)]
    lines += [".SH DESCRIPTION", escaped(command["abstract"])]
    lines += paragraphs(command.get("discussion", ""))
    lines += [".SH OPTIONS", *options(command)]
    if command.get("subcommands"):
        lines += [".SH COMMANDS", *commands(name, command)]
    return page(lines, also)


def configuration_page(file: Path) -> str:
    """The page of the configuration file, from the comments of the one that is shipped."""
    lines = list(head("kdnd.yaml", 5, "configuration of kdnd"))
    lines += [".SH DESCRIPTION"]
    comment: list[str] = []
    begun = False
    for line in file.read_text().splitlines():
        if line.startswith("#"):
            comment.append(line.lstrip("# "))
        elif not line.strip():
            if comment and not begun:
                lines += [*(escaped(text) for text in comment), ".SH KEYS"]
                begun = True
            comment = []
        elif found := re.match(r"([a-z_]+): ?(.*)", line):
            lines += [".TP", f"\\fB{escaped(found[1])}\\fR (default {escaped(found[2]) or 'none'})"]
            lines += [escaped(text) for text in comment] or ["\\&"]
            comment = []
    lines += [".SH FILES", ".TP", ".I /etc/kdn/kdnd.yaml", "What the packaged service reads."]
    return page(lines, ["kdnd(8)", "kdn(1)"])


def page(lines: list[str], also: list[str]) -> str:
    """A whole page."""
    links = ",\n".join(f".BR {escaped(name[:-3])} {name[-3:]}" for name in also)
    return "\n".join([*lines, ".SH SEE ALSO", links.replace(",\n", " ,\n"), ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    for name in ("kdnd", "kdn", "config", "output"):
        parser.add_argument(f"--{name}", required=True)
    arguments = parser.parse_args()
    output = Path(arguments.output)
    output.mkdir(parents=True, exist_ok=True)
    pages = {
        "kdnd.8": program_page(arguments.kdnd, 8, ["kdnd.yaml(5)", "kdn(1)"]),
        "kdn.1": program_page(arguments.kdn, 1, ["kdnd(8)", "kdnd.yaml(5)"]),
        "kdnd.yaml.5": configuration_page(Path(arguments.config)),
    }
    for name, text in pages.items():
        (output / name).write_text(text)


if __name__ == "__main__":
    main()
