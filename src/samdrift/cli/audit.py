"""`samdrift audit`: what was done here and what was refused; and whether anybody has been at the trail."""

from __future__ import annotations

import dataclasses
import json
import re
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import click

from samdrift.access.chain import Verdict, verify
from samdrift.access.exporting import Export, Head, NoExport, lines, read
from samdrift.access.roles import LOCAL
from samdrift.cli import remote_audit
from samdrift.cli.administering import Administering, remote_options
from samdrift.cli.data_folder import DataFolder, columns, folder_options
from samdrift.cli.remote_audit import printable
from samdrift.ledger.audit import Noted, Wanted
from samdrift.runtime.administration import system_user
from samdrift.runtime.auditing import KeyUnreadable, Seals
from samdrift.runtime.clock import wall
from samdrift.spec.events import AuditEvent
from samdrift.spec.units import parse_duration

_DATE = re.compile(r"\d{4}-\d{2}-\d{2}.*")


@click.group("audit")
def audit_group() -> None:
    """The audit trail: every change and every refused attempt, in a chain that shows whoever tampers with it.

    \b
    Examples:
      samdrift audit list --organisation aarhus --since 30d
      samdrift audit export -o audit.jsonl
      samdrift audit verify
      samdrift audit verify audit.jsonl --key 9f2c…
      samdrift audit list --server https://ai.example.dk
    """


def _time(_context: click.Context, _parameter: click.Parameter, given: str | None) -> float | None:
    if given is None:
        return None
    try:
        if _DATE.fullmatch(given):
            at = datetime.fromisoformat(given)
            return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
        return datetime.now(UTC).timestamp() - parse_duration(given)
    except ValueError as error:
        raise click.BadParameter("write how long ago, such as 24h or 30d, or a date such as 2026-01-31") from error


