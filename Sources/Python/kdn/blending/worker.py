"""python -m kdn.blending.worker: a process with a model that does the daemon's jobs.

It takes one job at a time, tells how far it is, stops between layers when the job is cancelled or
lost, and gives it back when it is asked to end. Another worker does a job whose worker died.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import os
import pathlib
import signal
import sys
import threading
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from kdn.blending.errors import DocumentUnavailable
from kdn.blending.jobs import LEARN, decode_blend, decode_learn, verb_of
from kdn.client import Client
from kdn.errors import ConnectionLost, FieldError, KDNError, ServerError, Status
from kdn.link import LINKS
from kdn.work import JobHold, TakenJob

if TYPE_CHECKING:
    from kdn.engines._watch import Watch

log = logging.getLogger("kdn.blending")

WAIT_MS = 20_000
LEASE_MS = 30_000
RETRY_SECONDS = 1.0
DTYPES = ("float32", "bfloat16", "float16")
# What no other worker, and no other time, makes right.
_FINAL = (
    Status.BAD_REQUEST, Status.NOT_FOUND, Status.TOO_LARGE, Status.UNSUPPORTED,
    Status.NOT_ALLOWED, Status.FORBIDDEN,
)


class _Ended(BaseException):
    """The worker was asked to end while it waited for a job."""


class Worker:
    """Takes jobs of some kinds from a server and has an engine do them, one at a time.

    `engine` has `learn(job, watch)` and `blend(job, watch)`, see kdn.engines.blend_jobs. `client`
    raises on trouble; it is used by two threads.
    """

    def __init__(
        self, client: Client, engine: Any, kinds: Sequence[str], lease_ms: int = LEASE_MS
    ) -> None:
        for kind in kinds:
            verb_of(kind)
        self._client = client
        self._engine = engine
        self._kinds = tuple(kinds)
        self._lease_ms = lease_ms
        self._ending = threading.Event()
        self._is_waiting = False
        self._watch: Watch | None = None

    def run(self) -> None:
        """Does jobs until `end` is called."""
        while not self._ending.is_set():
            try:
                self.run_once(WAIT_MS)
            except _Ended:
                return
            except (ConnectionLost, TimeoutError, ServerError) as error:
                log.warning("no job can be had: %s", error)
                self._ending.wait(RETRY_SECONDS)

    def run_once(self, wait_ms: int) -> bool:
        """Waits for one job and does it; False if none came. Raises the client's errors."""
        self._is_waiting = True
        try:
            job = None if self._ending.is_set() else self._client.take_job(
                self._kinds, wait_ms, self._lease_ms
            )
        finally:
            self._is_waiting = False
        if job is None:
            return False
        self._do(job)
        return True

    def end(self) -> None:
        """Gives back the job that is under way, takes no other. For signal handlers: raises in
        the thread that waits for a job."""
        self._ending.set()
        watch = self._watch
        if watch is not None:
            watch.stop("the worker ends")
        if self._is_waiting and threading.current_thread() is threading.main_thread():
            raise _Ended

    def _do(self, job: TakenJob) -> None:
        from kdn.engines._watch import Stopped, Watch

        watch = self._watch = Watch()
        log.info("job %d (%s, attempt %d) begins", job.id, job.kind, job.attempt)
        done = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(job, watch, done), daemon=True)
        renewing.start()
        try:
            if self._ending.is_set():
                watch.stop("the worker ends")
            result = self._result(job, watch)
            watch.check()
            self._tell(job, lambda: self._client.finish_job(job, result))
        except Stopped as stopped:
            log.info("job %d stopped: %s", job.id, stopped)
            self._fail(job, str(stopped), again=True)
        except Exception as error:
            log.warning("job %d failed: %s", job.id, error, exc_info=not _is_final(error))
            self._fail(job, f"{type(error).__name__}: {error}", again=not _is_final(error))
        finally:
            self._watch = None
            done.set()
            renewing.join()

    def _result(self, job: TakenJob, watch: Watch) -> bytes:
        if verb_of(job.kind) == LEARN:
            made = self._engine.learn(decode_learn(job.payload), watch)
        else:
            made = self._engine.blend(decode_blend(job.payload), watch)
        return json.dumps(dataclasses.asdict(made)).encode()

    def _fail(self, job: TakenJob, reason: str, again: bool) -> None:
        self._tell(job, lambda: self._client.fail_job(job, reason, again))

    def _tell(self, job: TakenJob, say: Callable[[], JobHold]) -> None:
        """The last word about a job; if it is not heard the lease runs out."""
        try:
            hold = say()
            log.info("job %d is over: %s", job.id, hold.name.lower())
        except KDNError as error:
            log.warning("job %d: the server was not told of its end: %s", job.id, error)

    def _renew(self, job: TakenJob, watch: Watch, done: threading.Event) -> None:
        """Keeps the lease, and stops the work once it is of no use."""
        while not done.wait(self._lease_ms / 4000):
            try:
                hold = self._client.renew_job(job, watch.progress)
            except KDNError as error:
                log.warning("job %d: the lease was not renewed: %s", job.id, error)
                continue
            if hold is not JobHold.HELD:
                watch.stop(f"the job is {hold.name.lower()}")
                return


