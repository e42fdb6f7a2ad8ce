"""A revision: one version of the document, with who put it into force, when and why."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum

from samdrift.spec.document import Spec
from samdrift.spec.findings import Rejected
from samdrift.spec.parsing import parse_document

LONGEST_REASON = 500
"""Characters of a reason."""


class Origin(StrEnum):
    """How a revision came about."""

    STARTED = "started"  # `samdrift up` was given a document that differs from the last revision
    RELOADED = "reloaded"  # the file was changed, and the service was told to read it again
    APPLIED = "applied"
    ROLLED_BACK = "rolled back"


@dataclass(frozen=True, slots=True)
class Revision:
    """What is known of one revision but its text. Numbers count from 1 without gaps; `at` is Unix seconds; `digest` is that of
    its text. `rolled_back_to` is the revision whose text it took over, if any."""

    number: int
    at: float
    author_kind: str
    author: str
    author_name: str
    origin: Origin
    reason: str
    digest: str
    rolled_back_to: int | None = None


def digest_of_text(text: str) -> str:
    """SHA-256 of a document's text, in hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


class _Everything(Mapping[str, str]):
    """An environment in which every variable is set: whether references lead anywhere is no matter of history."""

    def __getitem__(self, name: str) -> str:
        return name

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


def spec_of_text(text: str) -> Spec | Rejected:
    """The document in a text that was in force once, for comparing. Paths and references stay as they are written.

    An old text may be rejected: the format or the checks may have changed since.
    """
    return parse_document({"document.yaml": text}, environment=_Everything())
