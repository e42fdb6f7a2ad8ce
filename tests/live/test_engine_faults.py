"""What goes wrong around engines, as whoever runs it sees it: `samdrift status` says why, and it ends without a restart."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.ports import free_port
from tests.live.communities import CHAT_WEIGHTS, PartlyUp, document, until
from tests.live.test_engines_of_others import Vllm, vllm

from samdrift.engines.weights import locate

__all__ = ["vllm"]


@pytest.fixture(scope="module")
def hapless(somewhere: Path) -> Iterator[PartlyUp]:
    """A model that is well, one whose file is half there, and one at a port where nobody listens."""
    folder, whole = somewhere / "hapless", locate(CHAT_WEIGHTS, base=somewhere)
    folder.mkdir()
    torn = folder / "torn.gguf"
    shutil.copyfile(whole, torn)
    os.truncate(torn, whole.stat().st_size // 2)
    small = {"pool": "here", "seats": 1, "context": 128}
    models = {"chat": small | {"weights": CHAT_WEIGHTS}, "torn": small | {"weights": "file:torn.gguf"},
        "far": small | {"engine": "vllm", "address": f"127.0.0.1:{free_port()}"}}  # fmt: skip
    with PartlyUp(folder, document(models=models)) as running:
        running.key()
        yield running


def test_each_fault_stands_in_the_status_and_keeps_nobody_else_from_being_served(hapless: PartlyUp) -> None:
    said = hapless.command("status").stdout
    assert "torn.gguf cannot be served: it has " in said
    assert "the copy is not whole" in said
    assert f"nothing answers at {hapless.described['models']['far']['address']}" in said
    assert hapless.chat().status_code == 200
    assert hapless.chat(model="torn").status_code == 503


def test_a_file_that_is_whole_again_is_served(hapless: PartlyUp) -> None:
    shutil.copyfile(locate(CHAT_WEIGHTS, base=hapless.folder), hapless.folder / "torn.new")
    (hapless.folder / "torn.new").replace(hapless.folder / "torn.gguf")
    until(lambda: hapless.chat(model="torn").status_code == 200, "it is tried again", 90)
    assert "the copy is not whole" not in hapless.command("status").stdout


def test_an_engine_that_is_killed_again_while_it_loads_comes_up_in_the_end(hapless: PartlyUp) -> None:
    for _ in range(2):
        pid = hapless.processes()["chat-0"]
        os.kill(pid, signal.SIGKILL)
        until(lambda before=pid: hapless.processes().get("chat-0", before) != before, "it is started again")
    assert "it was ended by SIGKILL" in hapless.command("status").stdout
    until(lambda: hapless.chat().status_code == 200, "it answers", 60)


def test_an_engine_of_somebody_else_is_served_when_it_listens(hapless: PartlyUp, vllm: Vllm) -> None:
    """It comes up at another port, and the document says so."""
    hapless.described["models"]["far"]["address"] = f"127.0.0.1:{vllm.server_address[1]}"
    hapless.describe(hapless.described)
    hapless.process.send_signal(signal.SIGHUP)
    until(lambda: hapless.chat(model="far").status_code == 200, "it answers")
    assert "nothing answers at" not in hapless.command("status").stdout
