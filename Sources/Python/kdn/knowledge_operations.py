"""The verbs of blending, as operations.py has those of storing: COMPOSE, EDIT and WORK."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from kdn import compose as composing
from kdn import edits, work
from kdn.compose import BlendPiece, Composed
from kdn.edits import Edit, ListedEdit, Materialised
from kdn.operations import Simple
from kdn.wire import Op
from kdn.work import JobFacts, JobHold, JobState, JobStatus, TakenJob

Value = TypeVar("Value")


def _one(
    op: Op, body: bytes, decode: Callable[[bytes], Any], retries: bool = True
) -> Simple[Any]:
    return Simple(op, lambda limits: [(body, decode)], lambda rows: rows[0], retries=retries)


def compose(
    layout_id: bytes,
    pieces: Sequence[BlendPiece | str],
    drop_first: bool,
    edits_too: bool,
    first_position: int,
    recompute_permille: int,
    forbidden: Sequence[str],
    settling: bytes | None,
) -> Simple[Composed]:
    """COMPOSE; the same again is a hit, so it may be retried."""
    body = composing.encode_compose(
        layout_id,
        [BlendPiece(piece) if isinstance(piece, str) else piece for piece in pieces],
        drop_first=drop_first,
        edits=edits_too,
        first_position=first_position,
        recompute_permille=recompute_permille,
        forbidden=forbidden,
        settling=settling,
    )
    return _one(Op.COMPOSE, body, partial(composing.decode_composed, layout_id=layout_id))


def add_edit(name: str, edit: Edit, epoch: int) -> Simple[int]:
    """EDIT add; never retried, since edits stack."""
    return _one(Op.EDIT, edits.encode_add(name, edit, epoch), edits.decode_added, retries=False)


def list_edits(name: str) -> Simple[list[ListedEdit]]:
    """EDIT list."""
    return _one(Op.EDIT, edits.encode_list(name), edits.decode_listed)


def revert_edits(name: str, edit_id: int) -> Simple[int]:
    """EDIT revert; never retried, since the first try may have found them."""
    body = edits.encode_revert(name, edit_id)
    return _one(Op.EDIT, body, edits.decode_reverted, retries=False)


def materialise_edits(name: str, order: bool) -> Simple[Materialised]:
    """EDIT materialise; an order for what is under way or done changes nothing."""
    return _one(Op.EDIT, edits.encode_materialise(name, order), edits.decode_materialised)


def submit_job(kind: str, payload: bytes, deadline_ms: int, attempts: int) -> Simple[int]:
    """WORK submit; never retried, since the job would be done twice."""
    body = work.encode_submit(kind, payload, deadline_ms, attempts)
    return _one(Op.WORK, body, work.decode_submitted, retries=False)


def take_job(kinds: Sequence[str], wait_ms: int, lease_ms: int) -> Simple[TakenJob | None]:
    """WORK take; never retried: a job that was given to a lost connection comes back by itself."""
    body = work.encode_take(kinds, wait_ms, lease_ms)
    return _one(Op.WORK, body, work.decode_taken, retries=False)


def renew_job(job_id: int, attempt: int, progress: int) -> Simple[JobHold]:
    """WORK renew."""
    return _one(Op.WORK, work.encode_renew(job_id, attempt, progress), work.decode_renewed)


def finish_job(job_id: int, attempt: int, result: bytes) -> Simple[JobHold]:
    """WORK finish; never retried: a second try would find the job over."""
    body = work.encode_finish(job_id, attempt, result)
    return _one(Op.WORK, body, work.decode_finished, retries=False)


def fail_job(job_id: int, attempt: int, reason: str, again: bool) -> Simple[JobHold]:
    """WORK fail; never retried: a second try would find the attempt over."""
    body = work.encode_fail(job_id, attempt, reason, again)
    return _one(Op.WORK, body, work.decode_failed, retries=False)


def job_status(job_id: int) -> Simple[JobStatus]:
    """WORK status."""
    return _one(Op.WORK, work.encode_status(job_id), work.decode_status)


def cancel_job(job_id: int) -> Simple[JobState]:
    """WORK cancel; a job that is over stays as it is."""
    return _one(Op.WORK, work.encode_cancel(job_id), work.decode_cancelled)


def list_jobs(after: int, limit: int) -> Simple[list[JobFacts]]:
    """WORK list, one page."""
    return _one(Op.WORK, work.encode_list(after, limit), work.decode_listed)
