"""Asking the control plane that runs in a data folder, over its local socket."""

from __future__ import annotations

import json
import os
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from socket import AF_UNIX, socket
from typing import Any

from samdrift.runtime.folders import LOCAL

Json = dict[str, Any]
_PATIENCE = 10.0  # seconds


class NothingRuns(Exception):  # noqa: N818 - the name says what is so
    """No control plane answers in this data folder. The text is a sentence for people."""


class _Local(HTTPConnection):
    """HTTP on a Unix socket. (httpx can do it, too, but leaves the socket open where nobody listens.)"""

    def __init__(self, path: Path, patience: float) -> None:
        super().__init__("local", timeout=patience)
        # A Unix socket's name has at most 107 bytes: the shorter way there is used.
        self._path = min(str(path.absolute()), os.path.relpath(path), key=len)

    def connect(self) -> None:
        made = socket(AF_UNIX)
        try:
            made.settimeout(self.timeout)
            made.connect(self._path)
        except OSError:
            made.close()
            raise
        self.sock = made


def ask(data: Path, path: str) -> Json | None:
    """What the control plane in `data` answers at `path`; None where it knows of nothing there. Raises NothingRuns."""
    connection = local_connection(data)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        body = response.read()
        if response.status == 404:
            return None
        if response.status != 200:
            raise NothingRuns(f"The Samdrift in {data} did not answer as it should (HTTP {response.status}).")
        found: Json = json.loads(body)
    except (OSError, HTTPException, ValueError) as error:
        raise unheard(data, error) from error
    finally:
        connection.close()
    return found


def local_connection(data: Path, patience: float = _PATIENCE) -> HTTPConnection:
    """A connection to the control plane in `data`, which bears with so many seconds of silence."""
    return _Local(data / LOCAL, patience)


def unheard(data: Path, error: Exception) -> NothingRuns:
    """Why the control plane in `data` was not heard, in a sentence."""
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return NothingRuns(f"No Samdrift runs in {data}. Start one with `samdrift up`, or name its folder with --data.")
    why = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return NothingRuns(f"The Samdrift in {data} did not answer: {why}.")
