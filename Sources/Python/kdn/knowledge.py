"""What clients say of knowledge: documents by name, blends, edits, and jobs for a worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from kdn import knowledge_operations as knowledge
from kdn import operations
from kdn.compose import BlendPiece, Composed
from kdn.documents import Document, DocumentListing, Resolved
from kdn.edits import Edit, ListedEdit, Materialised
from kdn.keys import Key
from kdn.operations import Operation
from kdn.token_texts import FoundText, find, texts_key
from kdn.work import JobFacts, JobHold, JobState, JobStatus, TakenJob

Value = TypeVar("Value")
LEASE_MS = 30_000


class KnowledgeCalls:
    """The verbs of knowledge of the blocking client."""

    _timeout: float

    def _call(self, operation: Operation[Value], timeout: float | None) -> Value:
        raise NotImplementedError

    def _call_waiting(self, operation: Operation[Value], timeout: float) -> Value:
        """A call that the server may answer late: it does not keep others waiting."""
        raise NotImplementedError

    def get(self, key: Key, timeout: float | None = None) -> bytes | None:
        raise NotImplementedError

    def publish_document(self, document: Document, timeout: float | None = None) -> int:
        """Makes a name stand for a text; returns the epoch. Its layout must be registered."""
        return self._call(operations.publish_document(document), timeout)

    def resolve_document(self, name: str, timeout: float | None = None) -> Resolved:
        """What a name stands for; ServerError NOT_FOUND if it stands for nothing."""
        return self._call(operations.resolve_document(name), timeout)

    def list_documents(
        self, after: str = "", limit: int = 1000, timeout: float | None = None
    ) -> list[DocumentListing]:
        """Names behind `after` in the order of their bytes."""
        return self._call(operations.list_documents(after, limit), timeout)

    def retire_document(self, name: str, timeout: float | None = None) -> int:
        """Forgets a name; its chunks stay."""
        return self._call(operations.retire_document(name), timeout)

    def compose(
        self,
        layout_id: bytes,
        pieces: Sequence[BlendPiece | str],
        *,
        drop_first: bool = True,
        edits: bool = True,
        first_position: int = 0,
        recompute_permille: int = 0,
        forbidden: Sequence[str] = (),
        settling: bytes | None = None,
        timeout: float | None = None,
    ) -> Composed:
        """Puts documents together; returns the plan while the server assembles the layers.

        Each layer is then an object under `Composed.key`: GET it with `wait`. None of the pieces
        may be named in `forbidden`: ServerError FORBIDDEN.
        """
        operation = knowledge.compose(
            layout_id, pieces, drop_first, edits, first_position, recompute_permille, forbidden,
            settling,
        )
        return self._call(operation, timeout)

    def add_edit(
        self, name: str, edit: Edit, epoch: int = 0, timeout: float | None = None
    ) -> int:
        """Adds an edit to a document, of this epoch unless it is 0; returns the edit's number."""
        return self._call(knowledge.add_edit(name, edit, epoch), timeout)

    def list_edits(self, name: str, timeout: float | None = None) -> list[ListedEdit]:
        """A document's edits in the order in which they came."""
        return self._call(knowledge.list_edits(name), timeout)

    def revert_edits(self, name: str, edit_id: int = 0, timeout: float | None = None) -> int:
        """Takes back one edit of a document, or all for 0; returns how many."""
        return self._call(knowledge.revert_edits(name, edit_id), timeout)

    def find_text(
        self,
        name: str,
        phrase: str,
        *,
        occurrence: int | None = None,
        everywhere: bool = False,
        timeout: float | None = None,
    ) -> FoundText:
        """Where a phrase stands in a document that was learned with a tokenizer, for `add_edit`.

        The only occurrence, the one of this number, from 1, or `everywhere`; pass the epoch on.
        Raises FieldError naming `text` (value: how often it occurs), `occurrence`, or `texts` where
        the texts of the document's tokens are not kept; ServerError NOT_FOUND for an unknown name.
        """
        known = self.resolve_document(name, timeout=timeout)
        data = self.get(texts_key(known.document), timeout=timeout)
        return find(data, known.document, known.epoch, phrase, occurrence, everywhere)

    def materialise_edits(
        self, name: str, timeout: float | None = None
    ) -> Materialised:
        """Has what a document's edits change kept as it is delivered, in the background.

        Blends are the same without: they edit chunks on the way. It lasts until the edits change.
        """
        return self._call(knowledge.materialise_edits(name, True), timeout)

    def materialised_edits(
        self, name: str, timeout: float | None = None
    ) -> Materialised:
        """How much of what a document's edits change is kept as it is delivered."""
        return self._call(knowledge.materialise_edits(name, False), timeout)

    def submit_job(
        self,
        kind: str,
        payload: bytes,
        deadline_ms: int = 0,
        attempts: int = 0,
        timeout: float | None = None,
    ) -> int:
        """Queues a job for a worker; returns its number. 0 is the server's default."""
        operation = knowledge.submit_job(kind, payload, deadline_ms, attempts)
        return self._call(operation, timeout)

    def take_job(
        self,
        kinds: Sequence[str],
        wait_ms: int = 0,
        lease_ms: int = LEASE_MS,
        timeout: float | None = None,
    ) -> TakenJob | None:
        """Waits for a job of these kinds and leases it; None if none came within the wait.

        `timeout` is counted beyond the wait.
        """
        operation = knowledge.take_job(kinds, wait_ms, lease_ms)
        beyond = self._timeout if timeout is None else timeout
        return self._call_waiting(operation, wait_ms / 1000 + beyond)

    def renew_job(
        self, job: TakenJob, progress: int = 0, timeout: float | None = None
    ) -> JobHold:
        """Renews a job's lease for as long again and tells how far it is, in thousandths."""
        return self._call(knowledge.renew_job(job.id, job.attempt, progress), timeout)

    def finish_job(
        self, job: TakenJob, result: bytes = b"", timeout: float | None = None
    ) -> JobHold:
        """Ends a job with what came of it; unless HELD nobody will see the result."""
        return self._call(knowledge.finish_job(job.id, job.attempt, result), timeout)

    def fail_job(
        self, job: TakenJob, reason: str, again: bool = True, timeout: float | None = None
    ) -> JobHold:
        """Gives up an attempt; with `again` another is made if there is one left."""
        return self._call(knowledge.fail_job(job.id, job.attempt, reason, again), timeout)

    def job_status(self, job_id: int, timeout: float | None = None) -> JobStatus:
        """How a job stands, and what came of it."""
        return self._call(knowledge.job_status(job_id), timeout)

    def cancel_job(self, job_id: int, timeout: float | None = None) -> JobState:
        """Asks that a job not be done; returns how it stands now."""
        return self._call(knowledge.cancel_job(job_id), timeout)

    def list_jobs(
        self, after: int = 0, limit: int = 1000, timeout: float | None = None
    ) -> list[JobFacts]:
        """Jobs with numbers behind `after`."""
        return self._call(knowledge.list_jobs(after, limit), timeout)


