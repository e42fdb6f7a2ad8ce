"""`samdrift docs`: the pages of the reference that are made from the code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import click

from samdrift.api.v1.application import openapi_document
from samdrift.api.v1.reference import administration_reference
from samdrift.cli.pages import commands_reference, problems_reference
from samdrift.observe.catalogue import metrics_reference
from samdrift.spec.reference import document_reference
from samdrift.spec.schema import document_schema

PAGES: dict[str, Callable[[], str]] = {
    "administration.md": administration_reference,
    "commands.md": commands_reference,
    "document.md": document_reference,
    "document.schema.json": lambda: json.dumps(document_schema(), indent=2, ensure_ascii=False) + "\n",
    "metrics.md": metrics_reference,
    "openapi.json": lambda: json.dumps(openapi_document(), indent=1, ensure_ascii=False) + "\n",
    "problems.md": problems_reference,
}
"""By file name, in docs/reference."""


@click.command("docs")
@click.option("--to", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/reference"), show_default=True,
    help="The folder of the pages.")  # fmt: skip
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a page is not current.")
def docs_command(to: Path, check: bool) -> None:
    """Write the generated pages of the reference.

    \b
    Examples:
      samdrift docs
      samdrift docs --check
    """
    stale = []
    for name, page in PAGES.items():
        path, text = to / name, page()
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if not check:
            to.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    verb = "Not current" if check else "Written"
    click.echo(f"{verb}: {', '.join(stale)}." if stale else "All pages are current.")
    sys.exit(1 if check and stale else 0)
