"""`samdrift replay`: a recorded day, played again under another document."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from samdrift.cli.data_folder import columns
from samdrift.fairshare.replay import BadRecording, stimuli_of
from samdrift.fairshare.share import tree_of
from samdrift.gateway.explaining import BANDS, part, spelt
from samdrift.reading import DocumentRejected, DocumentUnreadable, read_document
from samdrift.simulation.recorded import Bands, BandWaits, Days, EmptyRecording, Waits, compare_with_bands

_Row = tuple[str, ...]


@click.command("replay")
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@click.argument("document", type=click.Path(path_type=Path, exists=True))
@click.option("--json", "as_json", is_flag=True, help="Print both days as JSON.")
def replay_command(file: Path, document: Path, as_json: bool) -> None:
    """Play the day that was recorded in FILE again under the shares, waits and limits of DOCUMENT, and say who waited how
    long, as it was → as it would have been.

    Every request comes when it came and sits as long as it sat; whoever hung up while waiting does so after the same time,
    unless their turn came before. Days are recorded where the document says so (`observe.record`), in the folder `record` of
    the data folder.

    Exit code 0; 1 if the document has findings; 2 if something cannot be read.

    \b
    Examples:
      samdrift replay data/record/2026-11-02.jsonl other-shares.yaml
      samdrift replay data/record/2026-11-02.jsonl other-shares.yaml --json | jq .document.organisations
    """
    try:
        tree = tree_of(read_document(document))
    except DocumentUnreadable as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except DocumentRejected as rejected:
        click.echo("".join(f"{finding}\n" for finding in rejected.findings), err=True, nl=False)
        sys.exit(1)
    try:
        with file.open(encoding="utf-8") as lines:
            days, bands = compare_with_bands(list(stimuli_of(lines)), tree)
    except (BadRecording, EmptyRecording, UnicodeDecodeError) as error:
        click.echo(f"{file}: {error}", err=True)
        sys.exit(2)
    except OSError as error:
        click.echo(f"{file} cannot be read: {error.strerror}.", err=True)
        sys.exit(2)
    if as_json:
        both = zip(("recorded", "document"), days, bands, strict=True)
        click.echo(json.dumps({name: _plain(day, by_band) for name, day, by_band in both}, ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(_lines(days, bands)))


def _plain(day: Sequence[Waits], bands: Sequence[BandWaits]) -> dict[str, Any]:
    return {"organisations": [asdict(row) for row in day],
        "bands": [{**asdict(row), "band": BANDS[row.band]} for row in bands]}  # fmt: skip


def _lines(days: Days, bands: Bands) -> Iterator[str]:
    yield "As recorded → under this document"
    yield ""
    yield from columns(list(_by_organisation(*days)), right=range(1, 8))
    yield ""
    yield from columns(list(_by_band(*bands)), right=range(2, 6))
    yield ""
    yield "Waits are those of requests that were served. Bands: within the own share, or borrowed from what others left."


def _by_organisation(was: Sequence[Waits], would_be: Sequence[Waits]) -> Iterator[_Row]:
    yield ("ORGANISATION", "SHARE", "REQUESTS", "REFUSED", "HUNG UP", "WAIT P50", "P95", "LONGEST")
    then = {row.organisation: row for row in was}
    now = {row.organisation: row for row in would_be}
    for name in sorted(then | now):
        # Who is in one of the two documents only was nobody in the other.
        new = now.get(name) or replace(then[name], share=0.0)
        old = then.get(name) or replace(new, share=0.0, requests=0, refused=0, left=0, p50=0.0, p95=0.0, longest=0.0)
        yield (name, _both(part(old.share), part(new.share)), str(new.requests), _both(old.refused, new.refused),
            _both(old.left, new.left), *_waits(old, new))  # fmt: skip


def _by_band(was: Sequence[BandWaits], would_be: Sequence[BandWaits]) -> Iterator[_Row]:
    yield ("ORGANISATION", "BAND", "SERVED", "WAIT P50", "P95", "LONGEST")
    then = {(row.organisation, row.band): row for row in was}
    now = {(row.organisation, row.band): row for row in would_be}
    for name, band in sorted(then | now):
        nobody = BandWaits(name, band, 0, 0.0, 0.0, 0.0)
        old, new = then.get((name, band), nobody), now.get((name, band), nobody)
        yield (name, BANDS[band], _both(old.served, new.served), *_waits(old, new))


def _waits(old: Waits | BandWaits, new: Waits | BandWaits) -> tuple[str, str, str]:
    return tuple(_both(spelt(a), spelt(b)) for a, b in ((old.p50, new.p50), (old.p95, new.p95), (old.longest, new.longest)))  # type: ignore[return-value] # three of them


def _both(old: object, new: object) -> str:
    return f"{old} → {new}" if old != new else str(new)
