"""`samdrift keys refuse`, `refused`, `accept`: tokens (JWT) of issuers that an organisation does not take."""

from __future__ import annotations

import base64
import binascii
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, Any

import click
from pydantic import ValidationError

from samdrift.access.refused_tokens import LONGEST
from samdrift.api.v1.refused_tokens import RefusalWanted
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, folder_options, me, suggest
from samdrift.cli.telling import tell_json, tell_table
from samdrift.runtime.refusing import Refusing, shown
from samdrift.spec.units import parse_duration

Json = dict[str, Any]
_MARGIN = 3_600.0  # seconds that an issuer's clock and ours are taken to differ at most


def _lasts(_context: click.Context, _parameter: click.Parameter, given: str) -> float:
    try:
        seconds = parse_duration(given)
    except ValueError as error:
        raise click.BadParameter(str(error)) from error
    if not 0 < seconds <= LONGEST:
        raise click.BadParameter(f"some time, and at most {LONGEST // 86_400:.0f}d")
    return seconds


@click.command("refuse")
@click.argument("organisation")
@click.option("--token-id", metavar="JTI", help="The token with this id (`jti`).")
@click.option("--jwt", "token", type=click.File("r"), metavar="FILE",
    help="The token in this file, or - for the input: its id is read from it, and until when it is good.")  # fmt: skip
@click.option("--user", help="Tokens of this user, as the issuer's claim names them, that were issued up to now.")
@click.option("--later-ones", is_flag=True, help="With --user: also tokens that are issued from now on.")
@click.option("--lasts", metavar="TIME", default="30d", show_default=True, callback=_lasts,
    help="For how long. It must be longer than the tokens live: then they would be good again.")  # fmt: skip
@click.option("--reason", required=True, help="Why: it is noted in the audit trail.")
@click.option("--json", "as_json", is_flag=True, help="Print the refusal as JSON.")
@remote_options
@folder_options
def refuse_command(
    organisation: str, token_id: str | None, token: IO[str] | None, user: str | None, later_ones: bool, lasts: float, reason: str,
    as_json: bool, data: Path, ledger: str | None, remote: Administering | None,
) -> None:  # fmt: skip
    """Refuse tokens (JWT) that speak for ORGANISATION, although their issuer vouches for them. A running Samdrift follows within
    a second, also for their requests that wait.

    One token is named by its id or given as a file; somebody's tokens by --user. New tokens of that user are good again half a
    minute later (the issuer's `skew`), unless --later-ones.

    \b
    Examples:
      samdrift keys refuse aarhus --jwt leaked.jwt --reason "it stood in a log"
      samdrift keys refuse aarhus --token-id b3f1c6e2-9d0a --reason "it stood in a log"
      samdrift keys refuse aarhus --user anna@aarhus.dk --later-ones --lasts 90d --reason "she has left"
    """
    if sum(one is not None for one in (token_id, token, user)) != 1:
        raise click.UsageError("Say which: one of --token-id, --jwt and --user.")
    now = datetime.now(UTC).timestamp()
    until = now + lasts
    if token is not None:
        token_id, expires = _read(token.read(16_384))
        until = max(until, min(expires + _MARGIN, now + LONGEST))
    try:
        wanted = RefusalWanted(token_id=token_id, user=user, later_ones=later_ones, reason=reason,
            until=datetime.fromtimestamp(until, UTC))  # fmt: skip
    except ValidationError as error:
        said = error.errors()[0]
        where = ".".join(str(part) for part in said["loc"])
        raise click.UsageError(f"{where + ': ' if where else ''}{said['msg'].removeprefix('Value error, ')}.") from error
    if remote is not None:
        made: Json = remote.send("POST", "members", organisation, "refused-tokens", body=wanted.model_dump(mode="json")).body
    else:
        folder = DataFolder(data, ledger)
        document = folder.document()
        if document is not None and organisation not in document.organisations:
            raise suggest("organisation", organisation, document.organisations)
        with folder.ledger() as opened:
            try:
                made = shown(Refusing(opened, data).refuse(me(), organisation, wanted)).model_dump(mode="json")
            except (OSError, ValueError) as error:
                raise click.ClickException(f"{error}.") from error
    if as_json:
        tell_json(made)
        return
    click.echo(f"{organisation} refuses {_what(made)}, until {_minute(made['until'])}. A running Samdrift follows within a "
        f"second. `samdrift keys accept {organisation} {made['id']}` takes it back.")  # fmt: skip


