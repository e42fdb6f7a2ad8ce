"""`samdrift models`: the weights of a document's models: what there is, fetched, compared, removed, and pinned in a lock."""

from __future__ import annotations

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from samdrift.cli.models_cache import remove_command, verify_command
from samdrift.cli.models_lock import lock_command
from samdrift.cli.telling import tell_json, tell_table
from samdrift.cli.weights import cache_of, data_option, document_argument, means_of, progress_of, read_spec, title_of, weights_in
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.weights.adapters import prepare_adapter
from samdrift.engines.weights.means import Means, Step
from samdrift.engines.weights.preparing import Wanted, Weights, prepare
from samdrift.engines.weights.projectors import prepare_projector
from samdrift.engines.weights.standing import Standing, standing_of
from samdrift.engines.weights.troubles import WeightsError, people_size
from samdrift.reading import folder_of
from samdrift.spec.names import WeightsNamed


@click.group("models")
def models_group() -> None:
    """The weights of models: look at them, fetch, compare, remove and pin them.

    They are kept in the data folder. `weights` in the document says how large that may grow and whom to ask.

    \b
    Examples:
      samdrift models list community.yaml
      samdrift models lock community.yaml        # writes weights.lock beside it
      samdrift models fetch community.yaml
      samdrift models verify
      samdrift models remove hf:ORG/NAME
    """


for _command in (lock_command, verify_command, remove_command):
    models_group.add_command(_command)


@models_group.command("list")
@document_argument
@data_option
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_command(document: Path, data: Path, as_json: bool) -> None:
    """The models of DOCUMENT and how it stands with their weights. Nothing is fetched.

    KV is what each token in a seat takes of a device's memory, with 16-bit keys and values.

    \b
    Examples:
      samdrift models list community.yaml
      samdrift models list community.yaml --json | jq -r '.[] | select(.state != "here") | .model'
    """
    spec = read_spec(document)
    cache = cache_of(data, spec)
    base = folder_of(document)
    found = {one: standing_of(one.weights, base=base, cache=cache, adapter=bool(one.over)) for one in weights_in(spec, ())}
    if as_json:
        tell_json([_row(one, standing) for one, standing in found.items()])
        return
    if not found:
        click.echo("No model of this document has weights here.", err=True)
        return
    heading = ("MODEL", "STATE", "SIZE", "LOCKED", "LICENCE", "ARCHITECTURE", "PARAMETERS", "CONTEXT", "KV/TOKEN", "WEIGHTS")
    tell_table([heading, *(_cells(one, standing) for one, standing in found.items())], right=(2, 6, 7, 8))
    for one, standing in found.items():
        if standing.state == "broken":
            click.echo(f"{one.name}: {standing.sentence}", err=True)


@models_group.command("fetch")
@document_argument
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@data_option
def fetch_command(document: Path, models: tuple[str, ...], data: Path) -> None:
    """Fetch and convert the weights of DOCUMENT's models, all or those named, so that they start without waiting.

    A fetch that was cut goes on where it was. Exit code 1 if any is not ready; the others are.

    \b
    Examples:
      samdrift models fetch community.yaml
      samdrift models fetch community.yaml chat-large
    """
    spec = read_spec(document)
    means, failed = means_of(spec, document), 0
    for one in weights_in(spec, models):
        name = title_of(one)
        try:
            with progress_of(name) as step:
                found = _prepared(one, folder_of(document), data / "weights", step, means)
        except WeightsError as error:
            failed += 1
            click.echo(f"{name}: {error}", err=True)
        else:
            click.echo(f"{name}: ready, {people_size(found.head.length)}, {found.licence or 'no licence named'}, {found.path}")
    sys.exit(bool(failed))


def _prepared(one: WeightsNamed, base: Path, cache: Path, step: Step, means: Means) -> Weights:
    wanted: Wanted = "gguf" if "gguf" in DRIVERS[one.engine].formats else "safetensors"
    if one.over:
        return prepare_adapter(one.weights, None, base=base, cache=cache, step=step, licence=one.licence, wanted=wanted,
            means=means)  # fmt: skip
    if one.part:
        return prepare_projector(one.weights, base=base, cache=cache, step=step, licence=one.licence, means=means)
    return prepare(one.weights, base=base, cache=cache, step=step, precision=one.precision, licence=one.licence, wanted=wanted,
        means=means)  # fmt: skip


def _row(one: WeightsNamed, standing: Standing) -> dict[str, Any]:
    return {"model": one.name, "weights": one.weights, "precision": one.precision, "accepted": one.licence,
        "adapter_of": one.over or None, "part": one.part or None, **asdict(standing)}  # fmt: skip


def _cells(one: WeightsNamed, standing: Standing) -> tuple[str, ...]:
    facts = standing.facts
    partly = standing.state == "partly" and standing.here and standing.size
    state = f"{standing.here / standing.size:.0%}" if partly and standing.here and standing.size else standing.state
    return (
        title_of(one), state + (f" → {one.precision}" if one.precision else ""),
        people_size(standing.size) if standing.size is not None else "", {True: "yes", False: "no", None: ""}[standing.locked],
        standing.licence or "", facts.architecture if facts else "", f"{facts.parameters / 1e6:.0f}M" if facts else "",
        str(facts.context or "") if facts else "",
        people_size(facts.kv_bytes) if facts and facts.kv_bytes is not None else "", one.weights,
    )  # fmt: skip
