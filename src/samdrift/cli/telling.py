"""How commands print: tables, JSON, and secrets that are shown once."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

import click

from samdrift.cli.data_folder import columns


def tell_json(value: object) -> None:
    """Print JSON, for programs."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def tell_table(rows: Sequence[tuple[str, ...]], right: Iterable[int] = ()) -> None:
    """Print rows in aligned columns, those in `right` to the right. The first row is the heading."""
    lines = columns(rows, right)
    click.echo(click.style(next(lines), bold=True))
    for line in lines:
        click.echo(line)


def tell_secret(sentence: str, secret: str) -> None:
    """Print a secret, this once; the output has nothing but it, so that it can be piped."""
    click.echo(sentence, err=True)
    click.echo(secret)
    click.echo("Keep it safe now: it will not be shown again. Only its hash is stored.", err=True)
