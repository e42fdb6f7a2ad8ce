"""Asking the administrative API: of the control plane in a data folder, over its socket; or of a server, with a token."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode, urlsplit

import click

from samdrift.api.v1.door import PREFIX
from samdrift.cli.running import local_connection, unheard

Json = dict[str, Any]
_Command = TypeVar("_Command", bound=Callable[..., Any])
_PATIENCE = 60.0  # seconds; a document whose weights must be read first takes a while
_UNSAFE = frozenset({"POST", "PATCH", "DELETE"})


class Refused(click.ClickException):
    """The API said no. `problem` is what it said; its text is a sentence for people."""

    def __init__(self, status: int, problem: Json) -> None:
        detail = str(problem.get("detail") or problem.get("title") or f"The server answered HTTP {status}.")
        lines = [f"  {error.get('path')}: {error.get('sentence')} {error.get('remedy', '')}".rstrip()
            + (f" ({error['where']})" if error.get("where") else "") for error in problem.get("errors") or ()]  # fmt: skip
        super().__init__("\n".join([detail, *lines]))
        self.status, self.problem = status, problem


@dataclass(frozen=True, slots=True)
class Answer:
    """What the API answered: JSON, and its entity tag."""

    body: Any
    etag: str


@dataclass(frozen=True, slots=True)
class Administering:
    """Where the API is: on a server, or in a data folder."""

    data: Path
    server: str | None
    token: str | None

    def get(self, *path: str, **query: object) -> Answer:
        """What is there. Raises Refused, or ClickException if nobody answers."""
        return self._ask("GET", _path(path, query), None, {})

    def pages(self, *path: str, **query: object) -> Iterator[Json]:
        """Everything in a list."""
        cursor: str | None = None
        while True:
            body = self.get(*path, **query, cursor=cursor).body
            yield from body["items"]
            cursor = body["next"]
            if cursor is None:
                return

    def send(self, method: str, *path: str, body: Json | None = None, if_match: str | None = None) -> Answer:
        """Have something done, once, even if the answer gets lost and it must be asked again."""
        headers = {"idempotency-key": str(uuid.uuid4())} if method == "POST" else {}
        if if_match is not None:
            headers["if-match"] = if_match
        return self._ask(method, _path(path, {}), body, headers)

    @contextmanager
    def stream(self, method: str, *path: str, body: Json | None = None) -> Iterator[Iterator[bytes]]:
        """A long answer of a server in pieces, while it comes. Raises Refused, or ClickException if it breaks off."""
        import httpx  # slow to import, and not needed on the service's own machine

        headers = self._named({} if body is None else {"content-type": "application/json"})
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        try:
            with httpx.stream(method, f"{str(self.server).rstrip('/')}{_path(path, {})}", content=content, headers=headers,
                timeout=_PATIENCE, follow_redirects=False) as response:  # fmt: skip
                if not 200 <= response.status_code < 300:
                    raise Refused(response.status_code, _object(response.read()))
                yield response.iter_bytes()
        except httpx.TransportError as error:
            raise click.ClickException(f"{self.server} did not answer to the end: {error}.{_hint(error)}") from error

    def _ask(self, method: str, path: str, body: Json | None, headers: dict[str, str]) -> Answer:
        content = None if body is None else json.dumps(body, ensure_ascii=False).encode()
        if content is not None:
            headers = {**headers, "content-type": "application/json"}
        status, answered, etag = (self._here if self.server is None else self._there)(method, path, content, headers)
        if not 200 <= status < 300:
            raise Refused(status, _object(answered))
        try:
            return Answer(json.loads(answered), etag)
        except ValueError:
            return Answer({}, etag)

    def _here(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, bytes, str]:
        connection = local_connection(self.data, _PATIENCE)
        try:
            connection.request(method, path, content, headers)
            response: HTTPResponse = connection.getresponse()
            return response.status, response.read(), response.getheader("etag") or ""
        except (OSError, HTTPException) as error:
            raise click.ClickException(str(unheard(self.data, error))) from error
        finally:
            connection.close()

    def _there(self, method: str, path: str, content: bytes | None, headers: dict[str, str]) -> tuple[int, bytes, str]:
        import httpx  # slow to import, and not needed on the service's own machine

        named = self._named(headers)
        for left in (1, 0):  # a request that may be repeated is, once, when the connection broke
            try:
                response = httpx.request(method, f"{str(self.server).rstrip('/')}{path}", content=content, headers=named,
                    timeout=_PATIENCE, follow_redirects=False)  # fmt: skip
            except httpx.TransportError as error:
                if left and (method not in _UNSAFE or "idempotency-key" in headers):
                    continue
                raise click.ClickException(f"{self.server} did not answer: {error}.{_hint(error)}") from error
            return response.status_code, response.content, response.headers.get("etag", "")
        raise AssertionError("both attempts return or raise")

    def _named(self, headers: dict[str, str]) -> dict[str, str]:
        """With the token, if it may be sent there."""
        if not self.token:
            raise click.UsageError("A server wants a token: set SAMDRIFT_TOKEN, or give --token.")
        where = urlsplit(str(self.server))
        if where.scheme != "https" and (where.scheme != "http" or where.hostname not in ("127.0.0.1", "localhost", "::1")):
            raise click.UsageError("A token must not cross a network in the clear: give --server as https://….")
        return {**headers, "authorization": f"Bearer {self.token}"}


def _hint(error: Exception) -> str:
    """What to do about a server that could not be reached, where the reason says it."""
    if "CERTIFICATE_VERIFY_FAILED" in str(error):
        return " If you know its authority, name the authority's certificate in SSL_CERT_FILE."
    return ""


def _object(answered: bytes) -> Json:
    try:
        said = json.loads(answered)
    except ValueError:
        return {}
    return said if isinstance(said, dict) else {}


def _path(parts: tuple[str, ...], query: dict[str, object]) -> str:
    said = {name: str(value) for name, value in query.items() if value is not None}
    path = "/".join([PREFIX, *(quote(part, safe="") for part in parts)])
    return f"{path}?{urlencode(said)}" if said else path


def remote_options(command: _Command) -> _Command:
    """The options that name a server, for a command that otherwise works in a data folder. It gets them as `remote`, which is
    None where none is named."""
    command = click.option("--token", envvar="SAMDRIFT_TOKEN", metavar="TOKEN", expose_value=False, callback=_kept, is_eager=True,
        help="An administrative token for the server; better in SAMDRIFT_TOKEN.")(command)  # fmt: skip
    return click.option("--server", "remote", envvar="SAMDRIFT_SERVER", metavar="URL", callback=_remote,
        help="Ask this server instead of the Samdrift in the data folder.")(command)  # fmt: skip


def server_options(command: _Command) -> _Command:
    """The options that say where the API is. The command gets them as `api`."""
    command = click.option("--token", envvar="SAMDRIFT_TOKEN", metavar="TOKEN", expose_value=False, callback=_kept, is_eager=True,
        help="An administrative token for the server; better in SAMDRIFT_TOKEN.")(command)  # fmt: skip
    command = click.option("--server", envvar="SAMDRIFT_SERVER", metavar="URL", expose_value=False, callback=_kept, is_eager=True,
        help="Ask this server instead of the Samdrift in the data folder.")(command)  # fmt: skip
    return click.option("--data", "api", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), envvar="SAMDRIFT_DATA",
        default="data", show_default=True, callback=_api, help="The folder that Samdrift runs in.")(command)  # fmt: skip


def _kept(context: click.Context, parameter: click.Parameter, given: str | None) -> None:
    context.meta[f"samdrift.{parameter.name}"] = given


def _remote(context: click.Context, _parameter: click.Parameter, server: str | None) -> Administering | None:
    return None if server is None else Administering(Path(), server, context.meta.get("samdrift.token"))


def _api(context: click.Context, _parameter: click.Parameter, data: Path) -> Administering:
    return Administering(data, context.meta.get("samdrift.server"), context.meta.get("samdrift.token"))


