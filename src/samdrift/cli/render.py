"""`samdrift render`: the document as manifests for a cluster."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from samdrift import __version__
from samdrift.cli.check_kubernetes import applied_at
from samdrift.cluster.comparing import differences
from samdrift.cluster.foreign import Unreadable
from samdrift.cluster.manifests import Manifest, text_of
from samdrift.cluster.rendering import files_of, manifests_of, why_not
from samdrift.engines.repertoire import DRIVERS
from samdrift.gateway.listener import read_body
from samdrift.reading import DocumentRejected, DocumentUnreadable, folder_of, read_document

_MARK = "kustomization.yaml"


@click.group("render")
def render_group() -> None:
    """The same document, for another place to run in."""


@render_group.command("kubernetes")
@click.argument("document", type=click.Path(path_type=Path))
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    help="Write the files into this folder, and take out what an earlier rendering left there. Default: print everything.",
)
@click.option(
    "--diff",
    "applied",
    type=click.Path(path_type=Path),
    help="Write nothing; say what would change against these manifests "
    "(a folder, a file, or - for standard input). Exit code 1 if anything would.",
)
def kubernetes_command(document: Path, output: Path | None, applied: Path | None) -> None:
    """Manifests of a cluster from DOCUMENT: Gateway API, Envoy Gateway and Envoy AI Gateway, Kueue, KServe, CloudNativePG, the
    Prometheus operator, and Samdrift itself.

    The same document gives the same bytes. Each object stands under a comment that says which part of the document made it.

    \b
    Examples:
      samdrift render kubernetes community.yaml -o manifests
      kubectl apply --server-side -k manifests
      kubectl get -k manifests -o yaml | samdrift render kubernetes community.yaml --diff -
    """
    try:
        spec = read_document(document)
    except DocumentUnreadable as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except DocumentRejected as rejected:
        click.echo("\n".join(map(str, rejected.findings)), err=True)
        sys.exit(1)
    texts = _texts(document)
    if finding := why_not(spec, texts):
        click.echo(str(finding), err=True)
        sys.exit(1)
    reserved = frozenset[str]().union(*(driver.reserved for driver in DRIVERS.values()))
    manifests = manifests_of(spec, __version__, read_body(reserved), texts)
    if applied is not None:
        _diff(applied, manifests)
    elif output is None:
        click.echo(text_of(manifests), nl=False)
    else:
        _write(output, files_of(manifests))
        click.echo(f"{len(manifests)} objects in {output}. Next: kubectl apply --server-side -k {output}", err=True)


def _texts(document: Path) -> dict[str, str]:
    """The document's files as they are written, by names that a ConfigMap bears."""
    if document.is_file():
        return {"community.yaml": document.read_text("utf-8-sig")}
    files = sorted(p for p in document.rglob("*") if p.suffix in (".yaml", ".yml"))
    base = folder_of(document)
    return {str(f.absolute().relative_to(base)).replace("/", "."): f.read_text("utf-8-sig") for f in files}


def _diff(applied: Path, manifests: tuple[Manifest, ...]) -> None:
    try:
        found = differences(applied_at(applied), manifests)
    except (Unreadable, OSError) as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    click.echo("\n".join(map(str, found)) if found else "Nothing would change.")
    sys.exit(1 if found else 0)


def _write(output: Path, files: dict[str, str]) -> None:
    """Into a folder that is empty, new, or ours; nothing of somebody else's is taken out."""
    if output.is_dir() and any(output.iterdir()) and not (output / _MARK).is_file():
        click.echo(f"{output} holds other things than a rendering. Choose another folder, or empty it.", err=True)
        sys.exit(2)
    for name, text in files.items():
        file = output / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, "utf-8")
    for old in output.glob("**/*.yaml"):
        if str(old.relative_to(output)) not in files and old.read_text("utf-8").startswith("---\n# "):
            old.unlink()
