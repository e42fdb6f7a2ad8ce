"""Opening a ledger: from nothing, together with others, and where it cannot be."""

from __future__ import annotations

import sqlite3
import stat
import threading

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from samdrift.ledger import opening, schema
from samdrift.ledger.ledger import Ledger
from samdrift.ledger.opening import MIGRATIONS, open_engine, parse_url
from samdrift.ledger.troubles import LedgerUnavailable


def test_migrated_tables_are_the_declared_ones(url):
    engine = open_engine(url, 5.0)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_server_default": True})
        assert compare_metadata(context, schema.metadata) == []
        assert context.get_current_revision() == schema.HEAD
    engine.dispose()


def test_migrated_sqlite_reads_word_for_word_like_the_declaration(tmp_path):
    """Autogenerate does not look at check constraints; SQLite's own record of the tables does."""

    def tables(engine: sa.Engine) -> dict[str, str]:
        with engine.connect() as connection:
            rows = connection.execute(sa.text("SELECT name, sql FROM sqlite_master WHERE sql IS NOT NULL"))
            return {name: " ".join(sql.split()) for name, sql in rows if name != "alembic_version"}

    migrated = open_engine(f"sqlite:///{tmp_path}/migrated", 5.0)
    declared = sa.create_engine(f"sqlite:///{tmp_path}/declared")
    schema.metadata.create_all(declared)
    assert tables(migrated) == tables(declared)
    migrated.dispose()
    declared.dispose()


def test_the_newest_migration_is_the_one_the_program_names():
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    assert ScriptDirectory.from_config(config).get_current_head() == schema.HEAD


def test_many_processes_may_open_an_empty_database_at_once(url):
    start = threading.Barrier(4)
    found: list[object] = []

    def open_it() -> None:
        start.wait(10)
        try:
            ledger = Ledger.open(url, patience=20.0)
            found.append(ledger.roster_version())
            ledger.close()
        except Exception as error:  # noqa: BLE001 - shown by the assertion
            found.append(error)

    threads = [threading.Thread(target=open_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert found == [0, 0, 0, 0]


def test_who_is_refused_while_another_makes_the_file_tries_again(tmp_path, monkeypatch):
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("BEGIN IMMEDIATE")
    refused: list[float] = []

    def pause(seconds: float) -> None:
        refused.append(seconds)
        other.execute("COMMIT")

    monkeypatch.setattr(opening.time, "sleep", pause)
    Ledger.open(f"sqlite:///{path}").close()
    other.close()
    assert len(refused) == 1


def test_who_is_refused_for_longer_than_their_patience_is_told_so(tmp_path):
    path = tmp_path / "ledger.sqlite"
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LedgerUnavailable, match="locked"):
        Ledger.open(f"sqlite:///{path}", patience=0.1)
    other.close()


def test_what_is_written_is_there_after_reopening(open_ledger, used):
    first = open_ledger()
    first.append_usage([used("t-1")])
    first.set_mark("journal", 12)
    first.close()
    second = open_ledger()
    assert second.usage_of("t-1") == used("t-1")
    assert second.mark("journal") == 12


def test_the_files_of_a_ledger_are_nobody_elses_to_read(tmp_path, used):
    path = tmp_path / "ledger.sqlite"
    path.touch(0o644)
    ledger = Ledger.open(f"sqlite:///{path}")
    ledger.append_usage([used("t-1")])
    modes = {p.name: oct(stat.S_IMODE(p.stat().st_mode)) for p in tmp_path.iterdir()}
    assert modes == {f"ledger.sqlite{end}": "0o600" for end in ("", "-wal", "-shm")}
    ledger.close()


def test_sqlite_writes_ahead_and_waits_for_the_disk(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path}/ledger.sqlite", 5.0)
    with engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    engine.dispose()


def test_a_ledger_of_a_newer_program_is_left_alone(url):
    Ledger.open(url).close()
    engine = sa.create_engine(parse_url(url))
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE alembic_version SET version_num = '9999'"))
    engine.dispose()
    with pytest.raises(LedgerUnavailable, match="9999, which this Samdrift does not know"):
        Ledger.open(url)


def test_a_file_that_is_no_database_is_said_to_be_none_and_kept(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("not a database, but long enough to be looked at " * 40)
    with pytest.raises(LedgerUnavailable, match="not a database"):
        Ledger.open(f"sqlite:///{path}")
    assert path.read_text().startswith("not a database")


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(LedgerUnavailable, match=r"absent/ledger\.sqlite"):
        Ledger.open(f"sqlite:///{tmp_path}/absent/ledger.sqlite")


def test_a_server_that_is_not_there_is_unavailable_and_its_password_stays_secret(tmp_path):
    with pytest.raises(LedgerUnavailable) as caught:
        Ledger.open(f"postgresql://samdrift:hunter2@/ledger?host={tmp_path}")
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is not None


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("ledger.sqlite", "no database URL"),
        ("mysql://root:hunter2@db/x", "cannot be kept in mysql"),
        ("sqlite://", "forget its keys"),
        ("sqlite:///:memory:", "forget its keys"),
        ("postgresql+asyncpg://db/x", "cannot be kept in"),
    ],
)
def test_a_url_that_cannot_be_a_ledger_is_refused_with_what_to_write(url, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        Ledger.open(url)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("scheme", ["postgres", "postgresql", "postgresql+psycopg"])
def test_every_spelling_of_postgresql_means_psycopg(scheme):
    assert parse_url(f"{scheme}://db/x").drivername == "postgresql+psycopg"


def test_a_locked_ledger_says_so_after_its_patience_and_works_again(tmp_path, used):
    path = tmp_path / "ledger.sqlite"
    ledger = Ledger.open(f"sqlite:///{path}", patience=0.05)
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN EXCLUSIVE")
    with pytest.raises(LedgerUnavailable, match="locked"):
        ledger.append_usage([used("t-1")])
    assert ledger.roster_version() == 0  # reading goes on
    other.execute("ROLLBACK")
    other.close()
    assert ledger.append_usage([used("t-1")]) == 1
    ledger.close()
