"""`samdrift check` and `samdrift schema`: is this document right, and what may stand in one."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from samdrift.engines.fitting import misfits_of
from samdrift.fairshare.share import Due, dues, tree_of
from samdrift.reading import DocumentRejected, DocumentUnreadable, folder_of, read_document
from samdrift.spec.document import Device, Spec
from samdrift.spec.findings import Finding
from samdrift.spec.schema import document_schema
from samdrift.spec.size import shares_of, weight_of
from samdrift.spec.units import spell_count, spell_size


@click.command("check")
@click.argument("document", type=click.Path(path_type=Path))
@click.option("--json", "as_json", is_flag=True, help="Print the findings, or the summary, as JSON.")
def check_command(document: Path, as_json: bool) -> None:
    """Say everything that is wrong with DOCUMENT, a file or a folder of *.yaml files.

    Exit code 0 if it can be used, 1 if something was found, 2 if it cannot be read.

    \b
    Examples:
      samdrift check community.yaml
      samdrift check community/            # a folder is one document
      samdrift check community.yaml --json | jq -r '.findings[].path'
    """
    try:
        spec = _checked(document)
    except DocumentUnreadable as error:
        click.echo(str(error), err=True)
        sys.exit(2)
    except DocumentRejected as rejected:
        if as_json:
            _echo_json({"usable": False, "findings": [_row(f) for f in rejected.findings]})
        elif sys.stdout.isatty():
            _show_findings(rejected.findings)
        else:
            click.echo("".join(f"{finding}\n" for finding in rejected.findings), nl=False)
        sys.exit(1)
    if as_json:
        _echo_json({"usable": True, "findings": [], **summary_of(spec)})
    else:
        click.echo("\n".join(_summary_lines(spec)))


@click.command("schema")
def schema_command() -> None:
    """Print the JSON Schema of the document (draft 2020-12), for editors that check while one types.

    \b
    Examples:
      samdrift schema > samdrift.schema.json
      # then, as the first line of a document:
      # yaml-language-server: $schema=samdrift.schema.json
    """
    _echo_json(document_schema())


def _checked(document: Path) -> Spec:
    """The document, if it can be used, and its models could be loaded. Raises DocumentUnreadable or DocumentRejected."""
    spec = read_document(document)
    misfits = misfits_of(spec, base=folder_of(document))
    if misfits:
        raise DocumentRejected(misfits)
    return spec


def summary_of(spec: Spec) -> dict[str, Any]:
    """What a document says, in short, as plain values: who is due what, what runs where."""
    shares = shares_of(spec)
    return {
        "community": spec.community.name,
        "organisations": {
            name: {"name": o.name or name, "weight": weight_of(o), "share": round(shares[name], 6)}
            | {"projects": list(o.projects)}
            for name, o in spec.organisations.items()
        },
        "models": {
            name: {"task": m.task, "pool": m.pool, "replicas": m.replicas.max, "context": m.context}
            | {"seats": m.seats * m.replicas.max}
            for name, m in spec.models.items()
        },
        "dues": {
            model: {
                name: {"share": round(due.part, 6), "seats": round(due.seats, 3), "always": due.own, "most": due.most}
                | {"kept": due.kept}
                for name, due in dues(tree_of(spec), model, _seats(spec, model)).items()
            }
            for model in spec.models
        },
        "pools": {name: [d.model_dump(exclude_none=True) for d in pool.devices] for name, pool in spec.pools.items()},
    }


def _echo_json(value: object) -> None:
    click.echo(json.dumps(value, ensure_ascii=False, indent=2))


def _row(finding: Finding) -> dict[str, str]:
    return {
        "path": finding.place,
        "where": finding.where,
        "sentence": finding.sentence,
        "remedy": finding.remedy,
    }


def _show_findings(findings: Sequence[Finding]) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in findings:
        console.print(f"[bold]{escape(finding.place)}[/]  [dim]{escape(finding.where)}[/]")
        console.print(f"  [red]{escape(finding.sentence)}[/]")
        console.print(f"  {escape(finding.remedy)}\n")
    found = "1 finding" if len(findings) == 1 else f"{len(findings)} findings"
    console.print(f"[bold]{found}.[/] The document cannot be used yet.")


def _summary_lines(spec: Spec) -> Iterable[str]:
    shares = shares_of(spec)
    yield f"{spec.community.name}: the document is in order."
    yield "\nOrganisations, and what each is due when all want it at once"
    for name, organisation in spec.organisations.items():
        weight = f"{weight_of(organisation):g}"
        yield f"  {name:<24} weight {weight:>8}  {shares[name]:>6.1%}  {organisation.name}".rstrip()
    yield "\nModels"
    for name, model in spec.models.items():
        replicas = f"{model.replicas} replica" + ("s" if model.replicas.max > 1 else "")
        seats = f"{model.seats * model.replicas.max} seats ({replicas}), {model.context} tokens each"
        yield f"  {name:<24} {model.task:<8}  {seats}, pool {model.pool}"
    tree = tree_of(spec)
    for title in spec.models:
        whole = _seats(spec, title)
        yield f"\n{title}, of {whole} seats: what each is due when all want it, and may use when others do not"
        for name, due in dues(tree, title, whole).items():
            yield f"  {name:<24} {due.part:>6.1%}  due {due.seats:>6.2f}  {_most(due, whole)}{_kept(due)}"
    yield "\nPools"
    for name, pool in spec.pools.items():
        yield f"  {name:<24} " + ", ".join(map(_device, pool.devices))


def _seats(spec: Spec, model: str) -> int:
    return spec.models[model].seats * spec.models[model].replicas.max


def _most(due: Due, seats: int) -> str:
    return "may use all" if due.most is None or due.most >= seats else f"may use {due.most}"


def _kept(due: Due) -> str:
    return f", keeps {due.kept} for itself" if due.kept else ""


def _device(device: Device) -> str:
    memory = f" with {spell_size(device.memory)}" if device.memory else ""
    return f"{spell_count(device.count)} × {device.kind}{memory}"
