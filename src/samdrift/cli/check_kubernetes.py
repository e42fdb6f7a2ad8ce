"""`samdrift check`: a document, or manifests of a cluster."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from pathlib import Path

import click

from samdrift.cli.check import check_command
from samdrift.cluster.foreign import Objects, Unreadable, read
from samdrift.cluster.traps import traps_in

MOST_BYTES = 64 * 2**20
"""Bytes of all files of a folder."""


class _DocumentUnlessSaid(click.Group):
    """`samdrift check X` is `samdrift check document X`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["document", *args]
        return super().parse_args(ctx, args)


@click.group("check", cls=_DocumentUnlessSaid, subcommand_metavar="DOCUMENT | kubernetes DIR")
def check_group() -> None:
    """Say everything that is wrong with a document, or what in manifests silently does nothing.

    \b
    Examples:
      samdrift check community.yaml
      samdrift check kubernetes manifests/
      samdrift check ./kubernetes          # a document in a folder of that name
    """


@click.command("kubernetes")
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
def kubernetes_command(folder: Path, as_json: bool) -> None:
    """What in the manifests in DIR (a folder, a file, or - for standard input) silently does nothing.

    It reads what was rendered here and what others wrote alike, and looks for traps of Envoy Gateway, Envoy AI Gateway, Kueue and
    KServe that an API server accepts without a word. Exit code 0 if there is none, 1 if there is, 2 if it cannot be read.

    \b
    Examples:
      samdrift check kubernetes manifests/
      kubectl get gateways,securitypolicies,clusterqueues -A -o yaml | samdrift check kubernetes -
    """
    try:
        objects = read(texts_at(folder))
    except (Unreadable, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    found = traps_in(objects)
    if as_json:
        click.echo(
            json.dumps({"objects": len(objects.all), "traps": [asdict(one) for one in found]}, ensure_ascii=False, indent=2)
        )
    elif found:
        click.echo("\n".join(map(str, found)))
    else:
        click.echo(f"{len(objects.all)} objects: nothing in them that silently does nothing.")
    sys.exit(1 if found else 0)


def texts_at(path: Path) -> dict[str, str]:
    """The YAML files at a path, by name; `-` is standard input. Raises OSError, or Unreadable with a sentence."""
    if str(path) == "-":
        return {"standard input": sys.stdin.read(MOST_BYTES)}
    if not path.exists():
        raise Unreadable(f"There is nothing at {path}.")
    files = [path] if path.is_file() else sorted(f for f in path.rglob("*") if f.suffix in (".yaml", ".yml") and f.is_file())
    if not files:
        raise Unreadable(f"There is no *.yaml file in {path}.")
    if sum(file.stat().st_size for file in files) > MOST_BYTES:
        raise Unreadable(f"The files in {path} are larger than {MOST_BYTES // 2**20} MiB in all. Is it the right folder?")
    try:
        return {str(file.relative_to(path)) if path.is_dir() else file.name: file.read_text("utf-8") for file in files}
    except UnicodeDecodeError as error:
        raise Unreadable(f"A file in {path} is not UTF-8 text.") from error


check_group.add_command(check_command, "document")
check_group.add_command(kubernetes_command)


def applied_at(path: Path) -> Objects:
    """The objects at a path, for comparing. Raises as `texts_at`, and Unreadable."""
    return read(texts_at(path))
