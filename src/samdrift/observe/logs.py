"""Logs: one JSON object a line, an event and simple facts from a fixed set. No content by construction.

Rooms log through the standard library, with the event as the message and facts in `extra`:

    _log.info("replica up", extra={"replica": "chat-small-0", "seconds": 3.2})

What is written is the event, if it looks like a name of one, and those facts that `FIELDS` knows and that
have the type it says. Everything else is left out and the line says which names were: arguments, messages of
exceptions (they quote what they choked on), texts of other libraries. Of an exception its type, its causes'
types and the places it passed are kept, which is what leads to the line of code.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import re
import sys
import traceback
from datetime import UTC, datetime
from io import TextIOWrapper
from logging.handlers import QueueHandler, QueueListener, RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import Self, TextIO, cast

FIELDS: dict[str, type] = (
    dict.fromkeys(
        ("address", "file", "key_id", "kind", "model", "organisation", "outcome", "path", "project", "reason",
         "replica", "revision", "signal", "state", "ticket", "version"), str)
    | dict.fromkeys(
        ("attempt", "bytes", "count", "exit_code", "generation", "limit", "pid", "port", "replicas", "rows",
         "seats", "status", "tickets", "tokens"), int)
    | dict.fromkeys(("pause", "seconds"), float)
)  # fmt: skip
"""What a line may hold besides `at`, `level`, `room`, `event`, `error`, `where` and `withheld`."""

_LONGEST = 200
_EVENT = re.compile(r"[A-Za-z][A-Za-z0-9 ,'/-]{0,79}")
_USUAL = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_OURS = "samdrift"


def line_of(record: logging.LogRecord) -> str:
    """A record as one line of JSON, in ASCII:

    nothing in it moves a terminal's cursor or begins another line.
    """
    line: dict[str, object] = {
        "at": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
        "level": record.levelname.lower(),
        "room": record.name[:_LONGEST],
    }
    withheld = []
    ours = record.name == _OURS or record.name.startswith(f"{_OURS}.")
    if ours and isinstance(record.msg, str) and _EVENT.fullmatch(record.msg) and not record.args:
        line["event"] = record.msg
    else:
        # A sentence of somebody else may quote anything; where it was said identifies it as well.
        line["event"] = "unnamed"
        line["where"] = [f"{record.module}:{record.lineno}"]
        withheld.append("message")
    for name, value in vars(record).items():
        if name in _USUAL:
            continue
        simple = _simple(name, value)
        if simple is None:
            withheld.append(name[:_LONGEST])
        else:
            line[name] = simple
    if record.exc_info and record.exc_info[1] is not None:
        line["error"], line["where"] = _told(record.exc_info[1])
    if withheld:
        line["withheld"] = sorted(withheld)
    return json.dumps(line, ensure_ascii=True, separators=(",", ":"), allow_nan=False)


def _simple(name: str, value: object) -> str | int | float | None:
    kind = FIELDS.get(name)
    if kind is str and isinstance(value, str):
        return str(value) if len(value) <= _LONGEST else value[: _LONGEST - 1] + "…"
    if kind in {int, float} and isinstance(value, int | float) and abs(value) < 2**63:  # false for NaN
        return kind(value) if kind is float or isinstance(value, int) else None
    return None


def _told(error: BaseException) -> tuple[list[str], list[str]]:
    """The types of an exception and its causes, outermost first, and the last places of the innermost."""
    chain: list[BaseException] = []
    following: BaseException | None = error
    while following is not None and following not in chain and len(chain) < 8:
        chain.append(following)
        following = following.__cause__ or following.__context__
    places = [
        f"{Path(frame.filename).stem}:{frame.lineno}"
        for told in chain
        for frame in traceback.extract_tb(told.__traceback__)[-4:]
    ]
    return [type(told).__qualname__ for told in chain], places


class Log:
    """Where the log goes: to a handler that takes whole lines.

    Lines are handed to a thread through a bounded queue, so that a slow disk delays nobody; when the queue is
    full lines are dropped and counted in `dropped`. Use it as a context manager, or call `close`.
    """

    def __init__(self, end: logging.Handler, level: int = logging.INFO, queue_size: int = 10_000) -> None:
        self._file = end
        self._file.setFormatter(logging.Formatter("%(message)s"))
        lines: queue.Queue[logging.LogRecord | None] = queue.Queue(queue_size)
        self._queue = _LineQueue(lines)
        self._queue.setLevel(level)
        self._listener = _Writing(lines, self._file)
        self._listener.start()
        root = logging.getLogger()
        root.addHandler(self._queue)
        self._ours = logging.getLogger(_OURS)
        self._before = self._ours.level
        self._ours.setLevel(level)

    @property
    def dropped(self) -> int:
        """Lines that found the queue full."""
        return self._queue.dropped

    def close(self) -> None:
        """Write what is queued and let go of where it went."""
        logging.getLogger().removeHandler(self._queue)
        self._ours.setLevel(self._before)
        self._listener.stop()
        self._queue.close()
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class LogFile(Log):
    """The log in a file of mode 0600 that is set aside when it has grown to `max_bytes`, `keep` times."""

    def __init__(
        self,
        path: Path,
        *,
        level: int = logging.INFO,
        max_bytes: int = 10 * 2**20,
        keep: int = 5,
        queue_size: int = 10_000,
    ) -> None:
        end = _PrivateFile(path, maxBytes=max_bytes, backupCount=keep, encoding="ascii")
        super().__init__(end, level, queue_size)


class LogStream(Log):
    """The log on a stream, for whoever collects what containers say; by default standard output."""

    def __init__(self, stream: TextIO | None = None, *, level: int = logging.INFO) -> None:
        super().__init__(logging.StreamHandler(stream or sys.stdout), level)


class _LineQueue(QueueHandler):
    """Makes the line where the event happens, so that nothing but a line crosses to the writing thread."""

    def __init__(self, lines: queue.Queue[logging.LogRecord | None]) -> None:
        self.dropped = 0
        super().__init__(lines)

    def prepare(self, record: logging.LogRecord) -> logging.LogRecord:
        return logging.makeLogRecord(
            {"msg": line_of(record), "levelno": record.levelno, "levelname": record.levelname}
        )

    def enqueue(self, record: logging.LogRecord) -> None:
        try:
            self.queue.put_nowait(record)
        except queue.Full:
            self.dropped += 1


class _Writing(QueueListener):
    def __init__(self, lines: queue.Queue[logging.LogRecord | None], file: logging.Handler) -> None:
        super().__init__(lines, file)
        self._lines = lines

    def enqueue_sentinel(self) -> None:
        """Wait for room instead of failing when the queue is full: the thread is emptying it."""
        self._lines.put(None)


class _PrivateFile(RotatingFileHandler):
    """Nobody else may read it, whatever the umask says."""

    _failing = False

    def _open(self) -> TextIOWrapper:
        def private(path: str, flags: int) -> int:
            descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
            os.fchmod(descriptor, 0o600)
            return descriptor

        stream = open(self.baseFilename, self.mode, encoding="ascii", opener=private)  # noqa: SIM115 - handed on
        return cast("TextIOWrapper", stream)

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 - the standard library's name
        """A full disk must not stop the program, nor fill the terminal: said once."""
        del record
        if not self._failing:
            self._failing = True
            sys.stderr.write(
                f"samdrift: the log {self.baseFilename} cannot be written: {sys.exc_info()[1]}\n"
            )
