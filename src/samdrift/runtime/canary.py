"""The canary: a word that occurs nowhere else is sent through the front door, and then looked for in everything that is kept.

It is sent as a member's application would send it, in the prompt; the model is asked to repeat it, so that it is in the answer
too. When the request's row is in the ledger, every file under the data folder is searched for it, and every text of the ledger
where that is another database. A file with another such word is put there first: a search that does not find that one has
looked at nothing, and says so.
"""

from __future__ import annotations

import base64
import json
import mmap
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from samdrift import __version__
from samdrift.ledger.ledger import Ledger
from samdrift.runtime.clock import wall
from samdrift.spec.abilities import Task, endpoints_of

_PATIENCE = 30.0  # seconds for the row of a request to be in the ledger
_WEIGHTS = "weights"  # converted weights: public models, gigabytes of them


class CanaryFailed(Exception):  # noqa: N818 - the name says what is so
    """The canary could not be sent or looked for. The text says why."""


@dataclass(frozen=True, slots=True)
class CanaryResult:
    """What came of it. `found` names the places that hold the word: there should be none. `at` is Unix seconds."""

    at: float
    version: str
    model: str
    ticket: str
    files: int
    bytes: int
    found: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Is it nowhere?"""
        return not self.found


def run_canary(data: Path, ledger: Ledger, http: httpx.Client, model: str, task: Task) -> CanaryResult:
    """Send the canary to a model and look for it. `http` has the front door's URL and a member's key.

    Raises CanaryFailed.
    """
    word = f"kanarie{secrets.token_hex(12)}"
    planted = data / f".canary-{secrets.token_hex(4)}"
    control = f"kanarie{secrets.token_hex(12)}"
    ticket = _send(http, model, task, word)
    end = time.monotonic() + _PATIENCE
    while ledger.usage_of(ticket) is None:
        if time.monotonic() > end:
            raise CanaryFailed(f"The request {ticket} was answered, and is not in this ledger after {_PATIENCE:g} s. "
                "Is this the data folder of the service that answered?")  # fmt: skip
        time.sleep(0.1)
    try:
        planted.write_text(control, "ascii")
        files, size, found = 0, 0, []
        forms, controls = _forms(word), _forms(control)
        seen = False
        for path in _files(data):
            content = _holding(path, (*forms, *controls))
            files, size = files + 1, size + content[0]
            seen = seen or (path == planted and bool(content[1] & set(controls)))
            if content[1] & set(forms):
                found.append(str(path.relative_to(data)))
    finally:
        planted.unlink(missing_ok=True)
    if not seen:
        raise CanaryFailed("The search did not find the word that was put there for it: it proves nothing.")
    found += [f"ledger: {place}" for place in ledger.retention.places_of(word)]
    if "usage.ticket" not in ledger.retention.places_of(ticket):
        raise CanaryFailed("The search of the ledger did not find the ticket of the request: it proves nothing.")
    return CanaryResult(wall(), __version__, model, ticket, files, size, tuple(found))


def _send(http: httpx.Client, model: str, task: Task, word: str) -> str:
    said = f"Repeat this word: {word}"
    bodies: dict[Task, dict[str, Any]] = {
        "generate": {"max_tokens": 40, "user": word,
            "messages": [{"role": "system", "content": said}, {"role": "user", "content": said}]},
        "embed": {"input": said},
        "rerank": {"query": said, "documents": [said]},
    }  # fmt: skip
    try:
        answer = http.post(endpoints_of(task)[0], json={"model": model, **bodies[task]})
    except httpx.HTTPError as error:
        raise CanaryFailed(f"Nothing answers at {http.base_url}: {error}.") from error
    ticket: str = answer.headers.get("x-samdrift-ticket", "")
    if answer.status_code != 200 or not ticket:
        raise CanaryFailed(f"The request was answered with {answer.status_code}, so there is nothing to look for.")
    return ticket


def _forms(word: str) -> tuple[bytes, ...]:
    """The word as it may stand in a file: plainly, in UTF-16, in hexadecimal, and in Base64 at each of its three offsets."""
    plain = word.encode()
    length = len(plain) * 4 // 3 - 4  # without the ends, which depend on what stands beside it
    sixty_four = (base64.b64encode(b"\0" * shift + plain)[(0, 2, 3)[shift] :][:length] for shift in range(3))
    return (plain, word.encode("utf-16-le"), plain.hex().encode(), *sixty_four)


def _files(data: Path) -> Iterator[Path]:
    for path in sorted(data.rglob("*")):
        if path.relative_to(data).parts[0] != _WEIGHTS and path.is_file() and not path.is_symlink():
            yield path


def _holding(path: Path, words: tuple[bytes, ...]) -> tuple[int, set[bytes]]:
    """How large a file is, and which of the words are in it. A file that went meanwhile holds none."""
    try:
        with path.open("rb") as opened, mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return len(mapped), {word for word in words if mapped.find(word) >= 0}
    except (FileNotFoundError, ValueError):  # ValueError: it is empty
        return 0, set()
    except OSError as error:
        raise CanaryFailed(f"{path} cannot be searched: {error.strerror}.") from error


def remember(data: Path, result: CanaryResult) -> None:
    """Keep the result, for the report."""
    path = data / "privacy" / "canary.json"
    path.parent.mkdir(exist_ok=True, mode=0o700)
    aside = path.with_name(".canary.json.new")
    aside.write_text(json.dumps(asdict(result), indent=1) + "\n", "utf-8")
    aside.replace(path)


def last_result(data: Path) -> CanaryResult | None:
    """The result that was kept; None if there is none that can be read."""
    try:
        said = json.loads((data / "privacy" / "canary.json").read_bytes())
        return CanaryResult(**{**said, "found": tuple(said["found"])})
    except (OSError, ValueError, TypeError, KeyError):
        return None
