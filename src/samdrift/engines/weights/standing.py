"""How it stands with a model's weights, without fetching, converting or marking anything: for people to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samdrift.engines.weights.adapters import adapter_head
from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.facts import Facts, facts_of
from samdrift.engines.weights.licences import licence_in, licence_of
from samdrift.engines.weights.listing import Listing
from samdrift.engines.weights.locating import locate, named
from samdrift.engines.weights.locking import read_lock
from samdrift.engines.weights.obtaining import known
from samdrift.engines.weights.preparing import folder_head, one_file, whole_head
from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.weights import LOCK

if TYPE_CHECKING:  # it loads numpy
    from samdrift.engines.ggufs import Head

State = Literal["here", "partly", "absent", "unknown", "broken"]


@dataclass(frozen=True, slots=True)
class Standing:
    """`state` is `here`, `partly` (some files are), `absent` (known, and to be fetched), `unknown` (nobody has looked yet what it
    stands for) or `broken`, with `sentence` saying why. Sizes are bytes, None where unknown. `locked` says whether the lock
    beside the document pins it; it is None for weights that are not fetched."""

    state: State
    size: int | None = None
    here: int | None = None
    licence: str = ""
    origin: str = ""
    revision: str = ""
    locked: bool | None = None
    facts: Facts | None = None
    sentence: str = ""


def standing_of(reference: str, *, base: Path, cache: Cache, adapter: bool = False) -> Standing:
    """How it stands with the weights of one reference, those of a model or of an `adapter`. Whatever is wrong with them is said,
    not raised."""
    head = adapter_head if adapter else _head
    try:
        return _fetched(reference, base, cache, head) if named(reference).fetched else _local(reference, base, head)
    except WeightsError as error:
        return Standing("broken", sentence=str(error))
    except OSError as error:
        return Standing("broken", sentence=f"{error.filename} cannot be read: {error.strerror}.")


def _head(place: Path, reference: str) -> Head:
    return folder_head(place, reference) if place.is_dir() else whole_head(place, reference)


def _local(reference: str, base: Path, read: Callable[[Path, str], Head]) -> Standing:
    place = locate(reference, base=base)
    head = read(place, reference)
    licence = licence_in(place) if place.is_dir() else licence_of(head)
    return Standing("here", head.length, head.length, licence, reference, facts=facts_of(head))


def _fetched(reference: str, base: Path, cache: Cache, read: Callable[[Path, str], Head]) -> Standing:
    listing = known(reference, base=base, cache=cache)
    if listing is None:
        return Standing("unknown", locked=False, sentence="It was never looked up: `samdrift models lock` or `fetch` does.")
    locked = reference in read_lock(base / LOCK)
    here = sum(item.size for item in listing.items if cache.holds(item.sha256, item.size))
    facts = _facts(reference, listing, cache, read) if here == listing.size else None
    state: State = "here" if facts else "partly" if here else "absent"
    return Standing(state, listing.size, here, listing.licence, listing.origin, listing.revision, locked, facts)


def _facts(reference: str, listing: Listing, cache: Cache, read: Callable[[Path, str], Head]) -> Facts:
    folder = cache.arrange(listing.digest, [(item.name, item.sha256) for item in listing.items])
    name = one_file(listing)
    return facts_of(read(folder / name if name else folder, reference))
