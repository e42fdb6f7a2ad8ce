"""The document as something with a history: plan, apply, look back, roll back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from tests.api.v1.conftest import DOCUMENT, LOCAL, House, text_of

from samdrift.access.roles import Role
from samdrift.api.v1.revisions import Applied, Wish
from samdrift.reading import document_text, read_document, read_text
from samdrift.runtime.in_force import InForce, in_force, keep_in_force
from samdrift.runtime.revising import starting_with
from samdrift.spec.revision import digest_of_text
from samdrift.spec.spelling import merged_text

WITH_RIBE = text_of(organisations={**DOCUMENT["organisations"], "ribe": {}})
LOUDER = text_of(observe={"listen": "127.0.0.1:9999"})


def apply(house: House, text: str, **more: Any) -> Any:
    return house.ask("POST", "/revisions", role=Role.OPERATOR, json={"text": text, "reason": "a test"}, **more)


def test_a_plan_says_what_would_change_and_changes_nothing(house: House) -> None:
    planned = house.ask("POST", "/revisions/plan", role=Role.OPERATOR, json={"text": WITH_RIBE}).json()
    assert planned == {"against": 1, "etag": '"r1"', "applicable": True, "interruptions": [],
        "changes": [{"path": "organisations.ribe", "before": None, "after": "{}", "restart": False}]}  # fmt: skip
    assert "ribe" not in house.spec.organisations
    assert len(house.ask("GET", "/revisions", role=Role.AUDITOR).json()["items"]) == 1


def test_an_applied_text_is_in_force_and_a_revision_with_author_and_reason(house: House) -> None:
    answer = apply(house, WITH_RIBE, headers={"if-match": '"r1"'})
    assert answer.status_code == 201
    made = answer.json()["revision"]
    assert (made["number"], made["origin"], made["reason"], made["author_kind"]) == (2, "applied", "a test", "token")
    assert made["digest"] == digest_of_text(WITH_RIBE)
    assert "ribe" in house.spec.organisations
    current = house.ask("GET", "/revisions/current", role=Role.AUDITOR)
    assert (current.json()["text"], current.headers["etag"]) == (WITH_RIBE, '"r2"')
    kept = in_force(house.data)
    assert kept is not None
    assert kept.text == WITH_RIBE


def test_a_change_is_in_the_audit_as_a_difference(house: House) -> None:
    apply(house, text_of(organisations={**DOCUMENT["organisations"], "viborg": {"name": "Viborg Kommune"}}))
    (event,) = house.audited("document.apply")
    assert (event.subject, event.reason, event.outcome) == ("revision/2", "a test", "done")
    assert event.before == {"organisations.viborg.name": ""}
    assert event.after == {"organisations.viborg.name": "Viborg Kommune"}


def test_secrets_are_references_in_what_is_kept_and_masked_in_differences(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LEDGER_PASSWORD", "hunter2")
    text = text_of(ledger={"url": "postgresql://samdrift:${env:LEDGER_PASSWORD}@/ledger"})
    planned = house.ask("POST", "/revisions/plan", role=Role.OPERATOR, json={"text": text})
    assert [(change["path"], change["after"]) for change in planned.json()["changes"]] == [("ledger.url", "(secret)")]
    plain = text_of(ledger={"url": "postgresql://samdrift:hunter2@/ledger"})
    refused = apply(house, plain)
    assert (refused.status_code, refused.json()["type"]) == (422, "urn:samdrift:problem:rejected-document")
    assert "hunter2" not in refused.text + planned.text + house.ask("GET", "/audit", role=Role.AUDITOR).text


def test_a_document_that_is_wrong_changes_nothing_and_names_each_place(house: House) -> None:
    text = text_of(organisations={"aarhus": {"modles": ["chat"]}, "odense": {"models": ["unheard-of"]}})
    answer = apply(house, text)
    assert (answer.status_code, answer.json()["type"]) == (422, "urn:samdrift:problem:rejected-document")
    found = answer.json()["errors"]
    assert [error["path"] for error in found] == ["organisations.aarhus.modles", "organisations.odense.models[0]"]
    assert all(error["where"].startswith("document.yaml:") for error in found)
    assert house.ask("GET", "/revisions", role=Role.OPERATOR).json()["items"][0]["number"] == 1


def test_a_setting_that_needs_a_restart_is_named_and_nothing_is_changed(house: House) -> None:
    answer = apply(house, LOUDER)
    assert (answer.status_code, answer.json()["type"]) == (409, "urn:samdrift:problem:needs-restart")
    assert "observe.listen" in answer.json()["detail"]
    planned = house.ask("POST", "/revisions/plan", role=Role.OPERATOR, json={"text": LOUDER}).json()
    assert (planned["applicable"], planned["changes"][0]["restart"]) == (False, True)


def test_weights_that_are_not_there_are_said_and_nothing_is_recorded(house: House) -> None:
    house.weights = "There is no file chat.gguf."
    answer = apply(house, WITH_RIBE)
    assert answer.status_code == 409
    assert "chat.gguf" in answer.json()["detail"]
    assert len(house.ledger.revisions.page(limit=9)) == 1


def test_of_two_who_decided_on_the_same_revision_one_is_told_to_look_again(house: House) -> None:
    assert apply(house, WITH_RIBE, headers={"if-match": '"r1"'}).status_code == 201
    late = apply(house, text_of(), headers={"if-match": '"r1"'})
    assert (late.status_code, late.json()["type"]) == (412, "urn:samdrift:problem:changed-meanwhile")
    assert apply(house, text_of(), headers={"if-match": '"nonsense"'}).status_code == 412
    assert "ribe" in house.spec.organisations


def test_many_changes_at_once_become_revisions_one_behind_the_other(house: House) -> None:
    texts = [text_of(organisations={**DOCUMENT["organisations"], f"town-{n}": {}}) for n in range(8)]

    async def all_at_once() -> list[Any]:
        return await asyncio.gather(*(house.revising.apply(Wish(LOCAL, "at once", None), text) for text in texts))

    answers = asyncio.run(all_at_once())
    assert sorted(answer.revision.number for answer in answers) == list(range(2, 10))
    assert [row.number for row in house.ledger.revisions.page(limit=20)] == list(range(9, 0, -1))
    last = house.ledger.revisions.text(9)
    assert last is not None
    assert read_text(last, house.data).organisations == house.spec.organisations


def test_the_same_text_again_is_no_revision(house: House) -> None:
    answer = apply(house, text_of())
    assert (answer.status_code, answer.json()["revision"]["number"], answer.json()["changes"]) == (201, 1, [])
    commented = apply(house, "# why it is so\n" + text_of())
    assert (commented.json()["revision"]["number"], commented.json()["changes"]) == (2, [])


def test_going_back_is_a_new_revision_with_the_old_text(house: House) -> None:
    apply(house, WITH_RIBE)
    back = house.ask("POST", "/revisions/1/roll-back", role=Role.OPERATOR, json={"reason": "too early"})
    assert back.status_code == 201
    made = back.json()["revision"]
    assert (made["number"], made["origin"], made["rolled_back_to"]) == (3, "rolled back", 1)
    assert "ribe" not in house.spec.organisations
    assert house.ask("GET", "/revisions/3", role=Role.OPERATOR).json()["text"] == text_of()
    assert [event.reason for event in house.audited("document.roll_back")] == ["too early"]
    assert house.ask("POST", "/revisions/9/roll-back", role=Role.OPERATOR, json={"reason": "x"}).status_code == 404


def test_two_revisions_can_be_compared(house: House) -> None:
    apply(house, WITH_RIBE)
    apply(house, text_of(organisations={"aarhus": {}}))
    diff = house.ask("GET", "/revisions/2/diff", role=Role.AUDITOR).json()
    assert (diff["against"], [change["path"] for change in diff["changes"]]) == (1, ["organisations.ribe"])
    back = house.ask("GET", "/revisions/1/diff", role=Role.AUDITOR, params={"against": 3}).json()["changes"]
    assert {change["path"] for change in back if change["before"] is None} >= {"organisations.odense", "organisations.viborg"}
    assert house.ask("GET", "/revisions/1/diff", role=Role.AUDITOR).json()["changes"] == []
    assert house.ask("GET", "/revisions/1/diff", role=Role.AUDITOR, params={"against": 9}).status_code == 404


def test_history_comes_in_pages_newest_first(house: House) -> None:
    for n in range(5):
        apply(house, f"# {n}\n{text_of()}")
    first = house.ask("GET", "/revisions", role=Role.OPERATOR, params={"limit": 4}).json()
    rest = house.ask("GET", "/revisions", role=Role.OPERATOR, params={"limit": 4, "cursor": first["next"]}).json()
    assert [row["number"] for row in first["items"] + rest["items"]] == [6, 5, 4, 3, 2, 1]
    assert rest["next"] is None


@pytest.mark.parametrize("reason", ["", " ", "two\nlines", "x" * 501, None])
def test_a_change_needs_a_reason(house: House, reason: str | None) -> None:
    body = {"text": WITH_RIBE} | ({} if reason is None else {"reason": reason})
    assert house.ask("POST", "/revisions", role=Role.OPERATOR, json=body).status_code == 422


# -- starting and going on ---------------------------------------------------------------------------------------------


def test_the_same_document_at_the_next_start_is_no_new_revision(house: House) -> None:
    assert asyncio.run(house.revising.started(text_of(), LOCAL)) is None
    assert len(house.ledger.revisions.page(limit=9)) == 1


def test_a_start_with_another_document_is_a_revision_and_people_are_told(house: House) -> None:
    said = asyncio.run(house.revising.started(WITH_RIBE, LOCAL))
    assert said == "The document differs in 1 place from revision 1; it is revision 2 now."
    (event, _) = house.audited("document.start")
    assert event.after == {"organisations.ribe": "{}"}


def test_a_reload_is_a_revision_too(house: House) -> None:
    answer = asyncio.run(house.revising.reload(Wish(LOCAL, "read again", None), WITH_RIBE))
    assert isinstance(answer, Applied)
    assert (answer.revision.origin, answer.revision.author_kind) == ("reloaded", "local")


def test_a_control_plane_that_was_killed_goes_on_with_what_was_applied(house: House) -> None:
    apply(house, WITH_RIBE)
    house.document.write_text("somebody is: in the middle of [editing")
    text, spec = starting_with(house.document, house.data, again=True)
    assert text == WITH_RIBE
    assert "ribe" in spec.organisations


def test_a_start_by_hand_takes_the_document_that_was_given(house: House) -> None:
    apply(house, WITH_RIBE)
    text, spec = starting_with(house.document, house.data, again=False)
    assert text == text_of()
    assert "ribe" not in spec.organisations


def test_where_nothing_was_kept_it_goes_on_with_the_document(tmp_path: Path) -> None:
    (tmp_path / "community.yaml").write_text(text_of())
    assert starting_with(tmp_path / "community.yaml", tmp_path, again=True)[0] == text_of()
    (tmp_path / "in-force.json").write_text("{")
    assert starting_with(tmp_path / "community.yaml", tmp_path, again=True)[0] == text_of()
    keep_in_force(tmp_path, InForce("x", tmp_path))
    assert (tmp_path / "in-force.json").stat().st_mode & 0o777 == 0o600


# -- folders -----------------------------------------------------------------------------------------------------------


def test_a_folder_is_kept_as_one_text_that_says_the_same(tmp_path: Path) -> None:
    folder = tmp_path / "community"
    (folder / "organisations").mkdir(parents=True)
    (folder / "main.yaml").write_text(text_of(organisations={"viborg": {}}))
    (folder / "organisations/ribe.yaml").write_text("organisations:\n  ribe: {name: 'no', inhabitants: 10}\n")
    text = document_text(folder)
    assert read_text(text, folder) == read_document(folder)
    assert document_text(folder / "main.yaml") == (folder / "main.yaml").read_text()  # a file is kept as it stands


WORDS = ["no", "1e5", "017", "0x1F", "1_000", "12:30", "2026-01-01", "~", "true", "-", "#x", "a: b", "1.5",
    "æøå", "'", '"', "*x", "&x", "!x", "|", "%", "@", "", " x ", "x:", "${env:X}", "1e5 ", "=", "<<"]  # fmt: skip


@pytest.mark.parametrize("word", WORDS)
def test_every_word_is_read_back_from_a_folders_text_as_it_was(word: str) -> None:
    from samdrift.spec.strict_yaml import plain, read_yaml

    quoted = word.replace("\\", "\\\\").replace('"', '\\"')
    whole = merged_text({"a.yaml": f'name: "{quoted}"\n', "b.yaml": "number: 1\nlist: [true, null, 2.5, 1e3]\n"})
    assert isinstance(whole, str)
    root, findings = read_yaml(whole, "whole.yaml")
    assert findings == ()
    assert root is not None
    assert plain(root) == {"name": word, "number": 1, "list": [True, None, 2.5, 1000.0]}
