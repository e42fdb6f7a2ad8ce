"""`samdrift models verify` and `remove`: the weights that a data folder has, whatever a document says."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path

import click

from samdrift.cli.data_folder import suggest
from samdrift.cli.weights import data_option, progress_of
from samdrift.engines.weights.cache import Cache, Entry
from samdrift.engines.weights.locking import read_lock
from samdrift.engines.weights.means import Step
from samdrift.engines.weights.troubles import WeightsError, disk_trouble, people_size
from samdrift.spec.weights import LOCK


@click.command("verify")
@data_option
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
    with progress_of("verify") as step:
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


@click.command("remove")
@click.argument("what", nargs=-1, metavar="[REFERENCE|DIGEST]...")
@click.option("--all", "everything", is_flag=True, help="Everything that no engine has loaded, and unfinished fetches.")
@data_option
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
