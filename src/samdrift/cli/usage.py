"""`samdrift usage`: what organisations took, in requests and tokens."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

import click

from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, columns, folder_options, suggest
from samdrift.ledger.totals import Total
from samdrift.spec.units import parse_duration
from samdrift.spec.usage import Outcome

Split = Literal["model", "project", "key"]

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}.*")


def _parse_since(_context: click.Context, _parameter: click.Parameter, given: str) -> float:
    """Unix seconds from a date (UTC unless it says otherwise) or from how long ago it was."""
    now = datetime.now(UTC)
    try:
        if _DATE.fullmatch(given):
            at = datetime.fromisoformat(given)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        return now.timestamp() - parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(
            "write how long ago, such as 24h or 30d, or a date such as 2026-01-31"
        ) from error


@click.command("usage")
@click.argument("organisation", required=False)
@click.option(
    "--since", metavar="TIME", default="24h", show_default=True, callback=_parse_since,
    help="How long back (24h, 30d), or from which date (2026-01-31, in UTC).",
)  # fmt: skip
@click.option("--by", type=click.Choice(["model", "project", "key"]), default="model", show_default=True,
    help="What a line is for, beside the organisation.")
@click.option("--json", "as_json", is_flag=True, help="Print the totals as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the totals as CSV.")
@remote_options
@folder_options
def usage_command(
    organisation: str | None,
    since: float,
    by: Split,
    as_json: bool,
    as_csv: bool,
    data: Path,
    ledger: str | None,
    remote: Administering | None,
) -> None:
    """Requests and tokens of all organisations, or of ORGANISATION, by when they were settled.

    Cached tokens are part of the input tokens.

    \b
    Examples:
      samdrift usage
      samdrift usage aarhus --since 30d --by project
      samdrift usage --since 2026-01-01 --csv > usage.csv
    """
    if as_json and as_csv:
        raise click.UsageError("Ask for --json or for --csv, not both.")
    if remote is not None:
        totals = _there(remote, since, organisation, by)
    else:
        totals = _here(DataFolder(data, ledger), since, organisation, by)
    rows = [_row(total, by) for total in totals]
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif as_csv:
        text = io.StringIO()
        fields = [
            "organisation",
            by,
            "requests",
            *Outcome,
            "input_tokens",
            "cached_tokens",
            "output_tokens",
            "estimated",
        ]
        writer = csv.DictWriter(text, fields, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
        click.echo(text.getvalue(), nl=False)
    elif rows:
        _show(totals, by)
    else:
        click.echo("Nothing was used in this time.", err=True)


def _here(folder: DataFolder, since: float, organisation: str | None, by: Split) -> tuple[Total, ...]:
    with folder.ledger() as opened:
        totals = opened.totals(since, datetime.now(UTC).timestamp(), organisation, ("organisation", by))
    if not totals and organisation is not None:
        document = folder.document()
        if document is not None and organisation not in document.organisations:
            raise suggest("organisation", organisation, document.organisations)
    return totals


def _there(remote: Administering, since: float, organisation: str | None, by: Split) -> tuple[Total, ...]:
    start = datetime.fromtimestamp(since, UTC).isoformat()
    where = ("usage",) if organisation is None else ("members", organisation, "usage")
    return tuple(
        Total((used["organisation"], used["group"]), used["requests"], {o: used["outcomes"].get(o, 0) for o in Outcome},
            used["input_tokens"], used["cached_tokens"], used["output_tokens"], used["estimated"])
        for used in remote.pages(*where, since=start, by=by)
    )  # fmt: skip


def _row(total: Total, by: Split) -> dict[str, str | int]:
    organisation, group = total.group
    return {
        "organisation": organisation, by: group, "requests": total.requests,
        **{outcome.value: count for outcome, count in total.outcomes.items()},
        "input_tokens": total.input_tokens, "cached_tokens": total.cached_tokens,
        "output_tokens": total.output_tokens, "estimated": total.estimated,
    }  # fmt: skip


def _show(totals: tuple[Total, ...], by: Split) -> None:
    heading = ("ORGANISATION", by.upper(), "REQUESTS", "COMPLETED", "INPUT", "CACHED", "OUTPUT")
    counts = [
        (t.requests, t.outcomes[Outcome.COMPLETED], t.input_tokens, t.cached_tokens, t.output_tokens)
        for t in totals
    ]
    table = [heading] + [(*t.group, *(f"{n:,}" for n in row)) for t, row in zip(totals, counts, strict=True)]
    table.append(("all", "", *(f"{sum(column):,}" for column in zip(*counts, strict=True))))
    lines = list(columns(table, right=range(2, len(heading))))
    click.echo(click.style(lines[0], bold=True))
    click.echo("\n".join(lines[1:-1]))
    click.echo(click.style(lines[-1], bold=True))
    estimated = sum(total.estimated for total in totals)
    if estimated:
        click.echo(
            f"Of {estimated:,} of these requests no engine said its tokens; they are estimates.", err=True
        )
