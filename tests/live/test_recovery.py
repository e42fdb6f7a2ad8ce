"""Whatever is killed comes back by itself, and what was served before is counted exactly."""

from __future__ import annotations

import contextlib
import copy
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.live.communities import CHAT_WEIGHTS, PATIENCE, SAMDRIFT, Community, document, is_alive, until
from tests.live.contention import kept

from samdrift.spec.usage import Outcome

BACK = 5.0
"""Seconds in which the service is back, on a machine that has a processor for it."""


def described() -> dict[str, object]:
    models = {"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 2, "context": 512}}
    return document(models=models, organisations={"aarhus": {}, "viborg": {}})


@pytest.fixture(scope="module")
def sturdy(somewhere: Path) -> Iterator[Community]:
    with Community(somewhere / "sturdy", described()) as running:
        running.key()
        running.key("viborg")
        yield running


def served(community: Community) -> bool:
    """Whether the next request is answered; whatever goes wrong on the way is a no."""
    with contextlib.suppress(httpx.HTTPError):
        return community.chat(max_tokens=1).status_code == 200
    return False


def seconds_until_served(community: Community) -> float:
    began = time.monotonic()
    until(lambda: served(community), "it serves again")
    return time.monotonic() - began


def test_an_engine_killed_under_a_stream(sturdy: Community) -> None:
    sturdy.at_rest()
    engine = sturdy.processes()["chat-0"]
    restarts = sturdy.metric("samdrift_replica_restarts_total", model="chat", replica="chat-0")
    with sturdy.stream() as stream:
        stream.read(4)
        os.kill(engine, signal.SIGKILL)
        stream.rest()
        assert not stream.done, "the client can tell that this was not the end"
        row = sturdy.usage(stream.ticket)
    assert (row.outcome, row.output_tokens, row.estimated) == (Outcome.FAILED, stream.counted, False)
    assert kept(seconds_until_served(sturdy), BACK)
    assert sturdy.processes()["chat-0"] != engine
    assert sturdy.metric("samdrift_replica_restarts_total", model="chat", replica="chat-0") == restarts + 1
    sturdy.at_rest()


def test_the_control_plane_killed_under_a_stream(sturdy: Community) -> None:
    sturdy.at_rest()
    control, others = sturdy.control, sturdy.processes()
    with sturdy.stream(max_tokens=300) as stream:
        stream.read(3)
        until(lambda: stream.ticket in {ticket["ticket"] for ticket in sturdy.open()}, "the open ticket is written down")
        os.kill(control, signal.SIGKILL)
        assert kept(seconds_until_served(sturdy), BACK)
        stream.rest()
        assert stream.done, "the stream ran to its end"
        row = sturdy.usage(stream.ticket)
    assert (row.outcome, row.output_tokens, stream.counted) == (Outcome.COMPLETED, 300, 300)
    assert sturdy.metric("samdrift_receipts_total", kind="lapsed") == 0, "its seat was never given to others meanwhile"
    assert sturdy.control != control
    assert sturdy.processes() == others, "Envoy and the engine ran on"
    assert "starting it again" in sturdy.said
    sturdy.at_rest()


def test_a_stream_that_ends_while_the_control_plane_is_away_is_counted_once(sturdy: Community) -> None:
    sturdy.at_rest()
    rows = sturdy.rows()
    with sturdy.stream(max_tokens=8) as stream:
        stream.read(1)
        os.kill(sturdy.process.pid, signal.SIGSTOP)  # the guardian starts nothing meanwhile
        try:
            os.kill(sturdy.control, signal.SIGKILL)
            stream.rest()
            assert stream.done
            refused = httpx.post(f"{sturdy.url}/v1/chat/completions", json={"model": "chat"}, trust_env=False)
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "control_unavailable")
            assert int(refused.headers["retry-after"]) >= 1
        finally:
            os.kill(sturdy.process.pid, signal.SIGCONT)
        row = sturdy.usage(stream.ticket)
    assert (row.outcome, row.output_tokens) == (Outcome.COMPLETED, 8)
    assert kept(seconds_until_served(sturdy), BACK)
    sturdy.settled()
    assert sturdy.usage(stream.ticket) == row
    assert sturdy.rows() >= rows + 2


def test_envoy_killed_under_streams(sturdy: Community) -> None:
    sturdy.at_rest()
    envoy, engine = sturdy.processes()["envoy"], sturdy.processes()["chat-0"]
    with sturdy.stream() as one, sturdy.stream() as other:
        one.read(2)
        other.read(2)
        assert sturdy.metric("samdrift_seats_in_use") == 2
        os.kill(envoy, signal.SIGKILL)
        for stream in (one, other):
            stream.rest()
            assert not stream.done
        assert kept(seconds_until_served(sturdy), BACK)
        sturdy.at_rest()
        assert {sturdy.usage(stream.ticket).outcome for stream in (one, other)} <= {Outcome.LAPSED, Outcome.FAILED}
    assert sturdy.processes()["chat-0"] == engine
    assert sturdy.processes()["envoy"] != envoy


# -- the document -------------------------------------------------------------------------------------------------


def reload(community: Community) -> str:
    """Have the document read again; what was said about it."""
    before = len(community.said)
    community.process.send_signal(signal.SIGHUP)
    return until(lambda: community.said[before:] if "The document was" in community.said[before:] else "", "it says so")


