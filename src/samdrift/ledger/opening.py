"""Opening a database: which one, how careful, and whether its tables are those this program knows.

SQLite runs in WAL mode with `synchronous=FULL`. Usage could bear NORMAL, since the gateway's journal holds it
until the journal's mark has passed it; but then the mark must not be more durable than the rows it vouches
for, and keys have no second copy at all. FULL costs one fsync per batch of rows, off the event loop, and
nothing per request.
"""

from __future__ import annotations

import io
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event, inspect, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from samdrift.ledger.schema import HEAD
from samdrift.ledger.troubles import LedgerUnavailable, speaking

MIGRATIONS = Path(__file__).parent / "migrations"
_MIGRATING = 0x5A_4D_44_52_49_46_54  # "ZMDRIFT": the advisory lock of Samdrift's migrations on PostgreSQL
_AGAIN = 0.01  # seconds
_WRITE = "write sqlite:///PATH or postgresql://HOST/DATABASE"
_DIALECTS = {"postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg", "sqlite": "sqlite"}


def parse_url(url: str) -> URL:
    """A ledger's address, with the driver filled in.

    Known are `sqlite:///PATH`, `postgresql://…` and its older spelling `postgres://…`. Raises ValueError
    with a sentence that holds no password.
    """
    try:
        parsed = make_url(url)
    except ArgumentError:  # its message would repeat the URL, password and all
        raise ValueError(f"this is no database URL; {_WRITE}") from None
    driver = _DIALECTS.get(parsed.drivername, parsed.drivername)
    if driver not in _DIALECTS.values():
        raise ValueError(f"a ledger cannot be kept in {parsed.drivername}; {_WRITE}")
    if driver == "sqlite" and parsed.database in {None, "", ":memory:"}:
        raise ValueError("a ledger in memory would forget its keys; write sqlite:///PATH")
    return parsed.set(drivername=driver)


def open_engine(url: str, patience: float) -> Engine:
    """An engine whose tables are those of this program. `patience` is how many seconds to wait for a lock.

    Transactions of engines and connections with the execution option `writes` take SQLite's write lock when
    they begin, so that none fails half-way for having read first. Raises ValueError and LedgerUnavailable.
    """
    parsed = parse_url(url)
    engine = _sqlite(parsed, patience) if parsed.drivername == "sqlite" else _postgresql(parsed, patience)
    try:
        with speaking(f"open the ledger at {parsed.render_as_string(hide_password=True)}"):
            _migrate(engine, patience)
    except BaseException:
        engine.dispose()
        raise
    return engine


def _sqlite(url: URL, patience: float) -> Engine:
    path = Path(url.database or "")
    with speaking(f"open the ledger at {path}"):
        # SQLite would make the file with the umask's mode; -wal and -shm get the mode of the file.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            if os.fstat(descriptor).st_uid == os.geteuid():
                os.fchmod(descriptor, 0o600)
        finally:
            os.close(descriptor)
    engine = create_engine(
        url, hide_parameters=True, connect_args={"timeout": patience}, pool_timeout=patience
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _record: object) -> None:
        connection.isolation_level = None  # the driver must not begin transactions of its own
        _write_ahead(connection, patience)
        connection.execute("PRAGMA synchronous=FULL").close()
        connection.execute("PRAGMA secure_delete=ON").close()  # what is forgotten is overwritten (`ledger.retention`)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        writes = connection.get_execution_options().get("writes", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _write_ahead(connection: sqlite3.Connection, patience: float) -> None:
    """Change to WAL mode. SQLite refuses that at once, whatever its timeout is, while another connection makes the same new
    database. Raises sqlite3.OperationalError after so many seconds."""
    end = time.monotonic() + patience
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").close()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > end:
                raise
            time.sleep(_AGAIN)
        else:
            return


def _postgresql(url: URL, patience: float) -> Engine:
    connect: dict[str, Any] = {
        "connect_timeout": max(2, round(patience)),
        "keepalives_idle": 10,
        "keepalives_interval": 5,
        "keepalives_count": 3,
        "tcp_user_timeout": 20_000,
    }
    for name in url.query:
        connect.pop(name, None)
    engine = create_engine(
        url, hide_parameters=True, pool_pre_ping=True, pool_timeout=patience, connect_args=connect
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: Any, _record: object) -> None:
        # A server that answers nothing must not hold a thread for ever.
        with connection.cursor() as cursor:
            cursor.execute(f"SET lock_timeout = {round(patience * 1000)}")
            cursor.execute(f"SET statement_timeout = {round(patience * 6000)}")
        connection.commit()

    return engine


def _migrate(engine: Engine, patience: float) -> None:
    with engine.connect() as connection:
        if _revision(connection) == HEAD:
            return
    with engine.execution_options(writes=True).begin() as connection:
        if connection.dialect.name == "postgresql":  # SQLite's write lock is held already
            connection.execute(text(f"SET LOCAL lock_timeout = {round(patience * 12_000)}"))
            connection.execute(text("SET LOCAL statement_timeout = 0"))
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _MIGRATING})
        migrate(connection, "head")


def migrate(connection: Connection, revision: str) -> None:
    """Bring the tables of this connection's database up to `revision`, inside its transaction.

    Raises LedgerUnavailable where a newer program has been here.
    """
    from alembic import command  # slow to import, and almost never needed
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config(stdout=io.StringIO())
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, revision)
    except CommandError as error:
        found = _revision(connection)
        raise LedgerUnavailable(
            f"the ledger's tables are at revision {found}, which this Samdrift does not know "
            f"(it knows {HEAD}); run the Samdrift that wrote them, or a newer one"
        ) from error


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found
