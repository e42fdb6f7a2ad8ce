"""`samdrift tokens`: administrative tokens, for programs that administer."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import click

from samdrift.access.roles import OVER_ALL, Role
from samdrift.cli.administering import Administering, server_options
from samdrift.cli.data_folder import columns
from samdrift.cli.telling import tell_json, tell_secret
from samdrift.spec.units import parse_duration


@click.group("tokens")
def tokens_group() -> None:
    """Administrative tokens: by which programs administer, with the roles that each was given. They open no model.

    \b
    Examples:
      samdrift tokens create --role finance:aarhus --name statements --expires 365d
      samdrift tokens list
      samdrift tokens revoke 0kXv3QmZp1a
    """


def _roles(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> list[dict[str, str | None]]:
    roles: list[dict[str, str | None]] = []
    for text in given:
        role, _, organisation = text.partition(":")
        if role not in set(Role):
            raise click.BadParameter(f"there is no role {role!r}; the roles are {', '.join(Role)}")
        if (Role(role) in OVER_ALL) == bool(organisation):
            raise click.BadParameter(f"write {role}" if organisation else f"write {role}:ORGANISATION")
        roles.append({"role": role, "organisation": organisation or None})
    return roles


def _expiry(_context: click.Context, _parameter: click.Parameter, given: str | None) -> str | None:
    if given is None:
        return None
    try:
        return datetime.fromtimestamp(datetime.now(UTC).timestamp() + parse_duration(given), UTC).isoformat()
    except (ValueError, OverflowError) as error:
        raise click.BadParameter(str(error)) from error


@tokens_group.command("create")
@click.option("--role", "roles", multiple=True, required=True, callback=_roles, metavar="ROLE[:ORG]",
    help="operator, auditor, administrator:ORG, developer:ORG, finance:ORG or viewer:ORG; may be given again.")  # fmt: skip
@click.option("--name", default="", help="What people call it: which program has it.")
@click.option("--expires", metavar="TIME", callback=_expiry, help="After how long it ends, such as 365d; default: never.")
@click.option("--json", "as_json", is_flag=True, help="Print the token and its facts as JSON.")
@server_options
def create_command(
    roles: list[dict[str, str | None]], name: str, expires: str | None, as_json: bool, api: Administering
) -> None:
    """Make a token and print it, this once. Nobody gives it a role that reaches farther than his own.

    \b
    Examples:
      samdrift tokens create --role operator --name deployment --expires 90d
      export SAMDRIFT_TOKEN=$(samdrift tokens create --role viewer:aarhus)
    """
    made = api.send("POST", "tokens", body={"roles": roles, "name": name, "expires_at": expires}).body
    if as_json:
        tell_json(made)
        return
    tell_secret(f"Token {made['token']['token_id']}, {_held(made['token'])}:", made["secret"])


@tokens_group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print the tokens as JSON.")
@server_options
def list_command(as_json: bool, api: Administering) -> None:
    """List the tokens that you may see. Their secrets are not stored, so they are not shown.

    \b
    Examples:
      samdrift tokens list
      samdrift tokens list --json | jq '.[] | select(.state == "active") | .token_id'
    """
    rows = list(api.pages("tokens"))
    if as_json:
        tell_json(rows)
        return
    table = [("TOKEN", "ROLES", "MADE", "BY", "EXPIRES", "STATE", "NAME")]
    table += [(r["token_id"], _held(r), r["created_at"][:10], r["created_by"], (r["expires_at"] or "never")[:10], r["state"],
        r["name"]) for r in rows]  # fmt: skip
    click.echo("\n".join(columns(table)))


@tokens_group.command("revoke")
@click.argument("token_id")
@server_options
def revoke_command(token_id: str, api: Administering) -> None:
    """Revoke the token TOKEN_ID, at once and for ever.

    \b
    Examples:
      samdrift tokens revoke 0kXv3QmZp1a
    """
    found = api.send("DELETE", "tokens", token_id).body
    click.echo(f"Token {found['token_id']} is revoked, since {found['revoked_at'][:19].replace('T', ' ')} UTC.")


def _held(token: dict[str, Any]) -> str:
    return ", ".join(one["role"] + (f":{one['organisation']}" if one["organisation"] else "") for one in token["roles"])
