"""Documents and questions of the RAG benchmark: release notes of Django, as its sdist ships them.

Each document is the notes of one release, in plain text. A question's answer (a date, a ticket's
number, a CVE's, a release's own number) stands in exactly one of the documents; what stands in two
is not asked for. Nothing is random but what a seed decides.
"""

from __future__ import annotations

import itertools
import pathlib
import random
import re
import tarfile
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from codec_bench_texts import django_sdist

DOCUMENTS = 40
# Short documents: characters of plain text.
CHARACTERS_MIN = 300
CHARACTERS_MAX = 1300
# Releases whose notes have the same form.
RELEASE = re.compile(r"([2345]\.[0-2]\.\d+)\.txt")
CANDIDATES = 5
RETRIEVED = 3
# What is asked of one document; how many it has decides whether it is one of the documents.
TICKETS_MAX = 4
TICKETS_ASKED = 3
TITLE_WORDS_MAX = 12

_DATE = re.compile(r"\*([A-Z][a-z]+ \d{1,2}, \d{4})\*")
_ITEM = re.compile(r"\* (.+?) \(ticket #(\d+)\)\.")
_CVE = re.compile(r"(CVE-\d{4}-\d+): (.+)")
_TICKET = re.compile(r"ticket #(\d+)")


@dataclass(frozen=True)
class Note:
    """A document: a release and its notes in plain text."""

    release: str
    text: str


@dataclass(frozen=True)
class Asked:
    """A question: its kind, the document that answers it, the prompt, the answers to choose from.

    The prompt ends where the answer begins; the right one is `candidates[right]`.
    """

    kind: str
    release: str
    prompt: str
    candidates: tuple[str, ...]
    right: int


@dataclass(frozen=True)
class Fact:
    """Of one document: a kind, a question, how its answer begins, and what it goes on with.

    `key` stands in that document and in no other.
    """

    kind: str
    release: str
    question: str
    lead: str
    answer: str
    key: str


@dataclass(frozen=True)
class Prompt:
    """The documents that retrieval gave, in their order, and the questions that one answers."""

    retrieved: tuple[str, ...]
    questions: tuple[Asked, ...]


def plain(page: str) -> str:
    """Notes without markup: headings as lines, roles as their text, items on one line each."""
    page = re.sub(r"(?m)^[=\-~]{3,}\n", "", page)
    page = re.sub(r":ticket:`(\d+)`", r"ticket #\1", page)
    page = re.sub(r":\w+(?::\w+)*:`~?([^`<]+?)(?:\s*<[^`]*>)?`", _role, page)
    page = re.sub(r"``(.+?)``", r"\1", page, flags=re.DOTALL)
    page = re.sub(r"(?<=\S)\n(?=[^\n* ])|\n {2,}(?=\S)", " ", page)
    return re.sub(r"\n{2,}", "\n", page).strip()


def _role(found: re.Match[str]) -> str:
    """The text of a role: of a dotted path with a tilde only its last part."""
    return found[1].rsplit(".", 1)[-1] if "`~" in found[0] else found[1]


def note(release: str, page: str) -> Note | None:
    """The notes of a release; None where they are too long or too short to be a document."""
    text = plain(page)
    if not CHARACTERS_MIN <= len(text) <= CHARACTERS_MAX or not _DATE.search(text):
        return None
    return Note(release, "\n" + _DATE.sub(r"Released on \1.", text).strip() + "\n")


def notes(pages: Mapping[str, str]) -> list[Note]:
    """Documents among pages by file name: those that say most, in the order of releases.

    Releases of one day share their text, so that each day has one document.
    """
    days: dict[str, tuple[int, Note]] = {}
    for name, page in sorted(pages.items()):
        match = RELEASE.fullmatch(name)
        made = note(match[1], page) if match else None
        if made is None:
            continue
        day, *others = _of_one(made)
        if day.key not in days or days[day.key][0] < len(others):
            days[day.key] = len(others), made
    best = sorted(days.values(), key=lambda entry: (-entry[0], entry[1].release))[:DOCUMENTS]
    chosen = [made for _, made in best]
    return sorted(chosen, key=lambda made: [int(part) for part in made.release.split(".")])


