"""`samdrift plan --cluster`: how many devices the document needs, and what a guarantee is worth."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path

import click

from samdrift.cluster.sizes import PACE, Sizes, sizes_of
from samdrift.reading import DocumentRejected, DocumentUnreadable, read_document


def say_sizes(document: Path, pace: tuple[str, ...], *, as_json: bool) -> None:
    """Print how many devices of which kind the models of `document` need, and what each member is due. Ends the command, with
    exit code 1 if more is promised than there is, 2 if it cannot be read."""
    measured = {}
    for one in pace:
        model, _, number = one.partition("=")
        try:
            measured[model] = float(number)
        except ValueError:
            raise click.UsageError(f"`{one}` is no MODEL=N, such as chat=42.") from None
    try:
        spec = read_document(document)
    except DocumentUnreadable as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except DocumentRejected as rejected:
        click.echo("\n".join(map(str, rejected.findings)), err=True)
        sys.exit(1)
    if unknown := sorted(set(measured) - set(spec.models)):
        raise click.UsageError(f"There is no model `{unknown[0]}`.")
    sizes = sizes_of(spec, measured)
    if as_json:
        click.echo(json.dumps(asdict(sizes), ensure_ascii=False, indent=2))
    else:
        click.echo("\n".join(lines_of(sizes, measured)))
    sys.exit(1 if any(pool.left < 0 for pool in sizes.pools) else 0)


def lines_of(sizes: Sizes, measured: dict[str, float]) -> Iterable[str]:
    """The sizes for people."""
    yield "Devices"
    for pool in sizes.pools:
        yield (
            f"  {pool.flavour:<28} {pool.have:>4} in all: {pool.always} always used by shared models, "
            f"{pool.guaranteed} guaranteed to members, {max(0, pool.left)} for whoever needs them; "
            f"if everything ran at its largest: {pool.most}"
        )
        if pool.left < 0:
            yield f"    {-pool.left} more are promised than there are."
    if not sizes.pools:
        yield "  none but processors"
    yield "\nModels"
    for model in sizes.models:
        whose = f", of {model.organisation} alone" if model.organisation else ""
        yield (
            f"  {model.model:<28} {_range(model.replicas)} replicas of {model.per_replica} × {model.kind}: "
            f"{_range(model.devices)} devices, {_range(model.seats)} seats{whose}"
        )
    yield (
        "\nMembers, while everybody asks (tokens a second of answers: "
        + ("as measured" if measured else f"an estimate, at {PACE:g} for each seat; --pace gives a measured one")
        + ")"
    )
    for member in sizes.members:
        own = ", ".join(f"{count} of {pool}" for pool, count in member.devices.items())
        seats, tokens = sum(member.seats.values()), sum(member.tokens.values())
        yield f"  {member.organisation:<28} {seats:>8.1f} seats {tokens:>10,.0f} tokens/s" + (
            f"  own devices: {own}" if own else ""
        )


def _range(bounds: tuple[int, int]) -> str:
    return str(bounds[0]) if bounds[0] == bounds[1] else f"{bounds[0]}-{bounds[1]}"
