"""A lease on being the active desk: an advisory lock of PostgreSQL, held by a session of its own.

The server gives the lock to one session and takes it back when that session ends: at once where its process is killed, since the
kernel closes the connection; and after `SILENCE` seconds without a word (`idle_session_timeout`), whatever became of the process,
its machine or the network between. So whoever holds it must say a word more often than that, and must not believe in it for
longer than that after its last word was *sent*.

A pooler that hands sessions around (pgbouncer, unless it pools by session) cannot carry this: name the database itself.
"""

from __future__ import annotations

from sqlalchemy import Connection, Engine, create_engine, text
from sqlalchemy.pool import NullPool

from samdrift.ledger.opening import parse_url
from samdrift.ledger.troubles import LedgerUnavailable, speaking

SILENCE = 2.0
"""Seconds without a word after which the server ends the session."""
_ACTIVE = 0x5A_4D_44_45_53_4B  # "ZMDESK": the advisory lock of the active desk


class AdvisoryLease:
    """See the module. Synchronous, for one thread. Raises LedgerUnavailable, and ValueError for a ledger that cannot do it."""

    def __init__(self, url: str, *, silence: float = SILENCE, lock: int = _ACTIVE) -> None:
        parsed = parse_url(url)
        if not parsed.drivername.startswith("postgresql"):
            raise ValueError("two desks can share a ledger in PostgreSQL only; SQLite has one machine, and `samdrift up`")
        self._silence, self._lock = silence, lock
        # A connection that the network swallowed fails within a second, not within the kernel's quarter of an hour.
        connect = {"connect_timeout": 2, "tcp_user_timeout": 1_000, "application_name": "samdrift desk"}
        for name in parsed.query:
            connect.pop(name, None)
        self._engine: Engine = create_engine(parsed, hide_parameters=True, poolclass=NullPool, connect_args=connect)
        self._session: Connection | None = None

    def take(self) -> bool:
        """Try to take it, at once. False if somebody else holds it."""
        with speaking("ask for the lease"):
            try:
                return bool(self._opened().execute(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": self._lock}).scalar())
            except BaseException:
                self.release()
                raise

    def renew(self) -> None:
        """Say a word. Raises LedgerUnavailable if the session has ended, and the lease with it."""
        if self._session is None:
            raise LedgerUnavailable("the lease is not held")
        with speaking("keep the lease"):
            try:
                self._session.execute(text("SELECT 1"))
            except BaseException:
                self.release()
                raise

    def release(self) -> None:
        """Give it up. The server knows at once, if it can be reached. Never raises."""
        session, self._session = self._session, None
        if session is not None:
            session.invalidate()  # closed as it is, not handed back: the lock must not outlive this
            session.close()

    def _opened(self) -> Connection:
        if self._session is None:
            self._session = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
            milliseconds = round(self._silence * 1000)
            self._session.exec_driver_sql(f"SET idle_session_timeout = {milliseconds}")
            self._session.exec_driver_sql(f"SET statement_timeout = {milliseconds // 2}")
        return self._session
