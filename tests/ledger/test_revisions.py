"""Revisions of the document and administrative tokens, as they are kept."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from samdrift.access.admin_tokens import mint_token
from samdrift.access.roles import Actor, Grant, Role
from samdrift.ledger.ledger import Ledger
from samdrift.spec.events import AuditEvent
from samdrift.spec.revision import Origin, Revision, digest_of_text

ANNA = Actor("person", "p1", "Anna Jensen", address="192.0.2.7")


def append(ledger: Ledger, text: str, after: int, **more: object) -> Revision | None:
    told = {"origin": Origin.APPLIED, "reason": "a test", "at": 1_800_000_000.0 + after,
        "changes": {"before": {"a": "1"}, "after": {"a": "2"}}} | more  # fmt: skip
    return ledger.revisions.append(text, ANNA, after=after, **told)  # type: ignore[arg-type]  # a test's shorthand


def test_a_revision_is_kept_with_its_text_and_its_event(ledger: Ledger) -> None:
    assert ledger.revisions.last() is None
    made = append(ledger, "samdrift: 1  # blå bær\n", 0)
    assert made == Revision(1, 1_800_000_000.0, "person", "p1", "Anna Jensen", Origin.APPLIED, "a test",
        digest_of_text("samdrift: 1  # blå bær\n"))  # fmt: skip
    assert ledger.revisions.last() == ledger.revisions.find(1) == made
    assert ledger.revisions.text(1) == "samdrift: 1  # blå bær\n"
    (noted,) = ledger.audit.events()
    assert (noted.event.action, noted.event.subject, noted.event.actor) == ("document.apply", "revision/1", "p1")
    assert (noted.event.address, noted.event.before, noted.event.after) == ("192.0.2.7", {"a": "1"}, {"a": "2"})
    assert (ledger.revisions.find(2), ledger.revisions.text(2)) == (None, None)


def test_whoever_comes_second_writes_nothing(ledger: Ledger) -> None:
    assert append(ledger, "one", 0) is not None
    assert append(ledger, "two", 0) is None
    assert append(ledger, "two", 5) is None
    assert (len(ledger.revisions.page(limit=9)), len(ledger.audit.events())) == (1, 1)


def test_of_many_at_once_one_goes_through(ledger: Ledger) -> None:
    start, found = threading.Barrier(6), []

    def write(n: int) -> None:
        start.wait(10)
        found.append(append(ledger, f"text {n}", 0))

    threads = [threading.Thread(target=write, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert len([made for made in found if made is not None]) == 1
    assert len(found) == 6


@pytest.mark.parametrize("reason", ["x" * 501, "two\nlines", "\x00"])
def test_a_reason_that_nobody_could_read_is_refused(ledger: Ledger, reason: str) -> None:
    with pytest.raises(ValueError, match="a reason"):
        append(ledger, "one", 0, reason=reason)


def test_pages_go_back_in_time(ledger: Ledger) -> None:
    for n in range(5):
        append(ledger, f"text {n}", n)
    assert [row.number for row in ledger.revisions.page(limit=2)] == [5, 4]
    assert [row.number for row in ledger.revisions.page(before=4, limit=9)] == [3, 2, 1]


def test_a_token_is_kept_with_its_roles_and_revoked_once(ledger: Ledger, open_ledger: Callable[..., Ledger]) -> None:
    grants = (Grant(Role.AUDITOR), Grant(Role.FINANCE, "aarhus"))
    token, text = mint_token("nightly", grants, created_by="person/p1", secret_bytes=bytes(range(32)), id_bytes=bytes(8),
        now=10.0, expires_at=99.0)  # fmt: skip
    event = AuditEvent(10.0, "person", "p1", "tokens.create", f"token/{token.token_id}", "done")
    ledger.admin_tokens.add(token, event)
    other = open_ledger()
    assert other.admin_tokens.find(token.token_id) == token
    assert other.admin_tokens.all() == (token,)
    assert token.good(text, 98.9)
    assert not token.good(text, 99.0)
    with pytest.raises(ValueError, match="could not store the token"):
        ledger.admin_tokens.add(token, event)
    first = ledger.admin_tokens.revoke(token.token_id, 20.0, event)
    second = ledger.admin_tokens.revoke(token.token_id, 30.0, event)
    assert first == second
    assert first is not None
    assert first.revoked_at == 20.0
    assert not first.good(text, 21.0)
    assert ledger.admin_tokens.revoke("unheard-of", 1.0, event) is None
    assert len(ledger.audit.events()) == 2
