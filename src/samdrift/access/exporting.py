"""An audit trail as a file that can be verified anywhere: lines of JSON, the first of which says what follows.

    {"samdrift_audit": 1, "community": "OS2ai", "organisation": null, "made_at": 1780000000.0, "keys": ["…"]}
    {"checkpoint": 812, "hash": "…", "at": 1780000000.0, "key": "…", "signature": "…"}
    {"seq": 1, "previous": "…", "digest": "…", "hash": "…", "content": {"at": "2026-…", "actor": "…", "salt": "…", …}}

Bytes stand in hexadecimal. A row without `content` was forgotten by retention, or concerns another organisation than the one
that the file was made for; its digest and hash are there, so that the chain verifies all the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

from samdrift.access.chain import Checkpoint, Link, canonical

FORMAT = 1
_LONGEST_LINE = 1_000_000


class NoExport(ValueError):  # noqa: N818 - the name says what is so
    """This is no export of an audit trail, or it is torn. The text says at which line."""


@dataclass(frozen=True, slots=True)
class Head:
    """What an export says of itself. `keys` are the public keys of whoever made it: whether they are the right ones, only
    somebody who got them another way can tell. `organisation`: what concerns others is withheld."""

    community: str
    organisation: str | None
    made_at: float
    keys: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class Export:
    """An export that is being read. Rows are read as they are asked for."""

    head: Head
    checkpoints: tuple[Checkpoint, ...]
    links: Iterator[Link]


def lines(head: Head, checkpoints: Iterable[Checkpoint], links: Iterable[Link]) -> Iterator[bytes]:
    """The lines of an export, each with its newline."""
    yield canonical({"samdrift_audit": FORMAT, "community": head.community, "organisation": head.organisation,
        "made_at": head.made_at, "keys": [key.hex() for key in head.keys]}) + b"\n"  # fmt: skip
    for c in checkpoints:
        yield canonical({"checkpoint": c.seq, "hash": c.hash.hex(), "at": c.at, "key": c.key.hex(),
            "signature": c.signature.hex()}) + b"\n"  # fmt: skip
    for row in links:
        line: dict[str, Any] = {"seq": row.seq} | {name: getattr(row, name).hex() for name in ("previous", "digest", "hash")}
        if row.content is not None:
            line["content"] = row.content
        yield canonical(line) + b"\n"


def read(given: Iterable[bytes]) -> Export:
    """Read an export. Raises NoExport, also while its rows are gone through."""
    numbered = enumerate(given, 1)
    first = next(numbered, None)
    if first is None:
        raise NoExport("the file is empty")
    said = _object(*first)
    if said.get("samdrift_audit", FORMAT) != FORMAT:
        raise NoExport(f"line 1: this is format {said['samdrift_audit']!r}, and only {FORMAT} is known")
    try:
        head = Head(str(said["community"]), said["organisation"], float(said["made_at"]), tuple(map(bytes.fromhex, said["keys"])))
    except (KeyError, TypeError, ValueError) as error:
        raise NoExport("line 1: this is not the first line of an export by `samdrift audit export`") from error
    checkpoints: list[Checkpoint] = []
    for number, line in numbered:
        values = _object(number, line)
        if "checkpoint" not in values:
            return Export(head, tuple(checkpoints), _links(chain([(number, line)], numbered)))
        try:
            checkpoints.append(Checkpoint(int(values["checkpoint"]), bytes.fromhex(values["hash"]), values["at"],
                bytes.fromhex(values["key"]), bytes.fromhex(values["signature"])))  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise NoExport(f"line {number}: this is no checkpoint") from error
    return Export(head, tuple(checkpoints), iter(()))


def _links(numbered: Iterable[tuple[int, bytes]]) -> Iterator[Link]:
    for number, line in numbered:
        values = _object(number, line)
        try:
            content = values.get("content")
            if content is not None and not isinstance(content, dict):
                raise NoExport(f"line {number}: `content` is no object")
            seq = values["seq"]
            if not isinstance(seq, int) or not 0 < seq < 2**63:
                raise NoExport(f"line {number}: `seq` is no number of a row")
            previous, digest, hash_ = (bytes.fromhex(values[name]) for name in ("previous", "digest", "hash"))
            yield Link(seq, previous, digest, hash_, content)
        except (KeyError, TypeError, ValueError) as error:
            raise error if isinstance(error, NoExport) else NoExport(f"line {number}: this is no row") from error


def _object(number: int, line: bytes) -> dict[str, Any]:
    try:
        if len(line) > _LONGEST_LINE:
            raise NoExport(f"line {number}: it is longer than any that an export has")
        values = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise error if isinstance(error, NoExport) else NoExport(f"line {number}: this is no JSON; the file is torn") from error
    if not isinstance(values, dict):
        raise NoExport(f"line {number}: this is no JSON object")
    return values
