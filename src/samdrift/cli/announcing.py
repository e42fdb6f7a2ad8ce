"""What `samdrift up` tells people while it starts, runs and stops."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from samdrift.engines.standings import Progress
from samdrift.runtime.community import Ready, Saying
from samdrift.spec.document import Spec

_STEPS = {"fetching": "fetching weights", "checking": "comparing weights", "reading": "reading weights",
    "converting": "converting weights (once)", "starting": "loading", "up": "up",
    "down": "down", "failed": "cannot be served", "loading": "to be loaded", "trying": "new version", "leaving": "is let go",
    "asleep": "asleep"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class NewKeys:
    """The secret of each organisation's new key. `instead` says that keys of an earlier start were revoked for them."""

    secrets: Mapping[str, str]
    instead: bool


class Announcer:
    """Says each thing once, in plain lines; colour only on a terminal. `keys` are shown when all is ready."""

    def __init__(self, data: Path, keys: NewKeys | None, *, again: bool) -> None:
        self._data, self._keys, self._again = data, keys, again
        # No markup: sentences quote what stands in documents, and `[/b]` is no end of anything.
        self._console = Console(highlight=False, markup=False, emoji=False, soft_wrap=True, file=sys.stdout)
        self._said: dict[str, str] = {}
        self._spec: Spec | None = None

    def begin(self, spec: Spec) -> None:
        """The document was read."""
        self._spec = spec
        if not self._again:
            self._line(f"{spec.community.name}: {_many(len(spec.organisations), 'organisation')}, "
                f"{_many(len(spec.models), 'model')}. Data in {self._data}.")  # fmt: skip

    def __call__(self, saying: Saying) -> None:
        """What the runtime says."""
        if isinstance(saying, Ready):
            self._ready(saying)
        elif isinstance(saying, Progress):
            step = f"{_STEPS[saying.step]}{f' — {saying.sentence}' if saying.sentence else ''}"
            if self._said.get(saying.model) != step:
                self._said[saying.model] = step
                self._line(f"  {saying.model}: {step}")
        else:
            self._line(saying)

    def stopping(self, stop: Callable[[], None]) -> None:
        """A signal came."""
        self._line("\nStopping: no new requests; running answers may finish. Ctrl-C again ends them at once.")
        stop()

    def stopped(self) -> None:
        """Everything has ended."""
        self._line("Stopped.")

    def _ready(self, ready: Ready) -> None:
        if self._again:
            self._line(f"Back after {ready.seconds:.1f} s; Envoy and the engines ran on.")
            return
        self._line(f"\nSamdrift is up at {ready.url} (after {ready.seconds:.1f} s)", style="bold green")
        if self._keys is not None and self._spec is not None:
            self._line("\nA key for each organisation, shown this once"
                f"{' (those of the last start no longer work)' if self._keys.instead else ''}:")  # fmt: skip
            width = max(len(name) for name in self._keys.secrets)
            for organisation, secret in self._keys.secrets.items():
                self._line(f"  {organisation:<{width}}  {secret}")
            first = next(iter(self._keys.secrets.values()))
            model = next((n for n, m in self._spec.models.items() if m.task == "generate"), None)
            if model is not None:
                self._line("\nTry it, in a second terminal:")
                self._line(f"  curl -N {ready.url}/v1/chat/completions -H 'Authorization: Bearer {first}' \\\n"
                    "    -H 'Content-Type: application/json' \\\n"
                    f"    -d '{{\"model\": \"{model}\", \"stream\": true, "
                    "\"messages\": [{\"role\": \"user\", \"content\": \"What is a commons?\"}]}'")  # fmt: skip
            self._line("\nThen see who has used what, and who waits. Ctrl-C here stops everything.\n"
                f"  .venv/bin/samdrift usage --data {self._data}\n  .venv/bin/samdrift status --data {self._data}")  # fmt: skip

    def _line(self, text: str, style: str | None = None) -> None:
        self._console.print(text, style=style)
        self._console.file.flush()


def _many(count: int, what: str) -> str:
    return f"{count} {what}" if count == 1 else f"{count} {what}s"
