"""What the document says is kept is what is kept: every hour, for each organisation, and in the trail."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from tests.ledger.conftest import make_usage

from samdrift.access.chain import verify
from samdrift.access.principal import Principal
from samdrift.access.pseudonyms import pseudonym
from samdrift.access.roles import local_actor
from samdrift.ledger.ledger import Ledger
from samdrift.runtime.forgetting import Forgetting, Person
from samdrift.runtime.pseudonyms import Pseudonyms, user_key
from samdrift.spec.document import Spec
from samdrift.spec.events import AuditEvent

DAY = 86_400.0
ME = local_actor("tester")
NOW = 1_780_000_000.0


def document(**retention: object) -> Spec:
    return Spec.model_validate({
        "samdrift": 1, "community": {"name": "Test"},
        "organisations": {"aarhus": {"retention": {"metadata": "30d", "users": "named"}}, "odense": {},
            "viborg": {"retention": {"users": "none"}}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}}, "models": {"chat": {"weights": "file:x", "pool": "here"}},
        "retention": retention,
    })  # fmt: skip


@pytest.fixture
def ledger(tmp_path: Path):
    opened = Ledger.open(f"sqlite:///{tmp_path}/ledger.sqlite")
    yield opened
    opened.close()


def test_each_organisation_keeps_as_long_as_it_says_and_who_left_as_long_as_is_usual(ledger: Ledger) -> None:
    for organisation in ("aarhus", "odense", "left"):
        ledger.append_usage([make_usage(f"{organisation}-{days}", organisation=organisation, at=NOW - days * DAY)
            for days in (1, 29, 32, 89, 92)])  # fmt: skip
    Forgetting(ledger, document).forget(NOW)
    kept = [f"{o}-{d}" for o in ("aarhus", "odense", "left") for d in (1, 29, 32, 89, 92) if ledger.usage_of(f"{o}-{d}")]
    assert kept == ["aarhus-1", "aarhus-29", *(f"{o}-{d}" for o in ("odense", "left") for d in (1, 29, 32, 89))]
    assert {t.group: t.requests for t in ledger.totals(0, NOW, group_by=("organisation",))} == {
        ("aarhus",): 5, ("left",): 5, ("odense",): 5}  # fmt: skip
    told = {noted.event.subject: noted.event.after for noted in ledger.audit.events()}
    assert told["organisation/aarhus"] == {"rows": 3, "days": 3}


def test_an_hour_later_there_is_nothing_to_forget_and_nothing_to_tell(ledger: Ledger) -> None:
    ledger.append_usage([make_usage("old", at=NOW - 400 * DAY)])
    forgetting = Forgetting(ledger, document)
    forgetting.forget(NOW)
    head = ledger.audit.head()
    forgetting.forget(NOW + 3_600)
    assert ledger.audit.head() == head


def test_sums_and_the_audit_trail_have_their_own_time(ledger: Ledger) -> None:
    ledger.append_usage([make_usage("old", at=NOW - 800 * DAY)])
    ledger.audit.note(AuditEvent(NOW - 800 * DAY, "person", "p-anna", "keys.create", "key/x", "done"))
    Forgetting(ledger, lambda: document(audit="365d", sums="730d")).forget(NOW)
    assert ledger.totals(0, NOW) == ()
    assert [noted.event.action for noted in ledger.audit.events()] == ["retention.purge", "retention.forget", "retention.forget"]
    verdict = verify(ledger.audit.links(), (), ())
    assert (verdict.stubs, verdict.findings) == (1, ())


def test_people_are_called_as_their_organisation_says(tmp_path: Path) -> None:
    names = Pseudonyms(tmp_path, document)

    def called(organisation: str, user: str = "anna@x.dk") -> str:
        return names.called(Principal(organisation, "default", "jwt:idp", user))

    assert called("aarhus") == "anna%40x.dk"
    assert called("odense") == pseudonym(user_key(tmp_path), "odense", "anna@x.dk")
    assert called("viborg") == called("odense", "") == ""


def test_a_person_gets_all_rows_by_either_name_and_is_erased_without_trace_in_the_file(ledger: Ledger, tmp_path: Path) -> None:
    hashed = pseudonym(user_key(tmp_path), "aarhus", "anna@x.dk")
    rows = [make_usage("by-hash-1", user=hashed, at=NOW - DAY), make_usage("by-name-1", user="anna%40x.dk", at=NOW),
        make_usage("of-bo", user="bo", at=NOW)]  # fmt: skip
    ledger.append_usage(rows)
    anna = Person(ledger, tmp_path, "aarhus", "anna@x.dk")
    assert [dataclasses.asdict(row) for row in anna.export(ME, "asked", NOW)] == [dataclasses.asdict(row) for row in rows[:2]]
    assert anna.erase(ME, ZoneInfo("Europe/Copenhagen"), "asked", NOW) == (2, True)
    assert anna.export(ME, "again", NOW) == ()
    held = b"".join(path.read_bytes() for path in tmp_path.glob("ledger.sqlite*"))
    assert b"by-hash-1" not in held
    assert b"by-name-1" not in held
    assert b"anna%40x.dk" not in held
    assert b"of-bo" in held
    assert ledger.totals(0, NOW + 1, group_by=())[0].requests == 3
    told = [(noted.event.action, noted.event.subject, noted.event.after["rows"]) for noted in ledger.audit.events()]
    who = f"user/{hashed}"
    assert told == [("privacy.export", who, 0), ("privacy.erase", who, 2), ("privacy.export", who, 2)]


def test_the_key_of_hashes_is_its_owners_and_a_spoiled_one_is_not_replaced(tmp_path: Path) -> None:
    key = user_key(tmp_path)
    path = tmp_path / "privacy" / "users.key"
    assert path.stat().st_mode & 0o777 == 0o600
    assert user_key(tmp_path) == key
    path.write_text("abcd\n")
    with pytest.raises(ValueError, match=r"users\.key is no key"):
        user_key(tmp_path)
    assert path.read_text() == "abcd\n"
