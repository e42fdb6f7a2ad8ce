"""Second factors as they are stored, and used: a code, a count and a recovery code each go once."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from sqlalchemy import Engine, Row, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError

from samdrift.access.people import Factor, FactorKind
from samdrift.ledger.audit import append
from samdrift.ledger.tables_people import people_factors
from samdrift.ledger.troubles import speaking
from samdrift.spec.events import AuditEvent

MOST = 20
"""Second factors of one person, recovery codes aside."""

_f = people_factors.c


class Factors:
    """The second factors of everybody."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._writes = engine.execution_options(writes=True)

    def of(self, person: str) -> tuple[Factor, ...]:
        """What somebody can show, oldest first."""
        query = select(people_factors).where(_f.person == person).order_by(_f.created_at, _f.id)
        with speaking("read second factors"), self._engine.connect() as connection:
            return tuple(_factor(row) for row in connection.execute(query))

    def counts(self) -> dict[str, int]:
        """How many second factors everybody has who has any, recovery codes aside, by person."""
        query = select(_f.person, func.count().label("factors")).where(_f.kind != FactorKind.RECOVERY.value).group_by(_f.person)
        with speaking("read second factors"), self._engine.connect() as connection:
            return {row.person: row.factors for row in connection.execute(query)}

    def by_handle(self, handle: bytes) -> Factor | None:
        """A passkey by its credential id."""
        query = select(people_factors).where(_f.handle == handle)
        with speaking("read second factors"), self._engine.connect() as connection:
            row = connection.execute(query).one_or_none()
            return None if row is None else _factor(row)

    def add(self, factor: Factor, event: AuditEvent) -> None:
        """Store a second factor. A new one-time code takes the place of the one before. Raises ValueError if it is known already,
        or the person has too many."""
        with speaking("store a second factor"):
            try:
                with self._writes.begin() as connection:
                    if factor.kind is FactorKind.TOTP:
                        connection.execute(
                            delete(people_factors).where(_f.person == factor.person, _f.kind == FactorKind.TOTP.value)
                        )
                    count = connection.execute(select(func.count()).where(_f.person == factor.person, _f.kind != "recovery"))
                    if (count.scalar() or 0) >= MOST:
                        raise ValueError(f"a person has at most {MOST} second factors; remove one first")
                    connection.execute(insert(people_factors).values(_values(factor)))
                    append(connection, event)
            except IntegrityError as error:
                raise ValueError("this passkey is known already") from error

    def replace_recovery(self, person: str, codes: Sequence[Factor], event: AuditEvent) -> None:
        """Store new recovery codes; earlier ones are worth nothing any more."""
        with speaking("store recovery codes"), self._writes.begin() as connection:
            connection.execute(delete(people_factors).where(_f.person == person, _f.kind == FactorKind.RECOVERY.value))
            connection.execute(insert(people_factors), [_values(code) for code in codes])
            append(connection, event)

    def remove(self, person: str, factor: str, event: AuditEvent) -> bool:
        """Take a second factor away. False if this person has no such one."""
        with speaking("remove a second factor"), self._writes.begin() as connection:
            done = connection.execute(delete(people_factors).where(_f.person == person, _f.id == factor))
            if done.rowcount:
                append(connection, event)
            return bool(done.rowcount)

    def advance(self, factor: str, counter: int, at: float, *, at_least: int | None = None) -> bool:
        """Note that a factor was used with this counter. False, and nothing is noted, unless the counter grew since, so that of
        two who come with one code only one gets in. `at_least` is the lowest earlier counter that is taken besides, for passkeys
        that always count 0."""
        grew = _f.counter < counter if at_least is None else (_f.counter < counter) | (_f.counter <= at_least)
        with speaking("note the use of a second factor"), self._writes.begin() as connection:
            done = connection.execute(update(people_factors).where(_f.id == factor, grew).values(counter=counter, used_at=at))
            return bool(done.rowcount)

    def spend(self, person: str, digest: bytes) -> bool:
        """Use up the recovery code with this SHA-256. False if there is none."""
        wanted = (_f.person == person, _f.kind == FactorKind.RECOVERY.value, _f.secret == digest)
        with speaking("use a recovery code"), self._writes.begin() as connection:
            return bool(connection.execute(delete(people_factors).where(*wanted)).rowcount)


def _factor(row: Row[tuple[object, ...]]) -> Factor:
    values = row._asdict()
    return Factor(**{**values, "kind": FactorKind(values["kind"]), "secret": bytes(values["secret"]),
        "handle": bytes(values["handle"] or b"")})  # fmt: skip


def _values(factor: Factor) -> dict[str, object]:
    return dataclasses.asdict(factor) | {"kind": factor.kind.value, "handle": factor.handle or None}