def load(cache: pathlib.Path) -> list[Note]:
    """The documents, out of Django's sources, which are fetched once into a folder."""
    folder = cache / "release-notes"
    if not folder.exists():
        with tempfile.TemporaryDirectory(dir=cache) as scratch:
            _unpack(django_sdist(scratch), pathlib.Path(scratch) / "notes")
            (pathlib.Path(scratch) / "notes").rename(folder)
    return notes({file.name: file.read_text() for file in sorted(folder.glob("*.txt"))})


def _unpack(sources: pathlib.Path, folder: pathlib.Path) -> None:
    folder.mkdir()
    with tarfile.open(sources) as archive:
        for member in archive.getmembers():
            path = pathlib.PurePosixPath(member.name)
            if member.isfile() and path.parts[1:3] == ("docs", "releases"):
                member.name = path.name
                archive.extract(member, folder, filter="data")


def _of_one(made: Note) -> list[Fact]:
    """What can be asked of one document, whether or not another has it too."""
    release, text = made.release, made.text
    facts = []
    if date := re.search(r"Released on (.+?)\.\n", text):
        asked = f"On which date was Django {release} released?"
        lead = f"Django {release} was released on"
        facts.append(Fact("date", release, asked, lead, f" {date[1]}", date[1]))
    for cve, title in _CVE.findall(text):
        number = cve.removeprefix("CVE-")
        facts.append(Fact("CVE", release, f"Which CVE is: {title}?", "It is CVE-", number, cve))
        asked, lead = f"Which release of Django fixes {cve}?", f"{cve} is fixed in Django"
        facts.append(Fact("release", release, asked, lead, f" {release}", cve))
    items = _ITEM.findall(text)
    for title, ticket in items[:TICKETS_MAX]:
        words = " ".join(title.split()[-TITLE_WORDS_MAX:])
        asked = f"Which ticket is: {words}?"
        facts.append(Fact("ticket", release, asked, f"{words} (ticket #", ticket, ticket))
    for _, ticket in items[:1]:
        asked = f"Which release of Django fixes ticket #{ticket}?"
        lead = f"Ticket #{ticket} is fixed in Django"
        facts.append(Fact("release", release, asked, lead, f" {release}", ticket))
    return facts


def facts(documents: Sequence[Note]) -> list[Fact]:
    """All facts that stand in exactly one document, of each document at most three tickets."""
    found = [
        fact
        for made in documents
        for fact in _of_one(made)
        if [other.release for other in documents if fact.key in other.text] == [made.release]
    ]
    tickets: dict[str, int] = {}
    chosen = []
    for fact in found:
        if fact.kind == "ticket":
            tickets[fact.release] = tickets.get(fact.release, 0) + 1
            if tickets[fact.release] > TICKETS_ASKED:
                continue
        chosen.append(fact)
    return chosen


def prompts(documents: Sequence[Note], rounds: int = 1, seed: int = 8) -> list[Prompt]:
    """`rounds` prompts for each document that answers something: it and others, in seeded order.

    Candidates are answers of the same kind from other documents: those of the retrieved first,
    which are the hard ones. Which of one document's facts is meant is not what is measured.
    """
    known = facts(documents)
    releases = [made.release for made in documents]
    found = []
    for number, release in itertools.product(range(rounds), releases):
        source = random.Random(f"{seed}/{number}/{release}")
        others = source.sample([other for other in releases if other != release], RETRIEVED - 1)
        retrieved = [*others, release]
        source.shuffle(retrieved)
        own = [fact for fact in known if fact.release == release]
        asked = tuple(_asked(fact, known, retrieved, source) for fact in own)
        if asked:
            found.append(Prompt(tuple(retrieved), asked))
    return found


def _asked(
    fact: Fact, known: Iterable[Fact], retrieved: Sequence[str], source: random.Random
) -> Asked:
    near, far = [], []
    for other in known:
        if other.kind == fact.kind and other.release != fact.release:
            (near if other.release in retrieved else far).append(other.answer)
    near, far = sorted(set(near)), sorted(set(far) - set(near))
    source.shuffle(near)
    source.shuffle(far)
    candidates = [fact.answer, *(near + far)[: CANDIDATES - 1]]
    source.shuffle(candidates)
    right = candidates.index(fact.answer)
    prompt = f"\nQuestion: {fact.question}\nAnswer: {fact.lead}"
    return Asked(fact.kind, fact.release, prompt, tuple(candidates), right)
