"""`samdrift models`: the weights of a document's models: what there is, fetched, compared, removed, and pinned in a lock."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from samdrift.cli.data_folder import columns, suggest
from samdrift.engines.repertoire import DRIVERS
from samdrift.engines.weights.adapters import prepare_adapter
from samdrift.engines.weights.cache import Cache, Entry
from samdrift.engines.weights.locking import read_lock, write_lock
from samdrift.engines.weights.means import Means, Step
from samdrift.engines.weights.obtaining import look_up
from samdrift.engines.weights.preparing import Wanted, Weights, prepare
from samdrift.engines.weights.projectors import prepare_projector
from samdrift.engines.weights.standing import Standing, standing_of
from samdrift.engines.weights.troubles import WeightsError, disk_trouble, people_size
from samdrift.reading import DocumentRejected, DocumentUnreadable, folder_of, read_document, secret_of
from samdrift.spec.document import Spec
from samdrift.spec.names import WeightsNamed, names_of, weights_named
from samdrift.spec.weights import FETCHED, LOCK, parse_reference

_document = click.argument("document", type=click.Path(path_type=Path))
_data = click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), envvar="SAMDRIFT_DATA", default="data",
    show_default=True, help="The folder that Samdrift runs in.",
)  # fmt: skip


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


@models_group.command("list")
@_document
@_data
@click.option("--json", "as_json", is_flag=True, help="Print them as JSON.")
def list_command(document: Path, data: Path, as_json: bool) -> None:
    """The models of DOCUMENT and how it stands with their weights. Nothing is fetched.

    KV is what each token in a seat takes of a device's memory, with 16-bit keys and values.

    \b
    Examples:
      samdrift models list community.yaml
      samdrift models list community.yaml --json | jq -r '.[] | select(.state != "here") | .model'
    """
    spec = _read(document)
    cache = _cache(data, spec)
    base = folder_of(document)
    found = {one: standing_of(one.weights, base=base, cache=cache, adapter=bool(one.over)) for one in _with_weights(spec, ())}
    if as_json:
        _echo([_row(one, standing) for one, standing in found.items()])
        return
    if not found:
        click.echo("No model of this document has weights here.", err=True)
        return
    heading = ("MODEL", "STATE", "SIZE", "LOCKED", "LICENCE", "ARCHITECTURE", "PARAMETERS", "CONTEXT", "KV/TOKEN", "WEIGHTS")
    lines = columns([heading, *(_cells(one, standing) for one, standing in found.items())], right=(2, 6, 7, 8))
    click.echo(click.style(next(lines), bold=True))
    for line in lines:
        click.echo(line)
    for one, standing in found.items():
        if standing.state == "broken":
            click.echo(f"{one.name}: {standing.sentence}", err=True)


@models_group.command("fetch")
@_document
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@_data
def fetch_command(document: Path, models: tuple[str, ...], data: Path) -> None:
    """Fetch and convert the weights of DOCUMENT's models, all or those named, so that they start without waiting.

    A fetch that was cut goes on where it was. Exit code 1 if any is not ready; the others are.

    \b
    Examples:
      samdrift models fetch community.yaml
      samdrift models fetch community.yaml chat-large
    """
    spec = _read(document)
    means, failed = _means(spec, document), 0
    for one in _with_weights(spec, models):
        name = _title(one)
        try:
            with _progress(name) as step:
                found = _prepared(one, folder_of(document), data / "weights", step, means)
        except WeightsError as error:
            failed += 1
            click.echo(f"{name}: {error}", err=True)
        else:
            click.echo(f"{name}: ready, {people_size(found.head.length)}, {found.licence or 'no licence named'}, {found.path}")
    sys.exit(bool(failed))


@models_group.command("lock")
@_document
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@_data
@click.option("--check", is_flag=True, help="Write nothing: exit code 1 if a model's weights are not pinned, or have changed.")
def lock_command(document: Path, models: tuple[str, ...], data: Path, check: bool) -> None:
    """Pin the weights of DOCUMENT's models, all or those named: which revision, which files, their sizes and checksums.

    They are written to `weights.lock` beside the document, for version control. Whoever runs the document then serves those
    bytes or none. Asked is what the origins offer now; run it again to take what is new.

    \b
    Examples:
      samdrift models lock community.yaml
      samdrift models lock community.yaml chat-large
      samdrift models lock community.yaml --check
    """
    spec = _read(document)
    path, means, cache = folder_of(document) / LOCK, _means(spec, document), _cache(data, spec)
    try:
        before = {} if not path.exists() else read_lock(path)
    except WeightsError as error:
        if check:
            raise click.ClickException(str(error)) from error
        before = {}
    after, failed = dict(before), 0
    for one in _with_weights(spec, models):
        name, weights = _title(one), one.weights
        if not _is_fetched(weights):
            continue
        try:
            with _progress(name) as step:
                listing = look_up(weights, cache=cache, step=step, licence=one.licence, means=means)
        except WeightsError as error:
            failed += 1
            click.echo(f"{name}: {error}", err=True)
            continue
        old = before.get(weights)
        same = old is not None and old.digest == listing.digest
        after[weights] = listing
        news = "is unchanged" if same else "has changed" if old is not None else "is not pinned" if check else "is pinned"
        click.echo(f"{name}: {news}, {len(listing.items)} files, {people_size(listing.size)}, "
            f"{listing.licence or 'no licence named'}, {listing.origin} {listing.revision}".rstrip())  # fmt: skip
        failed += check and not same
    if not models:  # what no model of the document names any more
        named = {one.weights for one in weights_named(spec)}
        after = {reference: listing for reference, listing in after.items() if reference in named}
    if not check and after != before:
        try:
            write_lock(path, after.values())
        except OSError as error:
            raise click.ClickException(f"{path} cannot be written: {error.strerror}.") from error
        click.echo(f"Wrote {path}.", err=True)
    sys.exit(bool(failed))


@models_group.command("verify")
@_data
@click.option("--mend", is_flag=True, help="Remove what is damaged, so that it is fetched or made again.")
def verify_command(data: Path, mend: bool) -> None:
    """Read every file of fetched or converted weights and compare it with its checksum.

    Exit code 1 if one is damaged.

    \b
    Examples:
      samdrift models verify
      samdrift models verify --mend
    """
    cache = Cache(data / "weights")
    entries = cache.entries()
    bad: list[Entry] = []
    whole, read = sum(entry.size for entry in entries) or 1, 0
    with _progress("verify") as step:
        for entry in entries:
            if cache.damaged(entry, partial(_share, step, read, whole)):
                bad.append(entry)
            read += entry.size
    for entry in bad:
        click.echo(f"{entry.path} is damaged.", err=True)
    click.echo(f"{len(entries) - len(bad)} of {len(entries)} files are whole, {people_size(read)} in all.")
    if mend and bad:
        gone, kept = cache.remove({entry.digest for entry in bad})
        click.echo(f"Removed {len(gone)}." + (f" {len(kept)} are loaded by an engine and stay." if kept else ""), err=True)
    sys.exit(bool(bad))


@models_group.command("remove")
@click.argument("what", nargs=-1, metavar="[REFERENCE|DIGEST]...")
@click.option("--all", "everything", is_flag=True, help="Everything that no engine has loaded, and unfinished fetches.")
@_data
def remove_command(what: tuple[str, ...], everything: bool, data: Path) -> None:
    """Remove weights from the data folder: those that references of the document stand for, or files by their digest.

    What an engine has loaded stays. What is removed is fetched again when it is wanted.

    \b
    Examples:
      samdrift models remove hf:ORG/NAME@main
      samdrift models remove 3f1c…64 hexadecimal digits
      samdrift models remove --all
    """
    if bool(what) == everything:
        raise click.UsageError("Name what is to go, or write --all.")
    cache = Cache(data / "weights")
    known = _known(cache)
    entries = {entry.digest for entry in cache.entries()}
    digests: set[str] = set(entries) if everything else set()
    for word in what:
        found = known.get(word, {word} & entries)
        if not found:
            raise suggest("fetched weights", word, [*known, *entries])
        digests |= found
    try:
        gone, kept = cache.remove(digests)
        freed = sum(entry.size for entry in gone) + (cache.drop_leftovers() if everything else 0)
    except OSError as error:
        raise click.ClickException(str(disk_trouble(error, "Removing"))) from error
    click.echo(f"Removed {len(gone)} files, {people_size(freed)}.")
    for entry in kept:
        click.echo(f"{entry.path} is loaded by an engine and stays.", err=True)
    sys.exit(bool(kept))


def _share(step: Step, before: int, whole: int, read: int) -> None:
    step("reading", (before + read) / whole)


def _known(cache: Cache) -> dict[str, set[str]]:
    """The files of each reference that was fetched here."""
    try:
        listings = read_lock(cache.folder / LOCK)
    except WeightsError:
        return {}
    return {reference: {item.sha256 for item in listing.items} for reference, listing in listings.items()}


def _read(document: Path) -> Spec:
    try:
        return read_document(document)
    except DocumentUnreadable as error:
        raise click.UsageError(str(error)) from error
    except DocumentRejected as rejected:
        raise click.ClickException(f"The document cannot be used yet:\n{rejected}") from rejected


def _with_weights(spec: Spec, only: Sequence[str]) -> Iterator[WeightsNamed]:
    """The weights of all models and adapters, or of those named."""
    names = names_of(spec)
    for name in only:
        if name not in names:
            raise suggest("model", name, names)
    for one in weights_named(spec):
        if not only or one.name in only:
            yield one


def _title(one: WeightsNamed) -> str:
    return f"{one.name} ({one.part})" if one.part else one.name


def _prepared(one: WeightsNamed, base: Path, cache: Path, step: Step, means: Means) -> Weights:
    wanted: Wanted = "gguf" if "gguf" in DRIVERS[one.engine].formats else "safetensors"
    if one.over:
        return prepare_adapter(one.weights, None, base=base, cache=cache, step=step, licence=one.licence, wanted=wanted,
            means=means)  # fmt: skip
    if one.part:
        return prepare_projector(one.weights, base=base, cache=cache, step=step, licence=one.licence, means=means)
    return prepare(one.weights, base=base, cache=cache, step=step, precision=one.precision, licence=one.licence, wanted=wanted,
        means=means)  # fmt: skip


def _means(spec: Spec, document: Path) -> Means:
    return Means(spec.weights, secret=lambda text: secret_of(text, document))


def _cache(data: Path, spec: Spec) -> Cache:
    return Cache(data / "weights", spec.weights.cache)


def _is_fetched(reference: str) -> bool:
    return getattr(parse_reference(reference), "kind", "") in FETCHED


def _row(one: WeightsNamed, standing: Standing) -> dict[str, Any]:
    return {"model": one.name, "weights": one.weights, "precision": one.precision, "accepted": one.licence,
        "adapter_of": one.over or None, "part": one.part or None, **asdict(standing)}  # fmt: skip


def _cells(one: WeightsNamed, standing: Standing) -> tuple[str, ...]:
    facts = standing.facts
    partly = standing.state == "partly" and standing.here and standing.size
    state = f"{standing.here / standing.size:.0%}" if partly and standing.here and standing.size else standing.state
    return (
        _title(one), state + (f" → {one.precision}" if one.precision else ""),
        people_size(standing.size) if standing.size is not None else "", {True: "yes", False: "no", None: ""}[standing.locked],
        standing.licence or "", facts.architecture if facts else "", f"{facts.parameters / 1e6:.0f}M" if facts else "",
        str(facts.context or "") if facts else "",
        people_size(facts.kv_bytes) if facts and facts.kv_bytes is not None else "", one.weights,
    )  # fmt: skip


def _echo(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


@contextmanager
def _progress(name: str) -> Iterator[Step]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _what, _share: None
        return
    words = (TextColumn("{task.fields[name]}"), TextColumn("{task.description}"))
    parts = (*words, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*parts, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, name=name)
        yield lambda what, share: bar.update(task, description=what, completed=share)
