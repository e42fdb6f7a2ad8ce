"""`samdrift members`: the organisations of the community that runs, and what each is due."""

from __future__ import annotations

import json

import click

from samdrift.cli.administering import Administering, server_options
from samdrift.cli.data_folder import columns


@click.command("members")
@click.argument("organisation", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print it as JSON.")
@server_options
def members_command(organisation: str | None, as_json: bool, api: Administering) -> None:
    """List the organisations that you may see, or the projects of ORGANISATION.

    \b
    Examples:
      samdrift members
      samdrift members aarhus
      samdrift members --server https://ai.example.dk --json | jq '.[].share'
    """
    rows = list(api.pages("members") if organisation is None else api.pages("members", organisation, "projects"))
    if as_json:
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
    elif organisation is None:
        table = [("ORGANISATION", "NAME", "WEIGHT", "SHARE", "PROJECTS", "MODELS")]
        table += [
            (r["organisation"], r["name"], f"{r['weight']:g}", f"{r['share']:.1%}", str(r["projects"]), ", ".join(r["models"]))
            for r in rows
        ]
        click.echo("\n".join(columns(table, right=(2, 3, 4))))
    else:
        table4 = [("PROJECT", "NAME", "WEIGHT", "PRIORITY")]
        table4 += [(r["project"], r["name"], f"{r['weight']:g}", r["priority"]) for r in rows]
        click.echo("\n".join(columns(table4, right=(2,))))
