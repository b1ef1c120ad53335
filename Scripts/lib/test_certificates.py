"""An authority of a test's own, made with the openssl command: ECDSA P-256, valid for two days."""

from __future__ import annotations

import pathlib
import subprocess
from dataclasses import dataclass

NEW_KEY = ("req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-noenc")
LOCALHOST = "DNS:localhost,IP:127.0.0.1"


@dataclass(frozen=True)
class Certificate:
    """Paths of a certificate and of its key."""

    path: str
    key: str


class Authority:
    """Signs certificates into `folder`."""

    def __init__(self, folder: pathlib.Path, name: str = "ca") -> None:
        self._folder = folder
        self._key = str(folder / f"{name}.key")
        self.path = str(folder / f"{name}.pem")
        _openssl(*NEW_KEY, "-keyout", self._key, "-out", self.path, "-days", "2",
                 "-subj", f"/CN={name}")

    def sign(
        self, name: str, subject: str = "/CN=localhost", names: str = LOCALHOST
    ) -> Certificate:
        """A new key and its certificate for the alternative `names` in OpenSSL's form."""
        made = Certificate(str(self._folder / f"{name}.pem"), str(self._folder / f"{name}.key"))
        _openssl(*NEW_KEY, "-CA", self.path, "-CAkey", self._key, "-keyout", made.key,
                 "-out", made.path, "-days", "2", "-subj", subject,
                 "-addext", f"subjectAltName={names}",
                 "-addext", "basicConstraints=critical,CA:false")
        return made


def _openssl(*arguments: str) -> None:
    subprocess.run(["openssl", *arguments], check=True, capture_output=True)
