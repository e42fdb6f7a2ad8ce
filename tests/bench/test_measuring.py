"""The measurements work: at tiny sizes, with the real product, a bare Envoy and a fake engine. No figure is judged here."""

from __future__ import annotations

import asyncio
import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module", autouse=True)
def _bench_can_be_imported() -> Iterator[None]:
    sys.path.insert(0, str(ROOT))
    yield
    sys.path.remove(str(ROOT))


@pytest.fixture
def folder() -> Iterator[Path]:
    """Short enough for the path of a Unix socket."""
    with tempfile.TemporaryDirectory(prefix="sd-", dir="/tmp") as made:
        yield Path(made)


def test_the_whole_way_is_measured_and_every_request_is_in_the_ledger(folder):
    from bench.gateway import QUICK, compare, figures_of

    loads, memory = asyncio.run(compare(QUICK, folder))

    figures = {figure.name: figure.value for figure in figures_of(loads, memory)}
    assert all(value > 0 for name, value in figures.items() if "added" not in name)
    assert loads["streams"]["ours"][0].events >= QUICK.streams * QUICK.tokens


def test_the_fake_engine_tells_what_it_served_to_the_end_and_what_was_cut_off(folder):
    from bench.load import request
    from bench.subjects import fake_engine, get, until

    async def play():
        body = {"messages": [{"role": "user", "content": "two words"}], "max_tokens": 50, "stream": True,
            "timings_per_token": True}  # fmt: skip
        socket = str(folder / "engine.sock")
        async with fake_engine(socket, folder / "log", "--per-token", "0.01", "--record"):
            for ticket, tokens, events in (("whole", 3, 10), ("left", 50, 3)):
                reader, writer = await asyncio.open_unix_connection(socket)
                writer.write(request("/v1/chat/completions", body | {"max_tokens": tokens}, {"x-request-id": ticket}))
                heard = b""
                while heard.count(b"data: ") < events and b"[DONE]" not in heard:
                    heard += await reader.read(65536)
                writer.close()
                await writer.wait_closed()

            async def told():
                return len((await get(socket, "/served"))[1].split(b'"left"')) == 2

            await until(told, "the record", within=5)
            return json.loads((await get(socket, "/served"))[1])

    served = asyncio.run(play())

    assert served["completed"] == {"whole": [2, 3]}
    [(given, made)] = served["cut"].values()
    assert given == 2
    assert 2 <= made < 50


def test_an_answer_that_is_not_200_is_a_fault_and_not_a_figure(folder):
    from bench.load import load, request
    from bench.subjects import fake_engine

    async def play():
        async with fake_engine(str(folder / "engine.sock"), folder / "log") as engine:
            return await load(engine.address, [request("/v1/nothing", {})], connections=2, count=10)

    taken = asyncio.run(play())

    assert taken.statuses == {404: 10}
    assert "File Not Found" in taken.fault()


def test_events_are_counted_wherever_the_network_cuts_them():
    from bench.load import _Connection, _Work

    whole = (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n" + b'9\r\ndata: {}\n\r\n' * 3
        + b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")  # fmt: skip

    class Wire:
        def write(self, data): ...
        def close(self): ...

    async def cut(size):
        work = _Work([b"ask"], 1, float("inf"), None)
        connection = _Connection(work, asyncio.get_running_loop().create_future())
        connection.connection_made(Wire())
        for at in range(0, len(whole), size):
            connection.data_received(whole[at : at + size])
        return work.taken

    for size in range(1, len(whole) + 1):
        taken = asyncio.run(cut(size))
        assert (taken.events, len(taken.latencies)) == (3, 1), f"cut every {size} bytes"


def test_under_a_flood_the_others_wait_less_than_first_come_first_served_would_have_them(folder):
    from bench.fairness import QUICK, chart_of, figures_of, measured, percentile, rounds_of, show_parts
    from bench.subjects import fake_engine

    async def play():
        # A fake engine of an even pace, so that this is quick and the order of the figures is no matter of luck.
        async with fake_engine(str(folder / "engine.sock"), folder / "log", "--per-token", "0.01") as engine:
            return await measured(QUICK, folder, {"address": engine.address})

    found = asyncio.run(play())

    parts = (found.alone, found.shares, found.first_come)
    assert all(told.status == 200 and len(told.tokens) == QUICK.short for one in parts for told in one.usual)
    assert len({tuple(told.who for told in one.usual) for one in parts}) == 1, "the same arrivals three times"
    half = [percentile(one.waits(), 0.5) for one in parts]
    assert half[1] < half[2] / 2, "under the flood"
    assert found.first_come.rate(found.first_come.flood) > 0 < found.shares.rate(found.shares.flood)
    [back] = found.absent
    assert back.held == 4
    assert 0 < back.first <= back.whole
    figures = [figure for some in figures_of(found).values() for figure in some]
    assert all(figure.value >= 0 for figure in figures)
    show_parts(found)
    assert json.loads(json.dumps(rounds_of(found, QUICK)))["waits"]["shares"]
    assert chart_of(found).startswith("<svg")


def test_a_target_is_met_or_missed_and_a_figure_without_one_is_neither():
    from bench.report import Figure

    assert Figure("x", 2.0, "µs", 2.2).met is True
    assert Figure("x", 2.3, "µs", 2.2).met is False
    assert Figure("x", 19.0, "×", 20.0, at_least=True).met is False
    assert Figure("x", 1.0, "µs").met is None


def test_three_models_in_the_room_for_two_are_measured_beside_the_rival(folder):
    from bench.swap import Sizes, measure

    for name in ("planned", "lru", "cold"):
        (folder / name).mkdir()
    sections, rounds, faults = asyncio.run(measure(Sizes(requests=12, gap=0.3, tokens=2, colds=1), folder))

    assert faults == []
    assert {figure.name: figure.value for figure in sections["Samdrift"]}["answered whole"] == 12
    assert all(sum(rounds[policy]["loads"].values()) >= 2 for policy in ("planned", "lru"))
    assert rounds["cold"][0] > 0
