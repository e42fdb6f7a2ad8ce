"""Weights from elsewhere, at hand: what the lock or the cache knows is used as it is, the rest is asked for and fetched."""

from __future__ import annotations

from pathlib import Path

import httpx

from samdrift.engines.weights.asking import client
from samdrift.engines.weights.buckets import FromBucket
from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.fetching import Fetch
from samdrift.engines.weights.hub import FromHub
from samdrift.engines.weights.images import FromRegistry
from samdrift.engines.weights.licences import accept
from samdrift.engines.weights.listing import Asked, Listing, Source
from samdrift.engines.weights.locating import named
from samdrift.engines.weights.locking import merged, read_lock
from samdrift.engines.weights.means import Means, Step
from samdrift.engines.weights.troubles import Unreachable, WeightsError
from samdrift.spec.weights import LOCK


def known(reference: str, *, base: Path, cache: Cache) -> Listing | None:
    """What a reference stands for: as the lock beside the document says, else as it was when it was last fetched; None if
    neither knows. Raises WeightsError if the lock is damaged."""
    pinned = read_lock(base / LOCK).get(reference)
    if pinned is not None:
        return pinned
    try:
        return read_lock(cache.folder / LOCK).get(reference)
    except WeightsError:
        return None  # ours, and made anew by the next fetch


def obtain(reference: str, *, base: Path, cache: Cache, step: Step, licence: str, means: Means) -> Listing:
    """See that all files of a reference are in the cache. Returns which they are. Raises WeightsError.

    Nothing is fetched under a licence that was not accepted, and nothing is asked if all is here.
    """
    listing = known(reference, base=base, cache=cache)
    if listing is not None:
        accept(reference, listing.licence, licence)
        if all(cache.find(item.sha256) for item in listing.items):
            return listing
    if means.settings.network == "none":
        raise WeightsError(f"{reference} is not here, and `weights.network` is `none`: nothing is fetched. "
            "Fetch it where there is a network, with `samdrift models fetch`, and bring the cache's folder here.")  # fmt: skip
    with client(means.patience.silence) as http:
        source = source_of(reference, means, http)
        whole = _fetched(reference, listing, source, cache, http, step=step, licence=licence, means=means)
    merged(cache.folder / LOCK, {reference: whole})
    return whole


def look_up(reference: str, *, cache: Cache, step: Step, licence: str, means: Means) -> Listing:
    """What a reference stands for at its origin now, whatever a lock says; with the checksum of each file, for which those files
    are fetched whose checksum the origin does not tell. Raises WeightsError."""
    with client(means.patience.silence) as http:
        source = source_of(reference, means, http)
        listing = source.listing()
        accept(reference, listing.licence, licence)
        if listing.pinned:
            return listing
        unknown = tuple(item for item in listing.items if not item.sha256)
        part = Listing(listing.reference, listing.origin, listing.revision, listing.licence, unknown)
        fetched = Fetch(part, source, cache, http, step=step, parallel=means.settings.parallel, patience=means.patience,
            stop=means.stop).run()  # fmt: skip
        return listing.with_sums({item.name: item.sha256 for item in fetched.items})


def source_of(reference: str, means: Means, http: httpx.Client) -> Source:
    """Whom to ask for a reference. Raises WeightsError if nobody said where that is."""
    parts, settings = named(reference), means.settings
    asked = Asked(reference, parts, means.followed, lambda name: means.environment.get(name, ""))
    if parts.kind == "hf":
        return FromHub(asked, settings.hf, http)
    if parts.kind == "s3":
        return FromBucket(asked, settings.s3, http)
    if parts.kind == "oci":
        return FromRegistry(asked, settings.oci, http)
    raise WeightsError(f"{reference} is on this machine: there is nobody to ask for it.")


def _fetched(reference: str, listing: Listing | None, source: Source, cache: Cache, http: httpx.Client, *, step: Step,
    licence: str, means: Means) -> Listing:  # fmt: skip
    try:
        if listing is None:
            step("reading", 0.0)
            listing = source.listing()
            accept(reference, listing.licence, licence)
        return Fetch(listing, source, cache, http, step=step, parallel=means.settings.parallel, patience=means.patience,
            stop=means.stop).run()  # fmt: skip
    except Unreachable as error:
        if listing is None:
            raise Unreachable(f"{error} It was never fetched here, so nothing of it can be served meanwhile.") from error
        raise
