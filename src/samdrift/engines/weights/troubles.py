"""What goes wrong with weights, as sentences for people."""

from __future__ import annotations

import errno

from samdrift.spec.units import spell_size

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class WeightsError(Exception):
    """These weights cannot be served. The text says what is wrong, with what, and what to do."""


class Unreachable(WeightsError):  # noqa: N818 - the name says what is so
    """Where the weights are fetched from does not answer. What is already here can still be served."""


class NoRoom(WeightsError):  # noqa: N818 - the name says what is so
    """The disk, or the cache, has no room for these weights. It is worth trying again when something was removed."""


def disk_trouble(error: OSError, doing: str) -> WeightsError:
    """The sentence for what the system says of a file. `doing` is what was tried, as `Fetching hf:a/b`."""
    if error.errno in _FULL:
        return NoRoom(f"{doing} stopped: the disk is full. Make room, or set a smaller `weights.cache`; then it goes on.")
    where = f" ({error.filename})" if error.filename else ""
    return WeightsError(f"{doing} failed: {error.strerror or error}{where}.")


def people_size(size: int) -> str:
    """Bytes for people: `98.4 MB`. Exact ones with `spell_size` where a person must write them."""
    for unit, name in ((10**12, "TB"), (10**9, "GB"), (10**6, "MB"), (10**3, "kB")):
        if size >= unit:
            return f"{size / unit:.1f} {name}"
    return spell_size(size)