def _keys(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> tuple[bytes, ...]:
    try:
        made = tuple(bytes.fromhex(text) for text in given)
    except ValueError as error:
        raise click.BadParameter("write the 64 hexadecimal digits that `samdrift audit key` prints") from error
    if any(len(key) != 32 for key in made):
        raise click.BadParameter("a public key has 64 hexadecimal digits; `samdrift audit key` prints it")
    return made


_whose = click.option("--organisation", metavar="ORG",
    help="With --server: only what concerns this organisation; for tokens that reach no farther.")  # fmt: skip


@audit_group.command("list")
@click.option("--organisation", metavar="ORG", help="What concerns this organisation.")
@click.option("--actor", metavar="WHO", help="What this person, token or system user did.")
@click.option("--action", metavar="ACTION", help="Of this kind: keys.create, or keys.* for all that begin so.")
@click.option("--subject", metavar="WHAT", help="Done to this: key/0kXv3QmZp1a, document, …")
@click.option("--outcome", type=click.Choice(["done", "refused", "failed"]), help="Only what ended so; default: all.")
@click.option("--since", metavar="TIME", callback=_time, help="From how long ago (30d), or from which date (2026-01-31, in UTC).")
@click.option("--until", metavar="TIME", callback=_time, help="Up to then, likewise.")
@click.option("--limit", type=click.IntRange(1, 1_000), default=50, show_default=True, help="How many, the newest.")
@click.option("--json", "as_json", is_flag=True, help="Print the events as JSON.")
@remote_options
@folder_options
def list_command(
    organisation: str | None, actor: str | None, action: str | None, subject: str | None,
    outcome: Literal["done", "refused", "failed"] | None, since: float | None, until: float | None, limit: int, as_json: bool,
    data: Path, ledger: str | None, remote: Administering | None,
) -> None:  # fmt: skip
    """List events, the newest first.

    \b
    Examples:
      samdrift audit list
      samdrift audit list --outcome refused --since 24h
      samdrift audit list --action 'keys.*' --organisation aarhus --json
    """
    if remote is not None:
        asked = {"actor": actor, "action": action, "subject": subject, "outcome": outcome, "since": since, "until": until}
        remote_audit.listing(remote, asked, organisation, limit, as_json=as_json)
        return
    wanted = Wanted(organisation, actor, action, subject, outcome, since, until)
    with DataFolder(data, ledger).ledger() as opened:
        found = opened.audit.events(wanted, limit=limit)
    if as_json:
        click.echo(json.dumps([_row(noted) for noted in found], ensure_ascii=False, indent=2))
        return
    if not found:
        click.echo("Nothing of this kind was noted.", err=True)
        return
    table = [("NUMBER", "TIME (UTC)", "WHO", "ACTION", "OUTCOME", "SUBJECT", "ORGANISATION", "REASON")]
    for noted in found:
        e = noted.event
        who = f"{e.actor_kind}:{e.actor}" + (f" ({e.address})" if e.address else "")
        at = datetime.fromtimestamp(e.at, UTC).strftime("%Y-%m-%d %H:%M:%S")
        cells = (str(noted.seq), at, who, e.action, e.outcome, e.subject, e.organisation or "", e.reason)
        table.append(tuple(map(printable, cells)))  # type: ignore[arg-type]  # as many as the heading has
    shown = list(columns(table, right=(0,)))
    click.echo(click.style(shown[0], bold=True))
    for noted, line in zip(found, shown[1:], strict=True):
        click.echo(line if noted.event.outcome == "done" else click.style(line, fg="yellow"))


@audit_group.command("export")
@click.option("-o", "--output", type=click.File("wb"), default="-", help="Where to; default: the output.")
@click.option("--organisation", metavar="ORG",
    help="Show only what concerns this organisation; the rest is withheld, and the file verifies all the same.")  # fmt: skip
@remote_options
@folder_options
def export_command(
    output: Any, organisation: str | None, data: Path, ledger: str | None, remote: Administering | None
) -> None:
    """Write the whole trail as lines of JSON that can be verified anywhere.

    \b
    Examples:
      samdrift audit export -o audit.jsonl
      samdrift audit export --organisation aarhus -o aarhus.jsonl
    """
    if remote is not None:
        remote_audit.export(remote, organisation, output)
        return
    folder = DataFolder(data, ledger)
    document = folder.document()
    seals = Seals.of(data)
    with folder.ledger() as opened:
        head = Head("" if document is None else document.community.name, organisation, wall(), _own(seals))
        rows = 0
        for line in lines(head, opened.audit.checkpoints(), opened.audit.links(organisation=organisation)):
            output.write(line)
            rows += 1
    click.echo(f"{rows:,} lines written.", err=True)


@audit_group.command("verify")
@click.argument("file", required=False, type=click.File("rb"))
@_whose
@click.option("--key", "keys", metavar="HEX", multiple=True, callback=_keys,
    help="A public key that may have signed, besides those of the data folder.")  # fmt: skip
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@remote_options
@folder_options
def verify_command(
    file: Any | None, organisation: str | None, keys: tuple[bytes, ...], as_json: bool, data: Path, ledger: str | None,
    remote: Administering | None,
) -> None:  # fmt: skip
    """Say whether the trail, or the export FILE, is as it was written. Exit code 1 if it is not.

    Every row that was changed, removed, put in or put elsewhere is named. An export needs no ledger: give the public key that you
    got from whoever runs the service. The trail of a server is fetched and verified on this machine.

    \b
    Examples:
      samdrift audit verify
      samdrift audit verify aarhus.jsonl --key 9f2c…
      samdrift audit verify --server https://ai.example.dk --organisation aarhus --key 9f2c…
    """
    if organisation is not None and remote is None:
        raise click.UsageError("--organisation is for --server; a file says itself whose it is.")
    if remote is not None and file is not None:
        raise click.UsageError("Give a FILE or --server.")
    try:
        seals = Seals.of(data)
        if remote is not None:
            with remote_audit.exported(remote, organisation) as export:
                verdict = _examined(export, keys)
        elif file is None:
            with DataFolder(data, ledger).ledger() as opened:
                verdict = seals.examine(opened.audit, keys)
        else:
            verdict = _examined(read(file), (*keys, *seals.public_keys()))
    except KeyUnreadable as error:
        raise click.ClickException(f"{error}.") from error
    except NoExport as error:
        raise click.ClickException(f"This is no whole export: {error}.") from error
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(verdict), ensure_ascii=False, indent=2))
    else:
        _say(verdict)
    sys.exit(1 if verdict.findings else 0)


