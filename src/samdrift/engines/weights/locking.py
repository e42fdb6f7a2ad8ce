"""The lock: which bytes a document's references are. `weights.lock` stands beside the document, for version control.

Without one, what a reference stood for when it was first fetched is kept in the cache in the same form, so that a restart
serves what was served before, and serves it without a network.
"""

from __future__ import annotations

import fcntl
import json
import os
import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from samdrift.engines.weights.listing import Item, Listing, safe_name
from samdrift.engines.weights.troubles import WeightsError

_LARGEST = 64 * 2**20
_ANEW = "Make it anew: samdrift models lock DOCUMENT."
_Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class _File(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    size: Annotated[int, Field(ge=0)]
    sha256: _Sha256


class _Weights(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    origin: str
    revision: str
    licence: str
    files: Annotated[dict[str, _File], Field(min_length=1)]


class _Lock(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    lock: Literal[1]
    weights: dict[str, _Weights]


def read_lock(path: Path) -> dict[str, Listing]:
    """What a lock says, by reference; nothing where there is none. Raises WeightsError if it cannot be understood."""
    try:
        with path.open("rb") as file:
            said = _Lock.model_validate_json(file.read(_LARGEST))
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise WeightsError(f"{path} cannot be read: {error.strerror}.") from error
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"])) or "the file"
        raise WeightsError(f"{path} is damaged at {where[:200]}: {first['msg']}. {_ANEW}") from error
    unsafe = [name for weights in said.weights.values() for name in weights.files if not safe_name(name)]
    if unsafe:
        raise WeightsError(f"{path} names a file {unsafe[0][:80]!r}, which may not be made. {_ANEW}")
    return {
        reference: Listing(reference, one.origin, one.revision, one.licence,
            tuple(Item(name, file.size, sha256=file.sha256) for name, file in one.files.items()))
        for reference, one in said.weights.items()
    }  # fmt: skip


def write_lock(path: Path, listings: Iterable[Listing]) -> None:
    """Write a lock, whole or not at all, in an order that makes differences readable. All listings must be pinned."""
    weights = {
        one.reference: _Weights(origin=one.origin, revision=one.revision, licence=one.licence,
            files={item.name: _File(size=item.size, sha256=item.sha256) for item in sorted(one.items, key=_by_name)})
        for one in sorted(listings, key=lambda one: one.reference)
    }  # fmt: skip
    text = json.dumps(_Lock(lock=1, weights=weights).model_dump(), ensure_ascii=False, indent=1) + "\n"
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    finally:
        aside.unlink(missing_ok=True)


def _by_name(item: Item) -> str:
    return item.name


def merged(path: Path, new: Mapping[str, Listing]) -> None:
    """Add to a lock, or change what it says of these references. Whoever else does so meanwhile waits, or one would be lost."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        try:
            known = read_lock(path)
        except WeightsError:
            known = {}  # the one in the cache; whoever relies on the document's own has been told already
        if any(known.get(reference) != listing for reference, listing in new.items()):
            write_lock(path, {**known, **new}.values())
    finally:
        os.close(folder)
