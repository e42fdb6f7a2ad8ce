"""`samdrift models lock`: which bytes the references of a document stand for, pinned beside it."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from samdrift.cli.weights import cache_of, data_option, document_argument, means_of, progress_of, read_spec, title_of, weights_in
from samdrift.engines.weights.locking import read_lock, write_lock
from samdrift.engines.weights.obtaining import look_up
from samdrift.engines.weights.troubles import WeightsError, people_size
from samdrift.reading import folder_of
from samdrift.spec.names import weights_named
from samdrift.spec.weights import FETCHED, LOCK, parse_reference


@click.command("lock")
@document_argument
@click.argument("models", nargs=-1, metavar="[MODEL]...")
@data_option
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
    spec = read_spec(document)
    path, means, cache = folder_of(document) / LOCK, means_of(spec, document), cache_of(data, spec)
    try:
        before = {} if not path.exists() else read_lock(path)
    except WeightsError as error:
        if check:
            raise click.ClickException(str(error)) from error
        before = {}
    after, failed = dict(before), 0
    for one in weights_in(spec, models):
        name, weights = title_of(one), one.weights
        if not _is_fetched(weights):
            continue
        try:
            with progress_of(name) as step:
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


def _is_fetched(reference: str) -> bool:
    return getattr(parse_reference(reference), "kind", "") in FETCHED
