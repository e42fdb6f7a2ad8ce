"""From what the document says to weights that an engine can load: found or fetched, converted, checked."""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.licences import accept, licence_in, licence_of
from samdrift.engines.weights.listing import Listing, parts_of
from samdrift.engines.weights.locating import locate, named
from samdrift.engines.weights.means import Means, Step
from samdrift.engines.weights.troubles import WeightsError, disk_trouble
from samdrift.spec.weights import Precision

# `ggufs`, `conversion` and `quantising` load numpy, a quarter of a second: not before weights are looked at, so that a control
# plane that was killed is back sooner.
if TYPE_CHECKING:
    from samdrift.engines.ggufs import Head

_importing = threading.Lock()

Wanted = Literal["gguf", "safetensors"]
"""What an engine loads: one GGUF file, or a folder with safetensors and what stands beside them."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Weights that are whole, and what they say of themselves: a GGUF file (the first, where it is in parts), or a folder with
    safetensors. `licence` is empty where nobody named one; `origin` is where they come from, with the revision. `projector` is
    the file through which they see. `adapters` are the LoRA adapters over them that are whole, too, by name; `lacking` says of
    the others what is wrong with them."""

    path: Path
    head: Head
    licence: str = ""
    origin: str = ""
    projector: Path | None = None
    adapters: tuple[tuple[str, Weights], ...] = ()
    lacking: tuple[str, ...] = ()


def prepare(reference: str, *, base: Path, cache: Path, step: Step, precision: Precision | None = None, licence: str = "",
    wanted: Wanted = "gguf", means: Means | None = None) -> Weights:  # fmt: skip
    """Find or fetch the weights that `reference` names, convert them if they need it, and check that they are whole.

    `file:` paths and the lock are relative to `base`; what is fetched or made is kept in `cache`. `precision` is what they are
    made into, `licence` the one that the document accepts, `wanted` what the engine loads. Takes from milliseconds to hours:
    call it in a thread, and set `means.stop` to end it. Raises WeightsError.
    """
    import_slow_modules()
    means = means or Means()
    store = Cache(cache, means.settings.cache)
    try:
        found = find(reference, base, store, step, licence, means)
        accept(reference, found.licence, licence)
        if wanted == "safetensors":
            return _folder(reference, found)
        if found.path.is_dir():
            found = _converted(found, reference, store, step)
        head = whole_head(found.path, reference)
        said = found.licence or licence_of(head)
        accept(reference, said, licence)
        if precision is not None:
            found, head = _in_precision(found, head, reference, store, step, precision)
        return Weights(found.path, head, said, found.origin)
    except OSError as error:
        raise disk_trouble(error, f"Preparing {reference}") from error


def import_slow_modules() -> None:
    """Import what is imported late here, by one thread at a time. Models are prepared in threads beside each other; where two
    begin with different modules of a package that imports itself in a circle, as `gguf` does, each waits for the other, and
    Python ends one of them with an error."""
    with _importing:
        import samdrift.engines.conversion
        import samdrift.engines.weights.adapters
        import samdrift.engines.weights.folders
        import samdrift.engines.weights.obtaining
        import samdrift.engines.weights.quantising  # noqa: F401 - they are looked up again where they are used


@dataclass(frozen=True, slots=True)
class Found:
    """Where weights are, and a name for their content that need not be computed from it."""

    path: Path
    key: str
    licence: str
    origin: str


def find(reference: str, base: Path, store: Cache, step: Step, licence: str, means: Means) -> Found:
    """Find or fetch what a reference names. Raises WeightsError, OSError."""
    if not named(reference).fetched:
        place = locate(reference, base=base)
        said = place.stat()
        key = f"{place.resolve()} {said.st_size} {said.st_mtime_ns}"
        return Found(place, key, licence_in(place) if place.is_dir() else "", reference)
    from samdrift.engines.weights.obtaining import obtain

    listing = obtain(reference, base=base, cache=store, step=step, licence=licence, means=means)
    folder = store.arrange(listing.digest, [(item.name, item.sha256) for item in listing.items])
    path = folder / one_file(listing) if one_file(listing) else folder
    return Found(path, listing.digest, listing.licence, " ".join(filter(None, (listing.origin, listing.revision))))


