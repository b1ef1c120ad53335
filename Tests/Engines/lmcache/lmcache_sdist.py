"""LMCache's own tests: fetched from PyPI when they are needed, checked, cached, never committed."""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys
import tarfile
from importlib.metadata import version

SDIST_SHA256 = {"0.5.6": "d6951e60ce8818a76aa42d0866a4ba85f1c95cd919355fff30ff24dcc3243f1e"}
TEST = "tests/v1/distributed/test_resp_l2_adapter_integration.py"


def own_test(folder: pathlib.Path) -> pathlib.Path:
    """LMCache's test of its RESP adapter, of the installed version, unpacked into `folder`."""
    wanted = version("lmcache")
    target = folder / pathlib.PurePosixPath(TEST).name
    with tarfile.open(_sdist(wanted)) as archive:
        member = archive.extractfile(f"lmcache-{wanted}/{TEST}")
        assert member is not None
        target.write_bytes(member.read())
    return target


def _sdist(wanted: str) -> pathlib.Path:
    cache = pathlib.Path(os.environ.get("XDG_CACHE_HOME", pathlib.Path.home() / ".cache")) / "kdn"
    cache.mkdir(parents=True, exist_ok=True)
    archive = cache / f"lmcache-{wanted}.tar.gz"
    with (cache / "lmcache.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not archive.exists():
            _fetch(wanted, archive)
    return archive


def _fetch(wanted: str, archive: pathlib.Path) -> None:
    scratch = archive.with_suffix(".fetch")
    shutil.rmtree(scratch, ignore_errors=True)
    subprocess.run(
        [
            sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
            "--no-binary", "lmcache", "--no-build-isolation", "--dest", scratch,
            f"lmcache=={wanted}",
        ],
        check=True,
    )
    (fetched,) = scratch.glob("lmcache-*.tar.gz")
    found = hashlib.sha256(fetched.read_bytes()).hexdigest()
    assert found == SDIST_SHA256[wanted], f"{fetched.name} has the SHA-256 {found}"
    fetched.rename(archive)
    scratch.rmdir()
