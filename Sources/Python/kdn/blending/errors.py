"""What a blend can fail with, beside a field that is out of its limits."""

from __future__ import annotations

from kdn.errors import KDNError
from kdn.results import MissCause


class DocumentUnavailable(KDNError):
    """Something of a published document cannot be had: learn it again.

    `document` is its name, `what` the part that is missing, `cause` why.
    """

    def __init__(self, document: str, what: str, cause: MissCause) -> None:
        super().__init__(f"document {document!r}: {what} cannot be had ({cause.name.lower()})")
        self.document = document
        self.what = what
        self.cause = cause
