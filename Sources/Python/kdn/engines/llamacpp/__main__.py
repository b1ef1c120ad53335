"""python -m kdn.engines.llamacpp: the proxy's command line."""

from __future__ import annotations

import argparse
import logging
import os
import pathlib
import signal
import sys
import threading

from kdn.client import Client
from kdn.engines.llamacpp.cache import SlotCache
from kdn.engines.llamacpp.proxy import Proxy
from kdn.engines.llamacpp.server import LlamaServer
from kdn.engines.llamacpp.service import Service
from kdn.engines.llamacpp.settings import MEBIBYTE, ProxySettings, StateSettings
from kdn.errors import KDNError
from kdn.link import LINKS


def parser() -> argparse.ArgumentParser:
    """The options; all but two have defaults."""
    made = argparse.ArgumentParser(
        prog="python -m kdn.engines.llamacpp",
        description="Keeps the slots of a llama.cpp server in KDN: a proxy in front of it.",
    )
    add = made.add_argument
    add("--server", required=True, metavar="URL", help="the llama.cpp server")
    add("--slots-dir", required=True, type=pathlib.Path, help="its --slot-save-path")
    add("--kdn", default=os.environ.get("KDN_ADDRESS", "127.0.0.1:9440"), metavar="ADDRESS")
    add("--namespace", default="default")
    add("--token-file", type=pathlib.Path, help="token of the namespace")
    add("--ca", help="authority of the daemon's certificate (tls:// addresses)")
    add("--link", default="auto", choices=LINKS, help="what carries the bytes")
    add("--listen", default="127.0.0.1:8090", metavar="HOST:PORT", help="port 0: any free one")
    add("--api-key-file", type=pathlib.Path, help="key that the server asks for")
    add("--model", type=pathlib.Path, help="GGUF file, if not where the server says")
    add("--variant", default="", help="other server options that change what is computed")
    add("--salt", default="", help="keeps the states of different users apart")
    add("--chunk-tokens", type=int, default=256)
    add("--min-tokens", type=int, default=256, help="least gain that is worth a transfer")
    add("--piece-mib", type=int, default=64, help="larger states are cut")
    add("--state-mib-max", type=int, default=4096, help="larger states are not kept")
    add("--ttl", type=float, default=0, help="seconds that states are kept, 0: until evicted")
    add("--restore-timeout", type=float, default=5.0, help="seconds")
    add("--verbose", action="store_true")
    return made


def settings_of(options: argparse.Namespace) -> StateSettings:
    """The settings of the options; raises FieldError."""
    return StateSettings(
        chunk_tokens=options.chunk_tokens,
        min_tokens=options.min_tokens,
        piece_bytes=options.piece_mib * MEBIBYTE,
        state_bytes_max=options.state_mib_max * MEBIBYTE,
        ttl_ms=int(options.ttl * 1000),
        salt=options.salt.encode(),
        variant=options.variant,
        model_file=options.model,
        restore_timeout=options.restore_timeout,
    )


def secret(path: pathlib.Path | None) -> str:
    """The first line of a file, without its end."""
    return path.read_text("utf-8").split("\n")[0].strip() if path is not None else ""


def listening(text: str) -> tuple[str, int]:
    """Host and port of an option."""
    host, _, port = text.rpartition(":")
    return host.strip("[]") or "127.0.0.1", int(port)


def main(arguments: list[str] | None = None) -> int:
    """Runs until SIGINT or SIGTERM; 2 if it cannot start."""
    options = parser().parse_args(arguments)
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        client = Client(
            options.kdn, options.namespace, secret(options.token_file), ca=options.ca,
            connect_timeout=1.0, link=options.link,
        )
        server = LlamaServer(options.server, secret(options.api_key_file))
        cache = SlotCache(client, server, options.slots_dir, settings_of(options))
        service = Service(cache, ProxySettings())
        proxy = Proxy(listening(options.listen), service)
    except (KDNError, OSError, ValueError) as error:
        print(f"kdn.engines.llamacpp: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: threading.Thread(target=proxy.shutdown).start())
    service.start()
    host, port = proxy.server_address[:2]
    logging.getLogger("kdn.llamacpp").info("listening on http://%s:%s", host, port)
    proxy.serve_forever()
    proxy.server_close()
    service.close()
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
