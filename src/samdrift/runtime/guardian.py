"""The guardian: the parent of the control plane, which starts it again if it is killed.

Envoy and the engines live on while the control plane is away, so that streams run on, and are adopted by the next one.
The guardian itself does nothing that could fail: it starts one process, waits, and passes signals on.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType

EXPECTED = frozenset({0, 1, 2})
"""Exit codes of a control plane that meant to end: done, cannot start, used wrongly."""

CRASHED = 70
"""Exit code of a control plane that met what it did not expect (EX_SOFTWARE of sysexits.h)."""

_FIRST, _LONGEST, _PROVEN = 0.1, 5.0, 60.0
_SAME = 0.5  # seconds within which signals are one wish: some programs signal a process and its group
_HOPELESS = 5  # crashes in a row, each within a minute of its start
_PR_SET_PDEATHSIG = 1


class Guardian:
    """Keeps `command` running. `clean_up` ends what a control plane left behind, when it is not to be started again."""

    def __init__(self, command: Sequence[str], say: Callable[[str], None], clean_up: Callable[[], None]) -> None:
        self._command, self._say, self._clean_up = command, say, clean_up
        self._child: subprocess.Popen[bytes] | None = None
        self._stops, self._stopped = 0, 0.0

    def run(self) -> int:
        """Start, wait, start again; returns the exit code."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGHUP, self._pass_on)
        rest, again, crashes = _FIRST, False, 0
        while True:
            began = time.monotonic()
            # A group of its own: Ctrl-C reaches the guardian only, and it decides what that means.
            self._child = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                [*self._command, *(["--again"] if again else [])], process_group=0)  # fmt: skip
            code = self._child.wait()
            if code in EXPECTED or self._stops:
                if code not in EXPECTED:
                    self._clean_up()
                return max(code, 0) if code in EXPECTED else 1
            proven = time.monotonic() - began > _PROVEN
            rest, crashes = (_FIRST, 1) if proven else (min(rest * 2, _LONGEST), crashes + 1)
            why = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            if crashes >= _HOPELESS:
                self._say(f"The control plane ended unexpectedly ({why}), {crashes} times in a row. Giving up.")
                self._clean_up()
                return 1
            self._say(f"The control plane ended unexpectedly ({why}); starting it again.")
            time.sleep(rest if again else 0)
            again = True

    def _stop(self, _number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._stops and now - self._stopped < _SAME:
            return
        self._stops, self._stopped = self._stops + 1, now
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(signal.SIGTERM if self._stops == 1 else signal.SIGKILL)

    def _pass_on(self, number: int, _frame: FrameType | None) -> None:
        if self._child is not None and self._child.poll() is None:
            self._child.send_signal(number)


def end_with_parent() -> None:
    """Have the kernel send us SIGTERM when our parent dies: a control plane without its guardian stops in order."""
    if sys.platform == "linux":
        parent = os.getppid()
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
