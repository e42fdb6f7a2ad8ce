"""The audit trail: what was done stands in a chain, and whoever tampers with it is found out."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time

import pytest
import sqlalchemy as sa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from samdrift.access.chain import GENESIS, PURGE, Link, link, public_key_of, sign, verify
from samdrift.ledger.audit import Wanted, append, content_of
from samdrift.ledger.opening import parse_url
from samdrift.spec.events import AuditEvent

KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
OURS = (public_key_of(KEY),)


def happened(at: float = 1_000.0, **changes: object) -> AuditEvent:
    usual: dict[str, object] = {
        "at": at, "actor_kind": "person", "actor": "p-anna", "action": "keys.create", "subject": "key/0kXv3QmZp1a",
        "outcome": "done", "organisation": "aarhus", "address": "10.1.2.3", "reason": "for the citizens' service",
        "before": {}, "after": {"name": "Borgerservice æøå", "expires": 1.5},
    }  # fmt: skip
    return AuditEvent(**{**usual, **changes})


@pytest.fixture
def trail(ledger):
    """Ten events; the eighth is under a signature."""
    for n in range(10):
        ledger.audit.note(happened(1_000.0 + n, subject=f"key/{n}"))
        if n == 7:
            ledger.audit.keep_checkpoint(sign(*ledger.audit.head(), 2_000.0, KEY))
    return ledger.audit


@pytest.fixture
def tamper(url):
    """Does to the database what somebody with its password could."""

    def run(*statements):
        engine = sa.create_engine(parse_url(url))
        with engine.begin() as connection:
            for statement, values in statements:
                connection.execute(sa.text(statement), values)
        engine.dispose()

    return run


def examined(trail, trusted=OURS):
    return verify(trail.links(), trail.checkpoints(), trusted)


def test_events_are_read_back_as_they_were_noted_newest_first(ledger):
    first, second = happened(), happened(2_000.25, outcome="refused", organisation=None, reason="no such key")
    assert ledger.audit.note(first) == 1
    assert ledger.audit.note(second) == 2
    assert [noted.event for noted in ledger.audit.events()] == [second, first]


def test_an_untouched_trail_verifies_and_says_how_far_it_is_signed(trail):
    verdict = examined(trail)
    assert verdict.findings == ()
    assert (verdict.rows, verdict.sealed, verdict.last) == (10, 8, 10)


def test_a_change_and_its_event_are_both_there_or_neither(ledger):
    def fail_half_way():
        with ledger._writes.begin() as connection:
            append(connection, happened())
            raise RuntimeError("half-way")

    with pytest.raises(RuntimeError, match="half-way"):
        fail_half_way()
    assert ledger.audit.head() == (0, GENESIS)


def row(trail, seq):
    return next(link for link in trail.links() if link.seq == seq)


def rewritten(trail, seq, **changes):
    """The statement that gives a row another content and a digest and hash that fit it, as somebody careful would do."""
    old = row(trail, seq)
    new = link(seq, old.previous, {**old.content, **changes})
    names = ", ".join(f'"{name}" = :{name}' for name in changes)
    return (f"UPDATE audit SET {names}, digest = :digest, hash = :hash WHERE seq = :seq",  # noqa: S608 - our own names
        {**changes, "digest": new.digest, "hash": new.hash, "seq": seq})  # fmt: skip


def made_up_from(trail, seq, **changes):
    """Statements that change a row and then make up the whole chain behind it anew."""
    statements, previous = [], row(trail, seq).previous
    update = "UPDATE audit SET actor = :actor, previous = :previous, digest = :digest, hash = :hash WHERE seq = :seq"
    for old in [one for one in trail.links() if one.seq >= seq]:
        content = {**old.content, **(changes if old.seq == seq else {})}
        new = link(old.seq, previous, content)
        values = {"actor": content["actor"], "previous": previous, "digest": new.digest, "hash": new.hash, "seq": old.seq}
        statements.append((update, values))
        previous = new.hash
    return statements


EMPTY = (
    "UPDATE audit SET salt = NULL, at = NULL, actor_kind = NULL, actor = NULL, address = NULL, action = NULL, subject = NULL, "
    'organisation = NULL, outcome = NULL, reason = NULL, "before" = NULL, "after" = NULL WHERE seq = :seq'
)


def signed_by_another(trail):
    other = sign(8, row(trail, 8).hash, 2_000.0, Ed25519PrivateKey.from_private_bytes(bytes(32)))
    return [("UPDATE audit_checkpoints SET key = :key, signature = :signature", {"key": other.key, "signature": other.signature})]


TAMPERINGS = {
    "somebody else is said to have done it": (lambda t: [("UPDATE audit SET actor = 'p-eve' WHERE seq = 4", {})], 4, "changed"),
    "its time is another": (lambda t: [("UPDATE audit SET at = at - 86400 WHERE seq = 4", {})], 4, "changed"),
    "what it changed is said to be something else":
        (lambda t: [('UPDATE audit SET "after" = :after WHERE seq = 4', {"after": '{"name":"x"}'})], 4, "changed"),
    "a row is changed and its own hash with it": (lambda t: [rewritten(t, 4, actor="p-eve")], 5, "unlinked"),
    "a row is removed": (lambda t: [("DELETE FROM audit WHERE seq = 4", {})], 4, "removed"),
    "a row is removed and the later ones moved up": (
        lambda t: [("DELETE FROM audit WHERE seq = 4", {})]
        + [("UPDATE audit SET seq = :to WHERE seq = :seq", {"to": n - 1, "seq": n}) for n in range(5, 11)], 4, "unlinked"),
    "two rows are swapped": (lambda t: [("UPDATE audit SET seq = 99 WHERE seq = 4", {}),
        ("UPDATE audit SET seq = 4 WHERE seq = 5", {}), ("UPDATE audit SET seq = 5 WHERE seq = 99", {})], 4, "changed"),
    "the end is cut off": (lambda t: [("DELETE FROM audit WHERE seq > 6", {})], 8, "cut off"),
    "the beginning is cut off": (lambda t: [("DELETE FROM audit WHERE seq < 3", {})], 1, "removed"),
    "everything is gone": (lambda t: [("DELETE FROM audit", {})], 8, "cut off"),
    "a row is emptied as if retention had done it": (lambda t: [(EMPTY, {"seq": 4})], 4, "emptied"),
    "the whole chain is made up anew": (lambda t: made_up_from(t, 4, actor="p-eve"), 8, "rewritten"),
    "a signature is moved to another row": (lambda t: [("UPDATE audit_checkpoints SET seq = 7", {})], 7, "forged checkpoint"),
    "somebody signs with a key of their own": (signed_by_another, 8, "unknown key"),
}  # fmt: skip


@pytest.mark.parametrize("name", TAMPERINGS)
def test_tampering_is_found_and_the_row_is_named(trail, tamper, name):
    statements, seq, kind = TAMPERINGS[name]
    assert examined(trail).findings == ()
    tamper(*statements(trail))
    found = examined(trail).findings
    assert (seq, kind) in [(f.seq, f.kind) for f in found]
    assert all(f.seq >= seq - 1 for f in found), "nothing before it is blamed"
    assert str(seq) in next(f.sentence for f in found if f.seq == seq)


def test_a_row_put_in_between_is_found(trail):
    """A database has no room between two numbers; a file has."""
    rows = list(trail.links())
    extra = link(5, rows[3].hash, {**rows[4].content, "actor": "p-eve"})
    found = verify([*rows[:4], extra, *rows[4:]], trail.checkpoints(), OURS).findings
    assert (5, "doubled") in [(f.seq, f.kind) for f in found]


def test_a_file_in_another_order_is_found(trail):
    rows = list(trail.links())
    rows[3], rows[6] = rows[6], rows[3]
    kinds = [(f.seq, f.kind) for f in verify(rows, trail.checkpoints(), OURS).findings]
    assert (4, "reordered") in kinds


def test_findings_are_bounded(trail):
    bad = [Link(n, bytes(32), bytes(32), bytes(32), None) for n in range(1, 3_000)]
    found = verify(bad, (), ()).findings
    assert len(found) == 1_001
    assert "more findings" in found[-1].sentence


def test_what_retention_forgot_leaves_stubs_that_verify(trail):
    assert trail.forget(1_004.0, happened(9_000.0, action=PURGE, subject="audit", organisation=None, after={})) == 4
    verdict = examined(trail)
    assert verdict.findings == ()
    assert verdict.stubs == 4
    assert [noted.event.subject for noted in trail.events()][-1] == "key/4"
    assert trail.forget(1_004.0, happened(9_001.0, action=PURGE, subject="audit")) == 0
    assert trail.head()[0] == 11, "nothing to forget is nothing to note"


def test_a_later_purge_accounts_for_what_an_earlier_one_said(trail):
    trail.forget(1_004.0, happened(9_000.0, action=PURGE, subject="audit"))
    trail.note(happened(9_500.0))
    assert trail.forget(9_400.0, happened(20_000.0, action=PURGE, subject="audit")) == 7
    verdict = examined(trail)
    assert verdict.findings == ()
    assert verdict.stubs == 11


def test_a_purge_does_not_excuse_what_was_emptied_beyond_it(trail, tamper):
    trail.forget(1_004.0, happened(9_000.0, action=PURGE, subject="audit"))
    tamper((EMPTY, {"seq": 6}))
    assert [(f.seq, f.kind) for f in examined(trail).findings] == [(6, "emptied")]


def test_a_time_in_the_future_does_not_keep_everything_behind_it(trail):
    trail.note(happened(4e9))
    trail.note(happened(1_100.0))
    assert trail.forget(1_200.0, happened(5_000.0, action=PURGE, subject="audit")) == 12


def test_processes_that_append_at_once_do_not_fork_the_chain(url, ledger):
    code = (
        "import sys\n"
        "from samdrift.ledger.ledger import Ledger\n"
        "from samdrift.spec.events import AuditEvent\n"
        "ledger = Ledger.open(sys.argv[1], patience=30)\n"
        "sys.stdin.readline()\n"
        "for n in range(40):\n"
        "    ledger.audit.note(AuditEvent(float(n), 'person', sys.argv[2], 'keys.create', 'key/x', 'done'))\n"
        "ledger.close()\n"
    )
    started = [
        subprocess.Popen([sys.executable, "-c", code, url, who], stdin=subprocess.PIPE, stderr=subprocess.PIPE) for who in "abc"
    ]
    ends = [threading.Thread(target=lambda p=p: told.append(p.communicate(b"go\n", timeout=120))) for p in started]
    told: list[tuple[bytes, bytes]] = []
    for end in ends:
        end.start()
    for end in ends:
        end.join(120)
    assert [p.returncode for p in started] == [0, 0, 0], told
    verdict = examined(ledger.audit)
    assert (verdict.rows, verdict.findings) == (120, ())


SECRET = "sd-0kXv3QmZp1a-" + "a" * 43 + "B3x9Zq"


def test_no_secret_reaches_the_trail_wherever_it_was_put(ledger, url):
    ledger.audit.note(happened(
        reason=f"used {SECRET} by mistake", subject=f"key/{SECRET}", actor=f"x {SECRET}",
        before={"password": "hunter2", "nested": [{"client_secret": "hunter3", "note": SECRET}]},
        after={"jwt": "eyJhbGciOiJub25lIn0.eyJzdWIiOiJhbm5hIn0.", "pem": "-----BEGIN PRIVATE KEY-----\nhunter4\n-----END"},
    ))  # fmt: skip
    (noted,) = ledger.audit.events()
    said = repr(noted.event)
    for secret in (SECRET, "hunter2", "hunter3", "hunter4", "eyJzdWIi"):
        assert secret not in said
    assert noted.event.before["password"] == "[secret]"
    assert examined(ledger.audit, ()).findings == ()


@pytest.mark.parametrize(
    "changes",
    [
        {"actor": "a\0b\ud800c\u202e"},
        {"reason": "x" * 100_000},
        {"after": {"many": ["x" * 3_000] * 100}},
        {"after": {"nan": float("nan"), "at": float("inf"), "set": {1}, "object": object(), 7: "seven"}},
        {"before": {"a": {"b": {"c": {"d": {"e": {"f": {"g": {"h": {"i": {"j": {"k": {"l": {"m": {"n": 1}}}}}}}}}}}}}}},
    ],
)
def test_whatever_an_attacker_sends_the_event_is_written_and_verifies(ledger, changes):
    assert ledger.audit.note(happened(**changes)) == 1
    (noted,) = ledger.audit.events()
    assert len(repr(noted.event)) < 40_000
    assert examined(ledger.audit, ()).findings == ()


def test_a_time_that_is_none_is_refused(ledger):
    with pytest.raises(ValueError, match="finite"):
        ledger.audit.note(happened(float("nan")))


def test_a_flood_of_refusals_is_counted_and_not_written(ledger):
    flood = [ledger.audit.note(happened(1_000.0 + n / 100, outcome="refused", action="session.start")) for n in range(500)]
    assert sum(seq is not None for seq in flood) == 20
    assert ledger.audit.note(happened(1_005.0)) == 21, "what was done is always written"
    ledger.audit.note(happened(1_061.0, outcome="refused", action="session.start"))
    assert ledger.audit.events()[0].event.after["refusals_not_written"] == 480


def test_a_flood_from_many_addresses_is_bounded_too(ledger):
    flood = [ledger.audit.note(happened(1_000.0, outcome="refused", address=f"10.0.{n // 250}.{n % 250}")) for n in range(700)]
    assert sum(seq is not None for seq in flood) == 600


@pytest.mark.parametrize(
    ("wanted", "subjects"),
    [
        (Wanted(organisation="odense"), ["key/b"]),
        (Wanted(actor="p-bo"), ["key/c"]),
        (Wanted(action="keys.*"), ["key/c", "key/b", "key/a"]),
        (Wanted(action="keys.revoke"), ["key/c"]),
        (Wanted(action="k_ys.*"), []),
        (Wanted(subject="key/a"), ["key/a"]),
        (Wanted(outcome="refused"), ["document"]),
        (Wanted(since=2_000.0, until=3_000.0), ["key/b"]),
    ],
)
def test_events_are_found_by_whom_what_and_when(ledger, wanted, subjects):
    ledger.audit.note(happened(1_000.0, subject="key/a"))
    ledger.audit.note(happened(2_000.0, subject="key/b", organisation="odense"))
    ledger.audit.note(happened(3_000.0, subject="key/c", actor="p-bo", action="keys.revoke"))
    ledger.audit.note(happened(4_000.0, subject="document", action="document.apply", outcome="refused"))
    assert [noted.event.subject for noted in ledger.audit.events(wanted)] == subjects


def test_pages_follow_one_another_without_gap(trail):
    first = trail.events(limit=4)
    second = trail.events(limit=4, before=first[-1].seq)
    assert [noted.seq for noted in (*first, *second)] == [10, 9, 8, 7, 6, 5, 4, 3]


def test_an_organisation_gets_its_own_events_in_a_chain_that_verifies(trail):
    trail.note(happened(5_000.0, organisation="odense"))
    rows = list(trail.links(organisation="odense"))
    assert [r.seq for r in rows if r.content is not None] == [11]
    assert verify(rows, trail.checkpoints(), OURS, partial=True).findings == ()
    assert "emptied" in {f.kind for f in verify(rows, trail.checkpoints(), OURS).findings}
    changed = dataclasses.replace(rows[10], content={**rows[10].content, "actor": "p-eve"})
    assert [f.seq for f in verify([*rows[:10], changed], trail.checkpoints(), OURS, partial=True).findings] == [11]


def test_a_hundred_thousand_rows_verify_within_five_seconds(tmp_path, used):
    """Through the database, as the command does. Rows are put in as one statement, since only reading is measured."""
    from samdrift.ledger.audit import _stored
    from samdrift.ledger.ledger import Ledger
    from samdrift.ledger.tables_audit import audit

    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    rows, previous = [], GENESIS
    for seq in range(1, 100_001):
        stored = _stored(happened(float(seq), subject=f"key/{seq}"))
        made = link(seq, previous, content_of(stored))
        rows.append({"seq": seq, "previous": previous, "digest": made.digest, "hash": made.hash, **stored})
        previous = made.hash
    with opened._writes.begin() as connection:
        connection.execute(sa.insert(audit), rows)
    before = time.process_time()
    verdict = verify(opened.audit.links(), (), ())
    took = time.process_time() - before
    opened.close()
    assert (verdict.rows, verdict.findings) == (100_000, ())
    assert took < 5.0
