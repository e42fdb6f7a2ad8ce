"""What people see of a running community: how it stands, and why a request was decided as it was."""

from __future__ import annotations

import json
import stat

from tests.live.communities import CHAT, Community, Stream


def test_who_waited_in_vain_is_told_why_and_so_is_who_runs_the_place(busy: Community, taker: Stream) -> None:
    key = busy.key()
    with busy.http(key) as http:
        refused = http.post(CHAT, json={"model": "chat", "max_tokens": 3, "messages": [{"role": "user", "content": "Hello."}]})
    assert refused.status_code == 429
    assert (refused.headers["x-samdrift-share"], refused.headers["x-samdrift-ahead"]) == ("0.5000", "0")
    message = refused.json()["error"]["message"]
    assert message.startswith("No turn came in 2 s. Your organisation is due 50 % of chat and had ")
    assert "viborg" not in message
    said = busy.command("why", refused.headers["x-samdrift-ticket"])
    assert said.returncode == 0, said.stderr
    assert f"“{message}”" in said.stdout
    running = busy.command("why", taker.ticket)
    assert "A seat was free. It went in" in running.stdout
    assert "It runs on chat-0" in running.stdout


def test_the_status_says_who_has_the_seat(busy: Community, taker: Stream) -> None:
    assert taker.status == 200
    status = json.loads(busy.command("status", "--json").stdout)
    chat = status["models"]["chat"]
    assert (chat["seats"], chat["in_use"]) == (1, 1)
    standing = [(one["organisation"], one["running"], one["due"]) for one in chat["organisations"]]
    assert standing == [("aarhus", 0, 0.5), ("viborg", 1, 0.5)]
    shown = busy.command("status")
    assert shown.returncode == 1  # its other model can never be served
    assert "No engine that serves broken is up." in shown.stdout
    assert busy.metric("samdrift_share_due", organisation="aarhus", model="chat") == 0.5


def test_none_of_this_is_for_clients(narrow: Community) -> None:
    assert stat.S_IMODE((narrow.data / "run/local.sock").stat().st_mode) == 0o600
    with narrow.http(narrow.key()) as http:
        for path in ("/api/v1/status", "/api/v1/tickets/x", "/v1/../api/v1/status"):
            answer = http.get(path)
            assert answer.status_code == 401, "an organisation's key opens nothing administrative"
            assert "seats" not in answer.text
    assert b"local.sock" not in b"".join(path.read_bytes() for path in (narrow.data / "envoy").iterdir() if path.is_file())
