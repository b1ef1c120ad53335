"""A real daemon that keeps a chain of KV encoded, and the profiles that its codecs learn of it."""

from __future__ import annotations

import contextlib
import functools
import json
import pathlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import numpy as np
import pytest
from codec_back_ends import build_kernels
from conftest import require_binary, start_daemon, stop_daemon
from fake_server import AsyncFacade

from kdn import AttentionGroup, Client, Get, GetResult, Key, Layout, Put, chain_root, chunk_hashes
from kdn.codec.kernel_library import VARIABLE as KERNELS
from kdn.codec.profiles import VARIABLE as PROFILES
from kdn.rope import RoPE

CLASSES = {"exact": 1, "high": 2, "balanced": 3, "small": 4, "archive": 5}
PROFILED = ("balanced", "small", "archive")
TOKENS = 256
CHUNKS = 6
HEADS, DIMS, LAYERS = 2, 32, 4
GROUP = AttentionGroup(tuple(range(LAYERS)), HEADS, DIMS, 0, RoPE(10000.0, DIMS))
LAYOUT = Layout("bf16", (GROUP,))
CHUNK_BYTES = LAYOUT.bytes_per_token() * TOKENS
# Farther off than any class is on such KV, nearer than any other chunk.
DISTANCE_MAX = 0.35
KINDS = {"blocking": Client, "asyncio": AsyncFacade}
EVENTUALLY_SECONDS = 60.0


def kv(seed: int, tokens: int) -> bytes:
    """KV with channels of different means and spreads that hang together, as models have it."""
    shape = np.random.default_rng(5)
    channels = LAYERS * 2 * HEADS * DIMS
    means = shape.standard_normal(channels) * 3
    mixing = shape.standard_normal((24, channels)) * shape.uniform(0.1, 1, (24, 1))
    rng = np.random.default_rng(seed)
    values = means + rng.standard_normal((tokens, 24)) @ mixing
    values += 0.02 * rng.standard_normal((tokens, channels))
    ordered = values.reshape(tokens, LAYERS, 2, HEADS, DIMS).transpose(1, 2, 3, 0, 4)
    bits = np.ascontiguousarray(ordered, np.float32).view(np.uint32)
    return (bits >> 16).astype(np.uint16).tobytes()


def numbers(data: bytes | bytearray) -> np.ndarray:
    """The values of a chunk."""
    return (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)


def distance(found: bytes | bytearray, stored: bytes) -> float:
    """Root of the mean squared error, in units of the stored values' spread about their means."""
    ours, theirs = numbers(found), numbers(stored)
    spread = theirs.reshape(-1, TOKENS, DIMS).std(1).mean()
    return float(np.sqrt(np.square(ours - theirs).mean()) / spread)


@functools.cache
def profile(kind: str) -> bytes:
    """What `kdn profile learn` learns of such KV."""
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        dump = folder / "dump"
        dump.mkdir()
        (folder / "layout").write_bytes(LAYOUT.encode())
        for number in range(4):
            (dump / f"{number}.kv").write_bytes(kv(100 + number, 512))
            facts = {"first_token": 0, "token_count": 512}
            (dump / f"{number}.json").write_text(json.dumps(facts))
        command = [
            require_binary().with_name("kdn"), "profile", "learn", "--kind", kind, "--layout",
            folder / "layout", "--dump", dump, "--out", folder / "profile",
        ]
        subprocess.run(command, check=True, capture_output=True, timeout=120)
        return (folder / "profile").read_bytes()


