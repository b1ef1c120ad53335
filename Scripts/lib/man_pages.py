"""Manual pages from what the programs say of themselves: kdnd(8), kdn(1) and kdnd.yaml(5).

usage: man_pages.py --kdnd PROGRAM --kdn PROGRAM --config FILE --output DIRECTORY
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path

DATE = "November 2026"
# Options that so many commands take are described once.
SHARED_MIN = 3
FILES = {
    "/etc/kdn/kdnd.yaml": "What the packaged service reads.",
    "/run/kdn/kdnd.sock": "Its Unix socket, for members of the group kdn.",
    "/var/lib/kdn/namespaces.json": "Its tenants, as administrators left them.",
    "/var/cache/kdn": "A place for a directory of the disk tier.",
}


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


def described(arguments: list[dict]) -> Iterator[str]:
    """Options and arguments with their meanings and defaults."""
    for argument in arguments:
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
    if subcommands(command):
        yield "\\fIcommand\\fR"


def arguments_of(command: dict) -> list[dict]:
    """What a command takes, but for what is taken everywhere: --help and --version."""
    return [
        argument
        for argument in command.get("arguments", [])
        if argument.get("shouldDisplay", True)
        and spelled(argument) not in (r"\fB\-h\fR, \fB\-\-help\fR", r"\fB\-\-version\fR")
    ]


def subcommands(command: dict) -> list[dict]:
    """The commands below one that people call."""
    return [
        sub
        for sub in command.get("subcommands", [])
        if sub["commandName"] != "help" and sub.get("shouldDisplay", True)
    ]


def below(name: str, command: dict) -> Iterator[tuple[str, dict]]:
    """All commands below one, with their names."""
    for sub in subcommands(command):
        full = f"{name} {sub['commandName']}".strip()
        yield full, sub
        yield from below(full, sub)


def shared(command: dict) -> dict[str, tuple[str, dict]]:
    """Options that mean the same in many commands: by their text, with who takes them."""
    takers: dict[str, list[str]] = {}
    found: dict[str, dict] = {}
    for name, sub in below("", command):
        for argument in arguments_of(sub):
            text = json.dumps(argument, sort_keys=True)
            takers.setdefault(text, []).append(name)
            found[text] = argument
    return {
        text: (", ".join(names), found[text])
        for text, names in takers.items()
        if len(names) >= SHARED_MIN and found[text]["kind"] != "positional"
    }


def common_options(options: dict[str, tuple[str, dict]]) -> Iterator[str]:
    """Options of many commands, once, under the names of the commands that take them."""
    groups: dict[str, list[dict]] = {}
    for takers, argument in options.values():
        groups.setdefault(takers, []).append(argument)
    for takers, arguments in groups.items():
        yield ".PP"
        yield f"Taken by {escaped(takers)}:"
        yield from described(arguments)


def commands(name: str, command: dict, elsewhere: dict) -> Iterator[str]:
    """All commands below one, each with the options that are not described elsewhere."""
    for sub in subcommands(command):
        full = f"{name} {sub['commandName']}"
        yield f".SS {escaped(full)}"
        yield from synopsis(full, sub)
        yield ".PP"
        yield escaped(sub.get("abstract", ""))
        if sub.get("discussion"):
            yield from paragraphs(sub["discussion"])
        own = [
            argument
            for argument in arguments_of(sub)
            if json.dumps(argument, sort_keys=True) not in elsewhere
        ]
        yield from described(own)
        yield from commands(full, sub, elsewhere)


def paragraphs(text: str) -> Iterator[str]:
    """Text with its empty lines as breaks."""
    for part in re.split(r"\n\s*\n", text.strip()):
        yield ".PP"
        yield from (escaped(line.strip()) for line in part.splitlines())


def files(names: Iterable[str]) -> Iterator[str]:
    """Files with what they are for."""
    yield ".SH FILES"
    for name in names:
        yield from (".TP", f".I {escaped(name)}", escaped(FILES[name]))


def program_page(program: str, section: int, also: list[str], kept: Iterable[str] = ()) -> str:
    """The page of a program, and of the files that it keeps."""
    command = dumped(program)
    name = command["commandName"]
    lines = [*head(name, section, command["abstract"]), ".SH SYNOPSIS", *synopsis(name, command)]
    lines += [".SH DESCRIPTION", escaped(command["abstract"])]
    lines += paragraphs(command.get("discussion", ""))
    own = [argument for argument in command["arguments"] if argument.get("shouldDisplay", True)]
    lines += [".SH OPTIONS", *described(own)]
    if subcommands(command):
        options = shared(command)
        lines += [".SH COMMANDS", *commands(name, command, options)]
        lines += [".SH COMMON OPTIONS", *common_options(options)]
    if kept:
        lines += files(kept)
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
    lines += files(["/etc/kdn/kdnd.yaml"])
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
        "kdnd.8": program_page(arguments.kdnd, 8, ["kdnd.yaml(5)", "kdn(1)"], FILES),
        "kdn.1": program_page(arguments.kdn, 1, ["kdnd(8)", "kdnd.yaml(5)"]),
        "kdnd.yaml.5": configuration_page(Path(arguments.config)),
    }
    for name, text in pages.items():
        (output / name).write_text(text)


if __name__ == "__main__":
    main()
