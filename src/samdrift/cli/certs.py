"""`samdrift certs`: certificates for a test community, so that mutual TLS can be tried without an authority of one's own."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import click
from cryptography import x509

from samdrift.cli.authority import general_name, issue, make_authority, revoke

_FOLDER = click.Path(path_type=Path, file_okay=False)
_NAME = re.compile(r"[a-z0-9]([a-z0-9._-]{0,60}[a-z0-9])?")
_DAYS = click.IntRange(1, 3650)


@click.group("certs")
def certs_group() -> None:
    """Certificates for a test community: an authority, the server's, the members'.

    They are for trying mutual TLS out. The authority's key lies unprotected in the folder; for real members, name the authority
    that they have already in `gateway.tls.client_ca`.

    \b
    Examples:
      samdrift certs authority tls
      samdrift certs server tls --host localhost --host 127.0.0.1
      samdrift certs member tls aarhus --san URI:spiffe://aarhus.dk/ai
      samdrift certs revoke tls aarhus
    """


@certs_group.command("authority")
@click.argument("folder", type=_FOLDER)
@click.option("--name", default="Samdrift test authority", show_default=True, help="What it calls itself.")
@click.option("--days", type=_DAYS, default=365, show_default=True, help="How long it lasts.")
def authority_command(folder: Path, name: str, days: int) -> None:
    """Make an authority in FOLDER: `ca.crt`, `ca.key`, and `revoked.pem`, in which nothing is revoked yet.

    \b
    Examples:
      samdrift certs authority tls
    """
    with _speaking(folder):
        make_authority(folder, name, _now(), days)
    click.echo(f"Made an authority in {folder}. In the document, beside `certificate` and `key` of `gateway.tls`:", err=True)
    click.echo(f"client_ca: {folder}/ca.crt\ncrl: {folder}/revoked.pem")


@certs_group.command("server")
@click.argument("folder", type=_FOLDER)
@click.option("--host", "hosts", multiple=True, default=("localhost", "127.0.0.1"), show_default=True,
    help="A name or address that clients reach it by; may be given again.")  # fmt: skip
@click.option("--days", type=_DAYS, default=90, show_default=True, help="How long it is good.")
def server_command(folder: Path, hosts: tuple[str, ...], days: int) -> None:
    """Make the gateway's own certificate, `server.crt` and `server.key`.

    \b
    Examples:
      samdrift certs server tls
      samdrift certs server tls --host ai.test --host 192.0.2.10
    """
    with _speaking(folder):
        names = [general_name(f"{'IP' if _is_address(host) else 'DNS'}:{host}") for host in hosts]
        issue(folder, "server", hosts[0], names, _now(), days, server=True)
    click.echo(f"Made {folder}/server.crt and server.key. Clients trust it by {folder}/ca.crt.", err=True)
    click.echo(f"certificate: {folder}/server.crt\nkey: {folder}/server.key")


@certs_group.command("member")
@click.argument("folder", type=_FOLDER)
@click.argument("name")
@click.option("--san", "sans", multiple=True, required=True, help="Who it is: URI:…, DNS:… or EMAIL:…; may be given again.")
@click.option("--days", type=_DAYS, default=90, show_default=True, help="How long it is good.")
def member_command(folder: Path, name: str, sans: tuple[str, ...], days: int) -> None:
    """Make a member's certificate, `NAME.crt` and `NAME.key`.

    \b
    Examples:
      samdrift certs member tls aarhus --san URI:spiffe://aarhus.dk/ai
      curl --cacert tls/ca.crt --cert tls/aarhus.crt --key tls/aarhus.key https://localhost:8443/v1/models
    """
    if not _fits(name) or name in ("ca", "server"):
        raise click.BadParameter("use small letters, digits, `.`, `_` and `-`, and neither `ca` nor `server`", param_hint="NAME")
    with _speaking(folder):
        issue(folder, name, name, [general_name(san) for san in sans], _now(), days, server=False)
    click.echo(f"Made {folder}/{name}.crt and {name}.key. In the document, under the organisation:", err=True)
    click.echo("identity:")
    for san in sans:
        click.echo(f'  - mtls: {{san: "{san}"}}')


@certs_group.command("revoke")
@click.argument("folder", type=_FOLDER)
@click.argument("name")
def revoke_command(folder: Path, name: str) -> None:
    """Revoke the certificate NAME.crt: it stands in `revoked.pem` from now on.

    A running Samdrift whose document names that list refuses it within seconds, also on connections that are open.

    \b
    Examples:
      samdrift certs revoke tls aarhus
    """
    if not _fits(name):
        raise click.BadParameter("this is no name of a certificate", param_hint="NAME")
    with _speaking(folder):
        certificate = x509.load_pem_x509_certificate((folder / f"{name}.crt").read_bytes())
        done = revoke(folder, certificate, _now())
    click.echo(f"Revoked {name}." if done else f"{name} had been revoked already. Nothing was changed.")


@contextmanager
def _speaking(folder: Path) -> Iterator[None]:
    """What may go wrong with files and names, in sentences."""
    try:
        yield
    except FileExistsError as error:
        raise click.ClickException(f"{error.filename or error.args[0]} is there already. Nothing was changed.") from error
    except FileNotFoundError as error:
        raise click.ClickException(
            f"There is no {error.filename}. `samdrift certs authority {folder}` makes an authority, "
            "`samdrift certs member` a certificate."
        ) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or folder}: {error.strerror}.") from error
    except ValueError as error:
        raise click.UsageError(f"{error}.") from error


def _fits(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


def _is_address(host: str) -> bool:
    return host.replace(".", "").isdigit() or ":" in host


def _now() -> datetime:
    return datetime.now(UTC)
