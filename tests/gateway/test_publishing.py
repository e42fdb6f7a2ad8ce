"""A changed document or fleet takes effect without breaking what runs: real Envoy."""

from __future__ import annotations

import asyncio
import json
import stat
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from tests.gateway.standins import CHAT, RESERVED, Entrance, stream

from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.publishing import Publisher, SnapshotRejected
from samdrift.gateway.snapshot import Places, snapshot_of
from samdrift.spec.document import Spec
from samdrift.spec.fleet import Fleet, ReplicaState
from samdrift.spec.usage import Outcome

BODY = {"model": "chat"}


@pytest.fixture(scope="module")
def changing(document: Callable[..., Spec]) -> Iterator[Entrance]:
    with Entrance(document()) as opened:
        yield opened


def timed(n: int) -> bytes:
    return json.dumps({"timings": {"prompt_n": 10, "cache_n": 0, "predicted_n": n}}).encode()


def refusal(response: httpx.Response) -> str:
    return str(response.json()["error"]["code"])


class Gate:
    """A stream that begins, and ends when it is told to."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()

    async def play(self, _served, _receive, send) -> None:
        await stream(send, *map(timed, range(1, 101)), more=True)
        await asyncio.wait_for(self.opened.wait(), 10)
        for n in range(101, 601):
            await send({"type": "http.response.body", "body": b"data: " + timed(n) + b"\n\n", "more_body": True})
        await send({"type": "http.response.body", "body": b"data: [DONE]\n\n"})

    async def open(self) -> None:
        self.opened.set()


def test_a_stream_runs_to_its_end_although_its_replica_and_its_listener_are_no_longer_told_of(changing: Entrance) -> None:
    gate = Gate()
    with changing.engine.playing(gate.play), changing.http() as http:
        with http.stream("POST", CHAT, json={**BODY, "stream": True}) as response:
            parts = response.iter_bytes()
            heard = next(parts)
            changing.publish(fleet=Fleet(), reserved=RESERVED | {"new_field"})
            assert refusal(changing.post(BODY)) == "engine_failed"  # the replica is gone to those who come now
            assert refusal(changing.post({**BODY, "new_field": 1})) == "reserved_field"
            changing.call(gate.open())
            for part in parts:
                heard += part
        assert heard.count(b"data: ") == 601
        assert heard.endswith(b"data: [DONE]\n\n")
        receipt = changing.receipt(response.headers["x-samdrift-ticket"])
    assert (receipt.tokens, receipt.outcome) == (Tokens(10, 0, 600), Outcome.COMPLETED)
    changing.publish()
    assert changing.post(BODY).status_code == 200
    assert changing.post({**BODY, "new_field": 1}).status_code == 200


def test_a_replica_that_moves_is_found_at_its_new_place(changing: Entrance) -> None:
    first, *_ = changing.fleet.replicas
    changing.publish(fleet=Fleet((replace(first, address=str(changing.folder / "run/nowhere.sock")),)))
    assert refusal(changing.post(BODY)) == "engine_failed"
    changing.publish(fleet=Fleet((first,)))
    assert changing.post(BODY).status_code == 200
    changing.publish()


def test_a_draining_replica_keeps_its_place(changing: Entrance) -> None:
    first, *_ = changing.fleet.replicas
    changing.publish(fleet=Fleet((replace(first, state=ReplicaState.DRAINING),)))
    assert changing.post(BODY).status_code == 200
    changing.publish()


def test_what_envoy_does_not_take_is_told_and_what_was_before_stays_in_force(changing: Entrance) -> None:
    gateway = changing.spec.gateway.model_copy(update={"max_headers": 2**40})
    with pytest.raises(SnapshotRejected, match="Envoy has not taken the configuration within"):
        changing.publish(spec=changing.spec.model_copy(update={"gateway": gateway}), within=0.5)
    assert changing.post(BODY).status_code == 200
    changing.publish()


def test_a_journal_that_is_moved_aside_is_written_anew(changing: Entrance) -> None:
    before = changing.post(BODY).headers["x-samdrift-ticket"]
    changing.line(before)
    changing.journal.path.rename(changing.journal.path.with_name("receipts.1.jsonl"))
    changing.call(Publisher(changing.folder, changing.places).reopen_logs())
    after = changing.post(BODY).headers["x-samdrift-ticket"]
    assert changing.line(after).ticket == after
    assert after in changing.journal.path.read_text()
    assert changing.line(before).ticket == before


def test_only_its_owner_may_read_what_envoy_is_told_or_speak_to_it(changing: Entrance) -> None:
    files = [*changing.folder.joinpath("envoy").iterdir(), changing.folder / changing.places.admin,
        changing.folder / changing.places.receipts]  # fmt: skip
    assert len(files) == 5
    assert {stat.S_IMODE(file.stat().st_mode) & 0o077 for file in files} == {0}


def test_only_what_changed_is_written(document: Callable[..., Spec], tmp_path: Path) -> None:
    publisher, spec = Publisher(tmp_path, Places()), document()
    publisher.write(snapshot_of(spec, Fleet()))
    files = {name: tmp_path / f"envoy/{name}.json" for name in ("listeners", "clusters")}
    before = {name: file.stat().st_ino for name, file in files.items()}
    publisher.write(snapshot_of(spec, Fleet()))
    assert {name: file.stat().st_ino for name, file in files.items()} == before
    publisher.write(snapshot_of(spec, Fleet(), reserved=frozenset({"new_field"})))
    assert files["clusters"].stat().st_ino == before["clusters"]
    assert "new_field" in files["listeners"].read_text()
    assert not list((tmp_path / "envoy").glob(".*"))


def test_an_envoy_that_is_not_there_is_not_ready(tmp_path: Path) -> None:
    assert asyncio.run(Publisher(tmp_path, Places()).ready()) is False


def test_an_envoy_that_serves_is_ready(changing: Entrance) -> None:
    assert changing.call(Publisher(changing.folder, changing.places).ready()) is True
