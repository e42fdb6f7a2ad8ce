"""Keys are made, listed and revoked beside a running community, which follows within a second."""

from __future__ import annotations

import json
import time

from tests.live.communities import Community, until
from tests.live.contention import kept

SECOND = 1.0


def seconds_until(so: bool, community: Community, key: str) -> float:
    """How long it took until the front door lets this key in, or does not any more."""
    began = time.monotonic()
    until(lambda: community.lets_in(key) is so, "the front door follows")
    return time.monotonic() - began


def test_a_new_key_opens_the_door_within_a_second_and_a_revoked_one_closes_it(community: Community) -> None:
    made = community.command("keys", "create", "samsoe", "--name", "til prøve", "--json")
    assert made.returncode == 0, made.stderr
    facts = json.loads(made.stdout)
    assert kept(seconds_until(True, community, facts["key"]), SECOND)
    assert community.chat(key=facts["key"]).status_code == 200

    listed = {row["key_id"]: row for row in json.loads(community.command("keys", "list", "--json").stdout)}
    assert listed[facts["key_id"]]["state"] == "active"
    assert listed[facts["key_id"]]["name"] == "til prøve"

    revoked = community.command("keys", "revoke", facts["key_id"])
    assert revoked.returncode == 0, revoked.stderr
    assert kept(seconds_until(False, community, facts["key"]), SECOND)
    answer = community.chat(key=facts["key"])
    assert answer.status_code == 401
    assert "revoked" in answer.json()["error"]["message"]
    assert '"revoked"' in community.command("keys", "list", "samsoe", "--json").stdout


def test_a_key_that_is_revoked_while_its_request_waits_is_refused_now(busy: Community) -> None:
    made = json.loads(busy.command("keys", "create", "aarhus", "--project", "patient", "--json").stdout)
    until(lambda: busy.lets_in(made["key"]), "the key is known")
    with busy.stream(key=made["key"]) as waiting:
        until(lambda: busy.metric("samdrift_waiting_requests", organisation="aarhus") == 1, "it waits")
        busy.command("keys", "revoke", made["key_id"])
        assert waiting.status == 401
    assert busy.metric("samdrift_waiting_requests") == 0


def test_no_secret_is_on_disk_or_was_said(community: Community) -> None:
    keys = [community.key("aarhus"), community.key("samsoe"), community.key("aarhus", "--project", "chat")]
    assert all(community.chat(key=key).status_code == 200 for key in keys)
    kept = b"".join(path.read_bytes() for path in community.data.rglob("*") if path.is_file())
    for key in keys:
        assert key[3:14].encode() in kept, "the public id of a key is kept: this is a search that can find"
        assert key[15:].encode() not in kept
        assert key[15:] not in community.said


def test_a_key_for_nobody_is_not_made(community: Community) -> None:
    refused = community.command("keys", "create", "aarhus-kommune")
    assert refused.returncode == 1
    assert "aarhus" in refused.stderr