@audit_group.command("key")
@_whose
@remote_options
@folder_options
def key_command(
    organisation: str | None, data: Path, ledger: str | None, remote: Administering | None,  # noqa: ARG001 - all of this group take it
) -> None:  # fmt: skip
    """Print the public keys that sign here, the newest last. Keep them where whoever runs the service cannot change them.

    \b
    Examples:
      samdrift audit key
      samdrift audit key --server https://ai.example.dk
    """
    if organisation is not None and remote is None:
        raise click.UsageError("--organisation is for --server.")
    try:
        keys = _own(Seals.of(data)) if remote is None else remote_audit.keys(remote, organisation)
    except NoExport as error:
        raise click.ClickException(f"The server sent no whole export: {error}.") from error
    if not keys:
        raise click.ClickException(f"Nothing was signed in {data} yet. Samdrift makes its key when it first runs.")
    for key in keys:
        click.echo(key.hex())


@audit_group.command("accept")
@click.option("--reason", required=True, help="Why: it is noted in the trail.")
@folder_options
def accept_command(reason: str, data: Path, ledger: str | None) -> None:
    """Sign the trail as it is, although it is not what was signed before: after a backup of the ledger was restored.

    \b
    Example:
      samdrift audit accept --reason "restored the backup of 3 March after the disk failed"
    """
    seals = Seals.of(data)
    with DataFolder(data, ledger).ledger() as opened:
        try:
            before = seals.examine(opened.audit)
            found = {"findings": len(before.findings), "first": "" if not before.findings else before.findings[0].sentence}
            now = wall()
            made = seals.accept(opened.audit, AuditEvent(now, LOCAL, system_user(), "audit.accept", "audit", "done",
                reason=reason, before=found))  # fmt: skip
        except KeyUnreadable as error:
            raise click.ClickException(f"{error}.") from error
    click.echo(f"Signed up to row {0 if made is None else made.seq}.")


def _examined(export: Export, known: tuple[bytes, ...]) -> Verdict:
    if not known:
        known = export.head.keys
        click.echo("No key was given: the file is verified against the key that it names itself, which somebody who made "
            "it up would have named too. Give the right one with --key.", err=True)  # fmt: skip
    whose = export.head.organisation
    verdict = verify(export.links, export.checkpoints, known, partial=whose is not None)
    if whose is not None:
        click.echo(f"The file says it was made for {printable(str(whose))}: {verdict.stubs:,} rows say nothing, and may "
            "concern others or have been forgotten. Only a whole export can tell.", err=True)  # fmt: skip
    return verdict


def _own(seals: Seals) -> tuple[bytes, ...]:
    try:
        return seals.public_keys()
    except KeyUnreadable as error:
        raise click.ClickException(f"{error}.") from error


def _row(noted: Noted) -> dict[str, Any]:
    return {"number": noted.seq, **dataclasses.asdict(noted.event), "at": datetime.fromtimestamp(noted.event.at, UTC).isoformat()}


def _say(verdict: Verdict) -> None:
    for finding in verdict.findings:
        click.echo(click.style(f"✗ {finding.sentence}", fg="red"))
    rows = f"{verdict.rows:,} rows" + (f", {verdict.stubs:,} of them empty" if verdict.stubs else "")
    loose = verdict.last - verdict.sealed
    sealed = "all of them under a signature" if not loose else f"the newest {loose:,} not yet under a signature"
    click.echo(f"{rows}; {sealed} ({verdict.checkpoints:,} signatures).")
    if not verdict.findings:
        click.echo(click.style("✓ The trail is as it was written.", fg="green"))