@dataclass
class Site:
    """A daemon, and a chain of chunks that it keeps in a class by now."""

    name: str
    tcp: str
    unix: str
    keys: list[Key] = field(default_factory=list)
    stored: list[bytes] = field(default_factory=list)

    @property
    def codec(self) -> int:
        """The number of the class; 0 for raw."""
        return CLASSES.get(self.name, 0)

    def address(self, link: str) -> str:
        """Where a client of this link connects to."""
        return self.tcp if link == "tcp" else self.unix

    def client(self, fidelity: str | None, link: str = "tcp", **more) -> Client:
        return Client(self.address(link), fidelity=fidelity, link=link, **more)

    def gets(self) -> list[Get]:
        return [Get(key, bytearray(CHUNK_BYTES)) for key in self.keys]

    def store(self) -> None:
        """Stores the chain, and waits until the daemon has encoded all of it."""
        hashes = chunk_hashes(chain_root("fidelity", b""), range(CHUNKS * TOKENS), TOKENS)
        self.keys = [Key.layout(digest, LAYOUT.id, LAYOUT.whole()) for digest in hashes]
        self.stored = [kv(number, TOKENS) for number in range(CHUNKS)]
        with Client(self.tcp, link="tcp") as client:
            client.register_layout(LAYOUT)
            if self.name in PROFILED:
                client.use_profile(profile(self.name))
            puts = [
                Put(key, data, hashes[n - 1] if n else None, n * TOKENS, TOKENS)
                for n, (key, data) in enumerate(zip(self.keys, self.stored))
            ]
            assert all(result.stored for result in client.put_from(puts))
        if not self.codec:
            return
        with self.client(self.name) as client:
            deadline = time.monotonic() + EVENTUALLY_SECONDS
            while any(row.codec != self.codec for row in client.get_into(self.gets())):
                assert time.monotonic() < deadline, "the daemon never encoded it"


@contextlib.contextmanager
def fidelity_site(name: str, folder: pathlib.Path) -> Iterator[Site]:
    """A daemon that encodes what is in RAM to a class as soon as it can."""
    settings = ("--set", f"codec_ram={name}", "--set", "codec_age=0")
    daemon = start_daemon(require_binary(), folder / "s", settings)
    try:
        site = Site(name, daemon.tcp, daemon.unix)
        site.store()
        yield site
    finally:
        stop_daemon(daemon)


@contextlib.contextmanager
def raw_site(folder: pathlib.Path) -> Iterator[Site]:
    """A daemon that keeps the chain as it was stored."""
    daemon = start_daemon(require_binary(), folder / "s")
    try:
        site = Site("raw", daemon.tcp, daemon.unix)
        site.store()
        yield site
    finally:
        stop_daemon(daemon)


def values_of(results: list[GetResult]) -> list[tuple[bool, int]]:
    """Whether each is a hit, and in which class it came."""
    return [(row.hit, row.codec) for row in results]


def encoded_bytes(site: Site) -> int:
    """The length of the first chunk as it is sent."""
    with site.client(site.name) as client:
        return client.get_into(site.gets()[:1])[0].wire_bytes


# Fixtures


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("kernels")
    return str(build_kernels(folder)._name)


@pytest.fixture(autouse=True)
def own_profiles(monkeypatch: pytest.MonkeyPatch, tmp_path, kernels: str) -> None:
    monkeypatch.setenv(PROFILES, str(tmp_path))
    monkeypatch.setenv(KERNELS, kernels)


@pytest.fixture(scope="module")
def sites(
    tmp_path_factory: pytest.TempPathFactory, kernels: str
) -> Iterator[Callable[[str], Site]]:
    """A site for each class that is asked for, until the module's end."""
    made: dict[str, Site] = {}
    with contextlib.ExitStack() as stack, pytest.MonkeyPatch.context() as patch:
        patch.setenv(PROFILES, str(tmp_path_factory.mktemp("profiles")))
        patch.setenv(KERNELS, kernels)

        def site(name: str) -> Site:
            if name not in made:
                folder = tmp_path_factory.mktemp("site")
                made[name] = stack.enter_context(fidelity_site(name, folder))
            return made[name]

        yield site


@pytest.fixture(params=list(KINDS))
def make(request: pytest.FixtureRequest) -> Callable[..., contextlib.AbstractContextManager]:
    return KINDS[request.param]


@pytest.fixture(scope="module")
def kdnd_with_chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A daemon that keeps the chain as it was stored."""
    with raw_site(tmp_path_factory.mktemp("raw")) as site:
        yield site
