"""Which models are held at an older version than the document's: while the new one comes up or is watched, and once it was
refused.

It is written down in `rollouts.json`, so that a control plane that starts anew goes on with the version that was serving, and not
with one that nobody has found good. A file that cannot be read is begun anew: then the document's version is started.
"""

from __future__ import annotations

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from samdrift.engines.comparing import Tally
from samdrift.engines.drivers import Planned

_log = logging.getLogger(__name__)
_NOTHING = Tally()


@dataclass(frozen=True, slots=True)
class Held:
    """A model that is held: at this `old` version, though the document says `new`. `refused` is the end of a sentence that says
    what is wrong with the new one, "" while nothing is. For `watched` seconds the new one has taken its part of the requests so
    far; how those ended is in `tried`, and those of the old one in `others`."""

    old: Planned
    new: Planned
    refused: str = ""
    watched: float = 0.0
    tried: Tally = _NOTHING
    others: Tally = _NOTHING


_FILE = TypeAdapter(dict[str, Held])


class Holding:
    """The models that are held, by name. Each change is written whole and moved into place."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._held = _read(path)

    def of(self, model: str) -> Held | None:
        """At which version it is held, if it is."""
        return self._held.get(model)

    def refused(self, model: str) -> str:
        """What is wrong with its new version, "" if nothing is."""
        held = self._held.get(model)
        return "" if held is None else held.refused

    def hold(self, model: str, old: Planned, new: Planned) -> None:
        """From now on it is held at this version. One that is held already stays where it is, whatever is new."""
        before = self._held.get(model)
        if before is None or before.refused or not _is_same(before.new, new):
            self._put(model, Held(old if before is None else before.old, new))

    def watch(self, model: str, watched: float, tried: Tally, others: Tally) -> None:
        """Its new version has been watched for so many seconds, in this life and those before."""
        held = self._held.get(model)
        if held is not None:
            self._put(model, dataclasses.replace(held, watched=watched, tried=tried, others=others))

    def refuse(self, model: str, why: str) -> None:
        """Its new version is no good."""
        held = self._held.get(model)
        if held is not None:
            self._put(model, dataclasses.replace(held, refused=why))

    def let_go(self, model: str) -> None:
        """It follows the document again."""
        if self._held.pop(model, None) is not None:
            self._write()

    def models(self) -> tuple[str, ...]:
        """All that are held."""
        return tuple(self._held)

    def _put(self, model: str, held: Held) -> None:
        if self._held.get(model) != held:
            self._held[model] = held
            self._write()

    def _write(self) -> None:
        new = self._path.with_suffix(".new")
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            new.write_bytes(_FILE.dump_json(self._held, indent=1))
            new.replace(self._path)
        except OSError as error:
            # The change goes on; only a control plane that is started anew would not know of it.
            _log.warning("which models are held could not be written down", exc_info=error)


def _is_same(one: Planned, other: Planned) -> bool:
    """Whether these are the same version, wherever they stand."""
    return dataclasses.replace(one, name=other.name, address=other.address, log=other.log) == other


def _read(path: Path) -> dict[str, Held]:
    try:
        found = _FILE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValidationError) as error:
        _log.warning("which models are held could not be read", exc_info=error)
        return {}
    return {model: held for model, held in found.items() if held.old.weights.exists()}