def one_file(listing: Listing) -> str:
    """The name of the GGUF file, the first of its parts, if that is what was fetched."""
    names = sorted(item.name for item in listing.items)
    return names[0] if names[0].endswith(".gguf") and len(names) == len(parts_of(names[0])) else ""


def _folder(reference: str, found: Found) -> Weights:
    if not found.path.is_dir():
        raise WeightsError(f"{reference} is one file. This engine loads a folder with safetensors and config.json: name that.")
    return Weights(found.path, folder_head(found.path, reference), found.licence, found.origin)


def folder_head(folder: Path, reference: str) -> Head:
    """The head of a folder with safetensors, in GGUF's words. Raises WeightsError."""
    from samdrift.engines.weights.folders import read_folder

    return read_folder(folder, reference)


def whole_head(path: Path, reference: str) -> Head:
    """The head of a GGUF file, with all its parts, each of which is checked to be whole. Raises WeightsError."""
    from samdrift.engines.ggufs import GgufError, Head, read_head

    heads = []
    for name in parts_of(path.name):
        part = path.with_name(name)
        try:
            heads.append(read_head(part))
        except GgufError as error:
            raise WeightsError(f"{reference} cannot be served: {error}. Fetch or install it again.") from error
        except FileNotFoundError:
            raise WeightsError(f"{reference} cannot be served: its part {name} is missing.") from None
    first = heads[0]
    return first if len(heads) == 1 else Head(first.fields, sum(head.tensors for head in heads),
        sum(head.length for head in heads), sum(head.parameters for head in heads), first.lists)  # fmt: skip


def _converted(found: Found, reference: str, store: Cache, step: Step) -> Found:
    from samdrift.engines.conversion import ConversionError, convert, digest_of

    try:
        digest = digest_of(found.path, lambda share: step("reading", share))

        def write(new: Path) -> None:
            step("converting", 0.0)
            convert(found.path, new)
            step("converting", 1.0)

        size = sum(path.stat().st_size for path in found.path.glob("*.safetensors"))
        path = _made(store, digest, size, write)
    except ConversionError as error:
        raise WeightsError(f"{reference} cannot be converted: {error}. Other models are served as GGUF: name a file.") from error
    return Found(path, digest, found.licence, found.origin)


def _in_precision(found: Found, head: Head, reference: str, store: Cache, step: Step,
    precision: Precision) -> tuple[Found, Head]:  # fmt: skip
    from samdrift.engines.ggufs import GgufError
    from samdrift.engines.weights.quantising import REVISION, QuantiseError, is_in, quantise

    if is_in(head, precision):
        return found, head
    if len(parts_of(found.path.name)) > 1:
        raise WeightsError(f"{reference} is in parts and cannot be made into {precision}. "
            "Name weights that are, or leave `precision` out.")  # fmt: skip
    digest = hashlib.sha256(f"{precision} {REVISION} {found.key}".encode()).hexdigest()
    try:
        path = _made(store, digest, head.parameters * 2, lambda new: quantise(found.path, new, precision,
            lambda share: step("converting", share)))  # fmt: skip
    except (QuantiseError, GgufError) as error:
        raise WeightsError(f"{reference} cannot be made into {precision}: {error}.") from error
    return Found(path, digest, found.licence, found.origin), whole_head(path, reference)


def _made(store: Cache, digest: str, size: int, write: Callable[[Path], None]) -> Path:
    """The file of this digest, written now if it is not there: beside its place and then moved, so that what stands there is
    always whole. A second process that wants it waits for the first."""
    if (there := store.made(digest)) is not None:
        return there
    target = store.target(digest)
    new = target.with_suffix(".new")
    handle = os.open(new, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if (there := store.made(digest)) is not None:
            return there
        store.make_room(size)
        write(new)
        os.fsync(handle)
        return store.keep(new, target)
    finally:
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), new.stat()):
                new.unlink()
        os.close(handle)