def _is_final(error: Exception) -> bool:
    """Whether trying again is of no use."""
    if isinstance(error, ServerError):
        return error.status in _FINAL
    return isinstance(error, (FieldError, DocumentUnavailable)) or (
        type(error).__name__ == "UnsupportedModel"
    )


def parser() -> argparse.ArgumentParser:
    """The options; all but the model have defaults."""
    made = argparse.ArgumentParser(
        prog="python -m kdn.blending.worker",
        description="Learns documents and blends prompts for a KDN daemon, with a model.",
    )
    add = made.add_argument
    add("--model", required=True, type=pathlib.Path, metavar="FOLDER", help="model and tokenizer")
    add("--server", default=os.environ.get("KDN_ADDRESS", "127.0.0.1:9440"), metavar="ADDRESS")
    add("--namespace", default=os.environ.get("KDN_NAMESPACE", "default"))
    add("--token-file", type=pathlib.Path, help="token of the namespace; else from KDN_TOKEN")
    add("--ca", help="authority of the daemon's certificate (tls:// addresses)")
    add("--link", default="auto", choices=LINKS, help="what carries the bytes")
    add("--kinds", default="learn,blend", help="jobs to do; learn.NAME and blend.NAME are queues")
    add("--dtype", default="float32", choices=DTYPES, help="as the engine that is to find the KV")
    add("--device", default="cpu", help="where the model runs")
    add("--threads", type=int, default=0, help="of the processor, 0: as torch finds right")
    add("--chunk-tokens", type=int, default=256, help="as the engine's")
    add(
        "--model-name",
        help="the name that the engine stores under (its kdn_model_name); by default the one that "
        "vLLM's connector finds of this folder",
    )
    add("--lease-seconds", type=int, default=LEASE_MS // 1000, help="without a word: job lost")
    add("--verbose", action="store_true")
    return made


def load(options: argparse.Namespace, client: Client) -> Any:
    """The engine of the options; raises OSError, ValueError or a KDNError where it cannot be."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from kdn.engines.blend_jobs import BlendEngine
    from kdn.engines.vllm.identity import folder_name

    if options.threads:
        torch.set_num_threads(options.threads)
    name = options.model_name or folder_name(options.model, options.dtype)
    model = AutoModelForCausalLM.from_pretrained(
        options.model, dtype=getattr(torch, options.dtype), attn_implementation="sdpa",
        local_files_only=True,
    )
    model = model.to(options.device).eval()
    tokenizer = AutoTokenizer.from_pretrained(options.model, local_files_only=True)
    log.info("model %s", name)
    return BlendEngine(model, tokenizer, client, name, options.chunk_tokens)


def connect(options: argparse.Namespace) -> Client:
    """A client of the options; raises FieldError or OSError."""
    if options.token_file is not None:
        token = options.token_file.read_text("utf-8").strip()
    else:
        token = os.environ.get("KDN_TOKEN", "")
    return Client(
        options.server, options.namespace, token or None, ca=options.ca, link=options.link
    )


def main(arguments: list[str] | None = None) -> int:
    """Runs until SIGINT or SIGTERM; 2 if it cannot start."""
    options = parser().parse_args(arguments)
    level = logging.DEBUG if options.verbose else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)s %(levelname)s %(message)s")
    try:
        client = connect(options)
        kinds = [kind.strip() for kind in options.kinds.split(",")]
        worker = Worker(client, load(options, client), kinds, options.lease_seconds * 1000)
    except (KDNError, OSError, ValueError) as error:
        print(f"kdn.blending.worker: {error}", file=sys.stderr)
        return 2
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: worker.end())
    log.info("waiting for jobs of %s", ", ".join(kinds))
    try:
        worker.run()
    except _Ended:
        pass
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
