"""What `samdrift up` tells people while it starts, runs and stops."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from samdrift.engines.standings import Progress
from samdrift.runtime.community import Ready, Saying
from samdrift.spec.document import Spec

_STEPS = {"fetching": "fetching weights", "checking": "comparing weights", "reading": "reading weights",
    "converting": "converting weights (once)", "starting": "loading", "up": "up",
    "down": "down", "failed": "cannot be served", "loading": "is loaded", "trying": "new version", "leaving": "is let go",
    "asleep": "asleep"}  # fmt: skip


class Announcer:
    """Says each thing once, in plain lines; colour only on a terminal. `keys` are the secrets to show when all is ready."""

    def __init__(self, data: Path, keys: dict[str, str], *, again: bool) -> None:
        self._data, self._keys, self._again = data, keys, again
        self._console = Console(highlight=False, soft_wrap=True, file=sys.stdout)
        self._said: dict[str, str] = {}
        self._spec: Spec | None = None

    def begin(self, spec: Spec) -> None:
        """The document was read."""
        self._spec = spec
        if not self._again:
            self._line(f"[bold]{spec.community.name}[/]: {len(spec.organisations)} organisations, "
                f"{len(spec.models)} models. Data in {self._data}.")  # fmt: skip

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
        self._line(f"\n[bold green]Samdrift is up at {ready.url}[/] (after {ready.seconds:.1f} s)")
        if self._keys and self._spec is not None:
            self._line("\nA key for each organisation, shown this once:")
            width = max(len(name) for name in self._keys)
            for organisation, secret in self._keys.items():
                self._line(f"  {organisation:<{width}}  {secret}")
            first = next(iter(self._keys.values()))
            model = next((n for n, m in self._spec.models.items() if m.task == "generate"), None)
            if model is not None:
                self._line("\nTry it:")
                self._line(f"  curl -N {ready.url}/v1/chat/completions -H 'Authorization: Bearer {first}' \\\n"
                    "    -H 'Content-Type: application/json' \\\n"
                    f"    -d '{{\"model\": \"{model}\", \"stream\": true, "
                    "\"messages\": [{\"role\": \"user\", \"content\": \"What is a commons?\"}]}'")  # fmt: skip
            self._line(f"\nThen: .venv/bin/samdrift usage --data {self._data}        Stop with Ctrl-C.")

    def _line(self, text: str) -> None:
        self._console.print(text)
        self._console.file.flush()
