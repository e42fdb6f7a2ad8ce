"""`samdrift audit --server`: the trail of another machine, through the administrative API."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from tempfile import TemporaryFile
from typing import IO, Any

import click

from samdrift.access.exporting import Export, NoExport, read
from samdrift.cli.administering import Administering
from samdrift.cli.data_folder import columns

Json = dict[str, Any]
_SPOOL = 2**20  # bytes of a pipe's reading


def listing(remote: Administering, wanted: Json, organisation: str | None, limit: int, *, as_json: bool) -> None:
    """Print events, the newest first."""
    asked = {name: _instant(value) if isinstance(value, float) else value for name, value in wanted.items()}
    rows = list(islice(remote.pages(*_of(organisation), "audit", **asked, limit=min(limit, 200)), limit))
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return
    if not rows:
        click.echo("Nothing of this kind was noted.", err=True)
        return
    table = [("NUMBER", "TIME (UTC)", "WHO", "ACTION", "OUTCOME", "SUBJECT", "ORGANISATION", "REASON")]
    for e in rows:
        who = f"{e['actor_kind']}:{e['actor']}" + (f" ({e['address']})" if e["address"] else "")
        cells = (str(e["number"]), e["at"][:19].replace("T", " "), who, e["action"], e["outcome"], e["subject"],
            e["organisation"] or "", e["reason"])  # fmt: skip
        table.append(tuple(map(printable, cells)))  # type: ignore[arg-type]  # as many as the heading has
    shown = list(columns(table, right=(0,)))
    click.echo(click.style(shown[0], bold=True))
    for e, line in zip(rows, shown[1:], strict=True):
        click.echo(line if e["outcome"] == "done" else click.style(line, fg="yellow"))


def export(remote: Administering, organisation: str | None, output: IO[bytes]) -> None:
    """Write the trail as it comes."""
    rows = 0
    with remote.stream("GET", *_of(organisation), "audit", "export") as pieces:
        for piece in pieces:
            output.write(piece)
            rows += piece.count(b"\n")
    click.echo(f"{rows:,} lines written.", err=True)


@contextmanager
def exported(remote: Administering, organisation: str | None) -> Iterator[Export]:
    """The trail of a server, whole on this machine, to be verified here: what the server says of itself is not enough. Raises
    NoExport."""
    with TemporaryFile() as spooled:
        with remote.stream("GET", *_of(organisation), "audit", "export") as pieces:
            for piece in pieces:
                spooled.write(piece)
        spooled.seek(0)
        yield read(spooled)


def keys(remote: Administering, organisation: str | None) -> tuple[bytes, ...]:
    """The public keys that a server says are its own. Raises NoExport."""
    with remote.stream("GET", *_of(organisation), "audit", "export") as pieces:
        first = b""
        for piece in pieces:
            first += piece
            if b"\n" in first:
                return read([first.partition(b"\n")[0]]).head.keys
            if len(first) > _SPOOL:
                break
    raise NoExport("its first line does not end")


def printable(text: str) -> str:
    """What others wrote must not steer the terminal."""
    return "".join(c if c.isprintable() else "\ufffd" for c in text)[:80]


def _of(organisation: str | None) -> tuple[str, ...]:
    return () if organisation is None else ("members", organisation)


def _instant(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).isoformat()
