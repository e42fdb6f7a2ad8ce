"""What an engine may say in its log: lines of known, harmless shape, and of others only how many there were.

llama.cpp prints parts of requests in some of its errors (a JSON schema it cannot use, the characters around a
syntax error). So everything that it writes to its standard output and error goes through a pipe to a small
process of its own, which writes on only what matches `HARMLESS`. A process and not a thread: it lives on when
the engine crashes, and so delivers the last words; and it never waits for the interpreter's lock, which the
engine holds while it loads.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import time
from collections.abc import Callable

_STAMP = r"(?:\d+\.\d\d\.\d\d\d\.\d\d\d [IWED] )?"
_ENGINE = (
    r"srv +init: (?:initializing \.\.\.|loading model|model loaded|listening on unix://\S{1,200})",
    r"srv +load_model: (?:loading model '[^']{1,300}'|initializing, n_slots = [\w ,='-]{1,100})",
    r"srv +load_model: failed to load model, '[^']{1,300}'",
    r"srv +init: build_info: [\w.-]{1,60}",
    r"srv +send_error: task id = \d+, error: (?:request|input) \(\d+ tokens\) [\w ().,]{1,120}",
    r"slot (?:print_timing|release): id +\d+ \| task \d+ \|[\w =.,/()|:-]{1,160}",
    r"srv +stop: cancel task, id_task = \d+",
    r"llama_model_load(?:_from_file_impl)?: (?:error loading model: )?[\w ,.:'-]{1,160}",
    r"(?:gguf_init_from_\w+|llama_model_loader): failed to [\w ,:'.()/-]{1,200}",
    r"cmn +init: llama threadpool init, n_threads = \d+",
)
_CRASHES = (
    r"[\w/.+-]{1,200}\.(?:c|cc|cpp|h|hpp|cu|m):\d+: GGML_ASSERT\([\w\s()<>=!&|+*/%.,:\[\]-]{1,200}\) failed",
    r"terminate called after throwing an instance of '[\w:]{1,80}'",
    r"ggml_\w{1,60}: failed to allocate [\w ().:-]{1,120}",
)
_OURS = (r"samdrift: [\w ,.()'-]{1,120}",)
HARMLESS = re.compile("(?:" + "|".join((*(_STAMP + line for line in _ENGINE), *_CRASHES, *_OURS)) + ")")
"""What a line must match as a whole to be written."""

_LONGEST_LINE = 1024
_EACH_SECOND = 200
_REPORT = 60.0


class Sieve:
    """Decides line by line. `write` gets whole lines; `now` is a monotonic clock in seconds."""

    def __init__(self, write: Callable[[bytes], None], now: Callable[[], float]) -> None:
        self._write = write
        self._now = now
        self._rest = b""
        self._skipping = False
        self._withheld = 0
        self._reported = now()
        self._second = int(self._reported)
        self._written = 0

    def feed(self, block: bytes) -> None:
        """Take what was printed, in pieces of any size."""
        *lines, rest = (self._rest + block).split(b"\n")
        for line in lines:
            if self._skipping:  # the end of a line that was too long to be kept
                self._skipping = False
            else:
                self._line(line)
        if len(rest) > _LONGEST_LINE:
            self._withheld += not self._skipping
            self._skipping, rest = True, b""
        self._rest = rest
        if self._withheld and self._now() - self._reported >= _REPORT:
            self._report()

    def close(self) -> None:
        """The end: the last line may lack its newline."""
        if self._rest and not self._skipping:
            self._line(self._rest)
        if self._withheld:
            self._report()

    def _line(self, line: bytes) -> None:
        second = int(self._now())
        if second != self._second:
            self._second, self._written = second, 0
        text = line.rstrip().decode("ascii", "replace")
        if not text:
            return
        if self._written < _EACH_SECOND and len(text) <= _LONGEST_LINE and HARMLESS.fullmatch(text):
            self._written += 1
            self._write(text.encode() + b"\n")
        else:
            self._withheld += 1

    def _report(self) -> None:
        self._write(f"samdrift: {self._withheld} lines withheld\n".encode())
        self._withheld, self._reported = 0, self._now()


def say_only_harmless() -> None:
    """From now on, what this process writes to its standard output and error goes through a `Sieve` to where
    its standard error went. Call it while the process has one thread.
    """
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.close(writing)
        _sift(reading)
    os.close(reading)
    os.dup2(writing, 1)
    os.dup2(writing, 2)
    os.close(writing)


def _sift(reading: int) -> None:
    """The other process: it ends when the last writer has gone, and by no signal that asks politely."""
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    try:
        sieve = Sieve(_to_log, time.monotonic)
        while block := os.read(reading, 65536):
            sieve.feed(block)
        sieve.close()
    finally:
        sys.stdout = sys.stderr = None  # nothing is flushed twice
        os._exit(0)


def _to_log(line: bytes) -> None:
    try:
        os.write(2, line)
    except OSError:  # a full disk must not stop the engine, which would wait for its pipe
        return
