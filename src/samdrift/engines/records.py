"""What runs, written down: so that a control plane that was killed finds its processes again."""

from __future__ import annotations

import fcntl
import json
import logging
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from samdrift.engines.identities import Identity

_log = logging.getLogger(__name__)
_FORMAT = 1


class RecordsError(Exception):
    """The records cannot be used. The text says what to do."""


@dataclass(frozen=True, slots=True)
class Record:
    """A process that was started: whose it is, which program it is (`digest`), how manieth under this name.

    `identity` is None once it is known to have ended; the record stays, so that generations go on counting. `devices` are the
    names of those that it stands on, for an engine; one that is `asleep` has given them back, and is of no use to another control
    plane.
    """

    name: str
    owner: str
    digest: str
    generation: int
    identity: Identity | None
    devices: tuple[str, ...] = ()
    asleep: bool = False


def _record(entry: dict[str, Any]) -> Record:
    identity = entry["identity"]
    return Record(**{**entry, "identity": None if identity is None else Identity(**identity),
        "devices": tuple(entry.get("devices", ()))})  # fmt: skip  # older ones have none


class Records:
    """The file `processes.json` in a folder. Each change is written at once, whole, and moved into place.

    One control plane at a time: the folder is locked until `close`. The lock goes when its process does.
    """

    def __init__(self, folder: Path) -> None:
        """Open or make the records in `folder`. Raises RecordsError if they are in use or damaged."""
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._path = folder / "processes.json"
        self._lock = os.open(folder / "processes.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self._records = self._read()
        except BlockingIOError as error:
            os.close(self._lock)
            raise RecordsError(f"Another Samdrift runs on {folder}. Stop it first, or use another data folder.") from error
        except RecordsError:
            os.close(self._lock)
            raise

    def __enter__(self) -> Records:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Let another have them."""
        os.close(self._lock)

    def all(self) -> tuple[Record, ...]:
        """All records, by name."""
        return tuple(self._records[name] for name in sorted(self._records))

    def find(self, name: str) -> Record | None:
        """The record of this name."""
        return self._records.get(name)

    def put(self, record: Record) -> None:
        """Write a record down, in the place of an older one of its name. Raises OSError, and keeps the older one."""
        self._write({**self._records, record.name: record})
        self._records[record.name] = record

    def ended(self, name: str) -> None:
        """Write down that the process of this name is no more. Where that cannot be written it is known all the same: whoever
        reads an old record finds nobody of that identity."""
        record = self._records.get(name)
        if record is not None and record.identity is not None:
            self._records[name] = Record(record.name, record.owner, record.digest, record.generation, None)
            try:
                self._write(self._records)
            except OSError as error:
                _log.warning("end of a process not written", extra={"program": name, "reason": error.strerror})

    def _read(self) -> dict[str, Record]:
        try:
            found = json.loads(self._path.read_bytes())
            if found["format"] != _FORMAT:
                raise RecordsError(f"{self._path} was written by a newer Samdrift (format {found['format']}).")
            records = [_record(entry) for entry in found["processes"]]
        except FileNotFoundError:
            return {}
        except (ValueError, TypeError, KeyError) as error:
            raise RecordsError(
                f"{self._path} is damaged. Make sure that no engine and no Envoy of it runs, then delete it."
            ) from error
        return {record.name: record for record in records}

    def _write(self, records: Mapping[str, Record]) -> None:
        text = json.dumps({"format": _FORMAT, "processes": [asdict(records[name]) for name in sorted(records)]}, indent=1)
        new = self._path.with_suffix(".new")
        # No fsync: a record is of use only until the machine restarts, and until then the page cache has it.
        new.write_text(text + "\n", "utf-8")
        new.replace(self._path)