@click.command("refused")
@click.argument("organisation")
@click.option("--json", "as_json", is_flag=True, help="Print the refusals as JSON.")
@remote_options
@folder_options
def refused_command(organisation: str, as_json: bool, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """List the tokens that ORGANISATION refuses now. Users are not named: only a hash of them is kept.

    \b
    Example:
      samdrift keys refused aarhus
    """
    if remote is not None:
        rows = list(remote.pages("members", organisation, "refused-tokens", limit=200))
    else:
        with DataFolder(data, ledger).ledger() as opened:
            found = opened.refused_tokens.in_force(datetime.now(UTC).timestamp(), organisation)
        rows = [shown(one).model_dump(mode="json") for one in found]
    if as_json:
        tell_json(rows)
        return
    if not rows:
        click.echo(f"{organisation} refuses no tokens.", err=True)
        return
    table = [("ID", "WHAT", "SINCE", "UNTIL", "REASON")]
    table += [(r["id"], _what(r), _minute(r["created_at"]), _minute(r["until"]), r["reason"]) for r in rows]
    tell_table(table)


@click.command("accept")
@click.argument("organisation")
@click.argument("refusal")
@remote_options
@folder_options
def accept_command(organisation: str, refusal: str, data: Path, ledger: str | None, remote: Administering | None) -> None:
    """Take the REFUSAL of ORGANISATION back: whatever it concerned is good again, if it is good otherwise.

    \b
    Example:
      samdrift keys accept aarhus r4f2a91c07be3d815
    """
    if remote is not None:
        made: Json = remote.send("DELETE", "members", organisation, "refused-tokens", refusal).body
    else:
        with DataFolder(data, ledger).ledger() as opened:
            found = Refusing(opened, data).accept(me(), organisation, refusal)
        if found is None:
            raise click.ClickException(f"{organisation} has no such refusal in force. `samdrift keys refused {organisation}` "
                "shows those that it has.")  # fmt: skip
        made = shown(found).model_dump(mode="json")
    click.echo(f"{organisation} no longer refuses {_what(made)}.")


def _read(text: str) -> tuple[str, float]:
    """The id of a token and until when it is good. Its signature does not matter: it is to be refused."""
    pieces = text.split(".")
    try:
        claims = json.loads(base64.urlsafe_b64decode(pieces[1].strip() + "=" * (-len(pieces[1].strip()) % 4)))
        token_id, expires = claims.get("jti"), claims.get("exp")
    except (IndexError, ValueError, binascii.Error, AttributeError) as error:
        raise click.UsageError("--jwt: this is no signed token (JWT): it has three parts with dots between.") from error
    if not isinstance(token_id, str) or not token_id:
        raise click.UsageError("--jwt: it has no id (`jti`), so it cannot be told from others. Refuse its user's with --user: "
            "new ones are good again in half a minute.")  # fmt: skip
    return token_id, float(expires) if isinstance(expires, int | float) else 0.0


def _what(refusal: Json) -> str:
    if refusal["by"] == "token":
        return f"the token {_printable(refusal['token_id'])}"
    before = refusal["issued_before"]
    return f"tokens of the user {refusal['user_hash']}" + ("" if before is None else f" issued before {_minute(before)}")


def _printable(text: str) -> str:
    return text if len(text) <= 60 else text[:59] + "…"


def _minute(at: str) -> str:
    return f"{at[:16].replace('T', ' ')} UTC"
