"""Texts of the codec benchmark: fetched once from Debian and PyPI, checked, cut into documents.

Essays are Debian's `anarchism`, technical text is Django's documentation, and the third kind,
proceedings of a workshop (lcet10.txt, from Scripts/lib/model), is no text that profiles see.
"""

from __future__ import annotations

import hashlib
import html
import pathlib
import re
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass

DEBIAN = (
    "anarchism=15.3-3",
    "cf21c10948b00e923c62eb31c39a3390413fa26c5ee0e3b925feb0ec7fe42948",
)
PYPI = (
    "Django==5.2.1",
    "57fe1f1b59462caed092c80b3dd324fd92161b620d59a9ba9181c34746c97284",
)
CHARACTERS = 60_000


@dataclass(frozen=True)
class Document:
    """A text of some kind, from a character on."""

    kind: str
    name: str
    start: int


def essays(names: str, start: int) -> list[Document]:
    """Sections of `anarchism`."""
    return [Document("essay", name, start) for name in names.split()]


def manuals(names: str, start: int) -> list[Document]:
    """Pages of Django's documentation."""
    return [Document("technical", name, start) for name in names.split()]


LEARNED_ESSAYS = essays(
    "secA1 secA2 secA3 secA5 secB1 secB3 secB4 secB7 secC1 secC2 secC4 secC8 secD1 secD5 secE1"
    " secF1 secF2 secF8",
    4000,
)
LEARNED_MANUALS = manuals(
    "ref/settings ref/models/querysets ref/forms/fields ref/contrib/admin/index"
    " ref/models/fields topics/db/queries topics/testing/tools ref/templates/builtins"
    " topics/i18n/translation ref/class-based-views/mixins-date-based"
    " howto/custom-management-commands ref/request-response releases/1.8 releases/3.1"
    " ref/django-admin topics/auth/default ref/forms/api topics/cache",
    1000,
)
HELD = [
    Document("essay", "secG2", 3000),
    Document("proceedings", "lcet10.txt", 20_000),
    Document("technical", "ref/databases", 500),
    Document("technical", "ref/contrib/gis/geos", 1000),
    Document("essay", "secI3", 6000),
    Document("essay", "secJ5", 9000),
    Document("proceedings", "lcet10.txt", 200_000),
    Document("technical", "topics/forms/modelforms", 1000),
]


def fetch(cache: pathlib.Path) -> pathlib.Path:
    """A folder with both packages unpacked; raises ValueError for bytes that are not the known."""
    folder = cache / "codec-texts"
    if (folder / "done").exists():
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        _run(["apt-get", "download", DEBIAN[0]], scratch)
        package = _checked(scratch, "anarchism_*.deb", DEBIAN[1])
        _run(["dpkg-deb", "--extract", str(package), str(folder / "anarchism")], scratch)
        with tarfile.open(django_sdist(scratch)) as archive:
            for member in archive.getmembers():
                if "/docs/" in member.name and member.name.endswith(".txt") and member.isfile():
                    member.name = member.name.split("/docs/", 1)[1]
                    archive.extract(member, folder / "django", filter="data")
    (folder / "done").touch()
    return folder


def django_sdist(folder: str) -> pathlib.Path:
    """Django's sources, fetched into a folder; ValueError for bytes that are not the known."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
    _run([*pip, "--no-binary", ":all:", "--no-build-isolation", PYPI[0]], folder)
    return _checked(folder, "*jango-*.tar.gz", PYPI[1])


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, cwd=folder, check=True, stdout=sys.stderr)


def _checked(folder: str, pattern: str, wanted: str) -> pathlib.Path:
    files = list(pathlib.Path(folder).glob(pattern))
    if len(files) != 1:
        raise ValueError(f"{pattern}: {len(files)} files came, wanted one")
    found = hashlib.sha256(files[0].read_bytes()).hexdigest()
    if found != wanted:
        raise ValueError(f"{files[0].name} has SHA-256 {found}, wanted {wanted}")
    return files[0]


def read(document: Document, cache: pathlib.Path) -> str:
    """The text of a document, long enough for any use here."""
    texts = fetch(cache)
    if document.kind == "essay":
        page = texts / "anarchism/usr/share/doc/anarchism/html" / f"{document.name}.html"
        text = _plain(page.read_text(encoding="utf-8", errors="replace"))
    elif document.kind == "technical":
        text = (texts / "django" / f"{document.name}.txt").read_text()
    else:
        text = (cache / document.name).read_text(encoding="latin-1")
    return text[document.start : document.start + CHARACTERS]


def _plain(page: str) -> str:
    """The text of a page of HTML, paragraphs parted by an empty line."""
    page = re.sub(r"(?s)<(script|style|head).*?</\1>", "", page)
    page = re.sub(r"(?i)</?(p|br|h[1-6]|div|li|blockquote|ul|tr)[^>]*>", "\n", page)
    page = re.sub(r"[ \t]+", " ", html.unescape(re.sub(r"<[^>]+>", "", page)))
    return re.sub(r"\n\s*\n+", "\n\n", page).strip()