def test_a_changed_document_takes_effect_under_a_running_stream_and_a_waiting_request(sturdy: Community) -> None:
    sturdy.at_rest()
    changed = copy.deepcopy(sturdy.described)
    changed["organisations"] |= {"samsoe": {}, "viborg": {"share": {"weight": 5}}}
    with contextlib.ExitStack() as streams:
        one, other = streams.enter_context(sturdy.stream()), streams.enter_context(sturdy.stream())
        one.read(1)
        other.read(1)
        # Only now: it must find both seats taken.
        waiting = streams.enter_context(sturdy.stream(key=sturdy.key("viborg"), max_tokens=2))
        until(lambda: sturdy.metric("samdrift_waiting_requests") == 1, "one waits")
        sturdy.describe(changed)
        assert "was changed in 2 places" in reload(sturdy)
        newcomer = sturdy.command("keys", "create", "samsoe").stdout.strip()
        until(lambda: sturdy.lets_in(newcomer), "a key of the new organisation works")
        assert sturdy.metric("samdrift_waiting_requests") == 1
        read = one.pieces
        one.read(read + 2)
        other.hang_up()
        waiting.rest()
        assert waiting.done
        one.hang_up()
    sturdy.at_rest()


def test_an_organisation_that_left_the_document_is_let_in_no_more(sturdy: Community) -> None:
    key, before = sturdy.key("viborg"), copy.deepcopy(sturdy.described)
    changed = copy.deepcopy(before)
    del changed["organisations"]["viborg"]
    sturdy.describe(changed)
    reload(sturdy)
    assert sturdy.chat(key=key).status_code == 401
    sturdy.describe(before)
    reload(sturdy)
    assert sturdy.chat(key=key).status_code == 200


@pytest.mark.parametrize(("change", "said"), [
    ({"organisations": {"aarhus": {"weigth": 3}}}, "weigth"),
    ({"fairness": {"wait": {"interactive": "soon"}}}, "soon"),
    ({"gateway": {"listen": "127.0.0.1:1"}}, "gateway.listen"),
])  # fmt: skip
def test_a_document_that_cannot_be_taken_changes_nothing_and_says_why(
    sturdy: Community, change: dict[str, object], said: str
) -> None:
    before, text = sturdy.described, sturdy.document.read_text()
    url = sturdy.url
    try:
        sturdy.describe(copy.deepcopy(before) | change)
        answer = reload(sturdy)
        assert "was not changed" in answer
        assert said in answer
    finally:
        sturdy.describe(before)
        assert sturdy.document.read_text() == text
        assert sturdy.url == url
    assert sturdy.chat(key=sturdy.key("viborg")).status_code == 200


# -- beginning and end --------------------------------------------------------------------------------------------


def test_a_second_one_on_the_same_folder_is_refused_and_harms_nobody(sturdy: Community, somewhere: Path) -> None:
    processes = sturdy.processes()
    second = Community(somewhere / "second", described())
    command = [*SAMDRIFT, "up", str(second.document), "--data", str(sturdy.data)]
    refused = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert refused.returncode == 1
    assert f"Samdrift already runs in {sturdy.data}" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert sturdy.processes() == processes
    assert served(sturdy)


@pytest.mark.parametrize("section", ["gateway", "observe"])
def test_a_port_that_is_taken_is_said_so(somewhere: Path, section: str) -> None:
    hapless = Community(somewhere / f"port-{section}", described())
    host, _, port = hapless.described[section]["listen"].rpartition(":")
    try:
        with socket.socket() as taken:
            taken.bind((host, int(port)))
            taken.listen()
            assert hapless.launch().wait(PATIENCE) == 1
    finally:
        hapless.stop()
    assert f"Another program listens at {host}:{port}. Stop it, or change `{section}.listen`" in hapless.said
    assert "Traceback" not in hapless.said
    assert hapless.processes() == {}


def all_of(community: Community) -> set[int]:
    """The pids of all processes that belong to this community: by what they are called with, and by its records."""
    mine = str(community.folder).encode()
    found = set(community.processes().values())
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit() and int(folder.name) != os.getpid():
            with contextlib.suppress(OSError):
                called = (folder / "cmdline").read_bytes() + bytes((folder / "cwd").readlink())
                if mine in called and is_alive(int(folder.name)):
                    found.add(int(folder.name))
    return found


def test_ctrl_c_ends_everything(somewhere: Path) -> None:
    with Community(somewhere / "ended", described()) as brief:
        with brief.stream() as stream:
            stream.read(2)
            mine = all_of(brief)
            assert len(mine) >= 4, "guardian, control plane, Envoy, engine"
            began = time.monotonic()
            brief.process.send_signal(signal.SIGINT)
            assert brief.process.wait(PATIENCE) == 0
            assert kept(time.monotonic() - began, 5)
            stream.rest()
            ticket, counted = stream.ticket, stream.counted
        assert all_of(brief) == set()
        assert not any(map(is_alive, mine))
        assert "Stopped." in brief.said
        # What was cut off by the end is counted, too: now, or by the next one that runs here.
        brief.said_file.unlink()
        brief.start()
        row = brief.usage(ticket)
        assert row.outcome in {Outcome.FAILED, Outcome.LEFT}
        assert row.output_tokens == counted


def test_when_the_guardian_is_killed_nothing_is_left_either(somewhere: Path) -> None:
    with Community(somewhere / "orphan", described()) as orphan:
        orphan.process.kill()
        until(lambda: not all_of(orphan) - {orphan.process.pid}, "all have ended", 10)
