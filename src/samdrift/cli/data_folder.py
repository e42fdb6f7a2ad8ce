"""The data folder as a command sees it: which document is in force there, and its ledger.

Commands work on the ledger itself, whether or not Samdrift runs: what they change takes effect there within a
second.
"""

from __future__ import annotations

import difflib
import getpass
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click
from pydantic import ValidationError

from samdrift.access.roles import Actor, local_actor
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.troubles import LedgerUnavailable
from samdrift.reading import ledger_url
from samdrift.spec.document import Spec
from samdrift.spec.secret_references import MissingReference

_Command = TypeVar("_Command", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True)
class DataFolder:
    """A data folder and, if the command line named one, the URL of another ledger than its own."""

    path: Path
    url: str | None

    def document(self) -> Spec | None:
        """The document in force, of which the runtime keeps a copy here; None before it ever ran."""
        copy = self.path / "document.json"
        try:
            return Spec.model_validate_json(copy.read_bytes())
        except FileNotFoundError:
            return None
        except OSError as error:
            raise click.ClickException(f"{copy} cannot be read: {error.strerror}.") from error
        except ValidationError as error:
            raise click.ClickException(
                f"{copy} was written by another version of Samdrift. "
                f"Start this one in {self.path}, then try again."
            ) from error

    @contextmanager
    def ledger(self, *, make: bool = False) -> Iterator[Ledger]:
        """The open ledger. Where there is none it is made, or the command ends with a sentence."""
        url = self.url or self._own_url(make=make)
        try:
            ledger = Ledger.open(url)
        except ValueError as error:
            raise click.UsageError(f"--ledger: {error}.") from error
        except LedgerUnavailable as error:
            raise click.ClickException(f"{error}.") from error
        try:
            yield ledger
        except LedgerUnavailable as error:
            raise click.ClickException(f"{error}. Nothing was changed.") from error
        finally:
            ledger.close()

    def _own_url(self, *, make: bool) -> str:
        document = self.document()
        if document is not None and document.ledger.url:
            try:
                return ledger_url(document, self.path / "document.json")
            except MissingReference as error:
                raise click.ClickException(
                    f"The document keeps its ledger at a reference that cannot be followed here: {error}. "
                    "Name the ledger with --ledger URL."
                ) from error
        file = self.path.absolute() / "ledger.sqlite"
        if not file.exists():
            if not make:
                raise click.ClickException(
                    f"There is no ledger in {self.path}. Name the folder that Samdrift runs in with --data."
                )
            self.path.mkdir(parents=True, exist_ok=True, mode=0o700)
            click.echo(f"Made a new ledger at {file}.", err=True)
        return f"sqlite:///{file}"


def folder_options(command: _Command) -> _Command:
    """The options that say where the ledger is. The command gets them as `data` and `ledger`."""
    command = click.option(
        "--ledger", metavar="URL", envvar="SAMDRIFT_LEDGER",
        help="Work on this ledger instead of the data folder's: sqlite:///PATH or postgresql://…",
    )(command)  # fmt: skip
    return click.option(
        "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), envvar="SAMDRIFT_DATA",
        default="data", show_default=True, help="The folder that Samdrift runs in.",
    )(command)  # fmt: skip


def me() -> Actor:
    """Whoever typed the command, for the audit trail."""
    try:
        return local_actor(getpass.getuser())
    except (KeyError, OSError):  # a container may run under a number that has no name
        return local_actor(f"uid {os.getuid()}")


def suggest(what: str, name: str, known: Iterable[str]) -> click.ClickException:
    """The answer to a name that nobody has: it says so, and which names come near it."""
    near = difflib.get_close_matches(name, known, n=3)
    hint = f" Did you mean {' or '.join(near)}?" if near else ""
    return click.ClickException(f"The document has no {what} {name!r}.{hint}")


def columns(rows: Sequence[tuple[str, ...]], right: Iterable[int] = ()) -> Iterator[str]:
    """Rows in aligned columns, those in `right` to the right. The first row is the heading."""
    widths = [max(map(len, cells)) for cells in zip(*rows, strict=True)]
    for row in rows:
        cells = (
            cell.rjust(width) if n in set(right) else cell.ljust(width)
            for n, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        yield "  ".join(cells).rstrip()