class AsyncKnowledgeCalls:
    """The verbs of knowledge of the asyncio client."""

    _timeout: float

    async def _call(self, operation: Operation[Value], timeout: float | None) -> Value:
        raise NotImplementedError

    async def _call_waiting(self, operation: Operation[Value], timeout: float) -> Value:
        """A call that the server may answer late: it does not keep others waiting."""
        raise NotImplementedError

    async def get(self, key: Key, timeout: float | None = None) -> bytes | None:
        raise NotImplementedError

    async def publish_document(self, document: Document, timeout: float | None = None) -> int:
        """Makes a name stand for a text; returns the epoch. Its layout must be registered."""
        return await self._call(operations.publish_document(document), timeout)

    async def resolve_document(self, name: str, timeout: float | None = None) -> Resolved:
        """What a name stands for; ServerError NOT_FOUND if it stands for nothing."""
        return await self._call(operations.resolve_document(name), timeout)

    async def list_documents(
        self, after: str = "", limit: int = 1000, timeout: float | None = None
    ) -> list[DocumentListing]:
        """Names behind `after` in the order of their bytes."""
        return await self._call(operations.list_documents(after, limit), timeout)

    async def retire_document(self, name: str, timeout: float | None = None) -> int:
        """Forgets a name; its chunks stay."""
        return await self._call(operations.retire_document(name), timeout)

    async def compose(
        self,
        layout_id: bytes,
        pieces: Sequence[BlendPiece | str],
        *,
        drop_first: bool = True,
        edits: bool = True,
        first_position: int = 0,
        recompute_permille: int = 0,
        forbidden: Sequence[str] = (),
        settling: bytes | None = None,
        timeout: float | None = None,
    ) -> Composed:
        """Puts documents together; returns the plan while the server assembles the layers.

        Each layer is then an object under `Composed.key`: GET it with `wait`. None of the pieces
        may be named in `forbidden`: ServerError FORBIDDEN.
        """
        operation = knowledge.compose(
            layout_id, pieces, drop_first, edits, first_position, recompute_permille, forbidden,
            settling,
        )
        return await self._call(operation, timeout)

    async def add_edit(
        self, name: str, edit: Edit, epoch: int = 0, timeout: float | None = None
    ) -> int:
        """Adds an edit to a document, of this epoch unless it is 0; returns the edit's number."""
        return await self._call(knowledge.add_edit(name, edit, epoch), timeout)

    async def list_edits(self, name: str, timeout: float | None = None) -> list[ListedEdit]:
        """A document's edits in the order in which they came."""
        return await self._call(knowledge.list_edits(name), timeout)

    async def revert_edits(self, name: str, edit_id: int = 0, timeout: float | None = None) -> int:
        """Takes back one edit of a document, or all for 0; returns how many."""
        return await self._call(knowledge.revert_edits(name, edit_id), timeout)

    async def find_text(
        self,
        name: str,
        phrase: str,
        *,
        occurrence: int | None = None,
        everywhere: bool = False,
        timeout: float | None = None,
    ) -> FoundText:
        """Where a phrase stands in a document that was learned with a tokenizer, for `add_edit`.

        The only occurrence, the one of this number, from 1, or `everywhere`; pass the epoch on.
        Raises FieldError naming `text` (value: how often it occurs), `occurrence`, or `texts` where
        the texts of the document's tokens are not kept; ServerError NOT_FOUND for an unknown name.
        """
        known = await self.resolve_document(name, timeout=timeout)
        data = await self.get(texts_key(known.document), timeout=timeout)
        return find(data, known.document, known.epoch, phrase, occurrence, everywhere)

    async def materialise_edits(
        self, name: str, timeout: float | None = None
    ) -> Materialised:
        """Has what a document's edits change kept as it is delivered, in the background.

        Blends are the same without: they edit chunks on the way. It lasts until the edits change.
        """
        return await self._call(knowledge.materialise_edits(name, True), timeout)

    async def materialised_edits(
        self, name: str, timeout: float | None = None
    ) -> Materialised:
        """How much of what a document's edits change is kept as it is delivered."""
        return await self._call(knowledge.materialise_edits(name, False), timeout)

    async def submit_job(
        self,
        kind: str,
        payload: bytes,
        deadline_ms: int = 0,
        attempts: int = 0,
        timeout: float | None = None,
    ) -> int:
        """Queues a job for a worker; returns its number. 0 is the server's default."""
        operation = knowledge.submit_job(kind, payload, deadline_ms, attempts)
        return await self._call(operation, timeout)

    async def take_job(
        self,
        kinds: Sequence[str],
        wait_ms: int = 0,
        lease_ms: int = LEASE_MS,
        timeout: float | None = None,
    ) -> TakenJob | None:
        """Waits for a job of these kinds and leases it; None if none came within the wait.

        `timeout` is counted beyond the wait.
        """
        operation = knowledge.take_job(kinds, wait_ms, lease_ms)
        beyond = self._timeout if timeout is None else timeout
        return await self._call_waiting(operation, wait_ms / 1000 + beyond)

    async def renew_job(
        self, job: TakenJob, progress: int = 0, timeout: float | None = None
    ) -> JobHold:
        """Renews a job's lease for as long again and tells how far it is, in thousandths."""
        return await self._call(knowledge.renew_job(job.id, job.attempt, progress), timeout)

    async def finish_job(
        self, job: TakenJob, result: bytes = b"", timeout: float | None = None
    ) -> JobHold:
        """Ends a job with what came of it; unless HELD nobody will see the result."""
        return await self._call(knowledge.finish_job(job.id, job.attempt, result), timeout)

    async def fail_job(
        self, job: TakenJob, reason: str, again: bool = True, timeout: float | None = None
    ) -> JobHold:
        """Gives up an attempt; with `again` another is made if there is one left."""
        return await self._call(knowledge.fail_job(job.id, job.attempt, reason, again), timeout)

    async def job_status(self, job_id: int, timeout: float | None = None) -> JobStatus:
        """How a job stands, and what came of it."""
        return await self._call(knowledge.job_status(job_id), timeout)

    async def cancel_job(self, job_id: int, timeout: float | None = None) -> JobState:
        """Asks that a job not be done; returns how it stands now."""
        return await self._call(knowledge.cancel_job(job_id), timeout)

    async def list_jobs(
        self, after: int = 0, limit: int = 1000, timeout: float | None = None
    ) -> list[JobFacts]:
        """Jobs with numbers behind `after`."""
        return await self._call(knowledge.list_jobs(after, limit), timeout)
