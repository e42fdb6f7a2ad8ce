"""What the commands about weights share: where they are, whose they are, and how a step is shown."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from samdrift.cli.data_folder import suggest
from samdrift.engines.weights.cache import Cache
from samdrift.engines.weights.means import Means, Step
from samdrift.reading import DocumentRejected, DocumentUnreadable, read_document, secret_of
from samdrift.spec.document import Spec
from samdrift.spec.names import WeightsNamed, names_of, weights_named

document_argument = click.argument("document", type=click.Path(path_type=Path))
data_option = click.option(
    "--data", metavar="DIR", type=click.Path(path_type=Path, file_okay=False), envvar="SAMDRIFT_DATA", default="data",
    show_default=True, help="The folder that Samdrift runs in.",
)  # fmt: skip


def read_spec(document: Path) -> Spec:
    """The document, or the end of the command with what is wrong with it."""
    try:
        return read_document(document)
    except DocumentUnreadable as error:
        raise click.UsageError(str(error)) from error
    except DocumentRejected as rejected:
        raise click.ClickException(f"The document cannot be used yet:\n{rejected}") from rejected


def weights_in(spec: Spec, only: Sequence[str]) -> Iterator[WeightsNamed]:
    """The weights of all models and adapters, or of those named."""
    names = names_of(spec)
    for name in only:
        if name not in names:
            raise suggest("model", name, names)
    for one in weights_named(spec):
        if not only or one.name in only:
            yield one


def title_of(one: WeightsNamed) -> str:
    """How a model is called in what is said of its weights, and the part of it, if it is one."""
    return f"{one.name} ({one.part})" if one.part else one.name


def means_of(spec: Spec, document: Path) -> Means:
    """How weights are fetched."""
    return Means(spec.weights, secret=lambda text: secret_of(text, document))


def cache_of(data: Path, spec: Spec) -> Cache:
    """The weights in a data folder."""
    return Cache(data / "weights", spec.weights.cache)


@contextmanager
def progress_of(name: str) -> Iterator[Step]:
    """A bar on a terminal, nothing elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda _what, _share: None
        return
    words = (TextColumn("{task.fields[name]}"), TextColumn("{task.description}"))
    parts = (*words, BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*parts, console=console, transient=True) as bar:
        task = bar.add_task("", total=1.0, name=name)
        yield lambda what, share: bar.update(task, description=what, completed=share)
