"""Weights that come over a network: from servers that cut, stall, lie and redirect, onto disks that are full."""

from __future__ import annotations

import hashlib
import json
import os
import resource
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from samdrift.engines.weights import NoRoom, Unreachable, WeightsError, prepare

NAME = "hf:org/model/a.gguf"
PIECE = 64 * 1024


@pytest.fixture
def fetch(folders, means):
    base, cache = folders

    def fetched(reference=NAME, steps=None, licence="", precision=None, wanted="gguf", **more):
        return prepare(reference, base=base, cache=cache, licence=licence, precision=precision, wanted=wanted,
            means=means(**more), step=lambda what, share: steps.append((what, share)) if steps is not None else None)  # fmt: skip

    return fetched


@pytest.fixture
def whole(hub, make_gguf):
    content = make_gguf()
    hub.has("org/model", {"a.gguf": content})
    return content


def left_over(folders):
    return [path.name for path in (folders[1] / "partial").iterdir()]


def cut_after(count):
    def fault(handler, content):
        begin = int(handler.headers["range"].partition("=")[2].partition("-")[0])
        handler.say(206, content[begin : begin + PIECE], cut=count,
            **{"content-range": f"bytes {begin}-{min(begin + PIECE, len(content)) - 1}/{len(content)}"})  # fmt: skip
        return True

    return fault


def stall(handler, content):
    begin, end = handler.headers["range"].partition("=")[2].split("-")
    handler.send_response(206)
    handler.send_header("content-length", str(int(end) - int(begin) + 1))
    handler.send_header("content-range", f"bytes {begin}-{end}/{len(content)}")
    handler.end_headers()
    handler.here.over.wait(10)
    return True


def busy(handler, content):
    handler.say(503, b"", **{"retry-after": "0"})
    return True


def without_ranges(handler, content):
    handler.say(200, content)
    return True


def test_a_model_is_fetched_in_several_parts_at_once_and_says_how_far_it_is(fetch, whole, server, folders):
    steps = []
    found = fetch(steps=steps)
    assert found.path.read_bytes() == whole
    assert found.path.name == "a.gguf"
    assert (found.head.architecture, found.licence) == ("llama", "apache-2.0")
    ranges = {headers["range"] for path, headers in server.asked if path in server.files}
    assert len(ranges) == -(-len(whole) // PIECE)
    shares = [share for what, share in steps if what == "fetching"]
    assert shares == sorted(shares)
    assert shares[-1] == 1
    assert left_over(folders) == []


def test_what_is_here_is_not_asked_for_again_even_when_the_hub_is_gone(fetch, whole, server):
    first = fetch()
    server.files.clear()
    server.answers.clear()
    asked = len(server.asked)
    assert fetch() == first
    assert len(server.asked) == asked


@pytest.mark.parametrize("faults", [
    [cut_after(10_000)] * 5, [cut_after(0), cut_after(0)], [busy, busy], [stall], [without_ranges],
    [cut_after(10), busy, without_ranges],
])  # fmt: skip
def test_a_server_that_cuts_stalls_or_is_busy_is_asked_for_the_rest(fetch, whole, server, faults):
    server.faults = list(faults)
    assert fetch(silence=0.3).path.read_bytes() == whole


def test_a_server_without_ranges_is_read_from_the_start_to_the_end(fetch, whole, server):
    server.always = without_ranges
    assert fetch().path.read_bytes() == whole


def test_a_server_that_never_gives_more_is_given_up_with_the_reason(fetch, whole, server):
    server.always = lambda handler, content: handler.say(200, content, cut=1000) or True
    with pytest.raises(Unreachable, match=r"hf:org/model/a\.gguf failed after 3 tries"):
        fetch()


def test_a_fetch_that_was_ended_goes_on_where_it_was(fetch, whole, server, folders):
    stop = threading.Event()
    with pytest.raises(WeightsError, match="was stopped"):
        fetch(stop=stop, parallel=1, steps=_StopAt(stop, 0.5))
    before = len(server.fetched())
    assert fetch().path.read_bytes() == whole
    assert len(server.fetched()) - before < -(-len(whole) // PIECE)
    assert left_over(folders) == []


class _StopAt(list):
    def __init__(self, stop, share):
        super().__init__()
        self.stop, self.share = stop, share

    def append(self, step):
        if step[0] == "fetching" and step[1] > self.share:
            self.stop.set()


def test_what_a_killed_process_left_damaged_is_found_out_and_fetched_again(fetch, whole, server, folders):
    stop = threading.Event()
    with pytest.raises(WeightsError, match="was stopped"):
        fetch(stop=stop, parallel=1, steps=_StopAt(stop, 0.5))
    part = next((folders[1] / "partial").glob("*.part"))
    done = json.loads(part.with_suffix(".json").read_text())["done"]
    with part.open("r+b") as file:
        file.seek(done[0] * PIECE)
        file.write(b"damaged")
    assert fetch().path.read_bytes() == whole


def test_a_file_of_another_content_than_the_hub_promised_is_not_kept(fetch, whole, server, folders):
    path = next(iter(server.files))
    server.files[path] = whole[:-1] + bytes([whole[-1] ^ 1])
    with pytest.raises(WeightsError, match=r"checksum of a\.gguf differs"):
        fetch()
    assert left_over(folders) == []
    server.files[path] = whole
    assert fetch().path.read_bytes() == whole


def test_a_file_of_another_size_than_the_hub_promised_is_refused_at_once(fetch, whole, server):
    path = next(iter(server.files))
    server.files[path] = whole + b"more"
    with pytest.raises(WeightsError, match="was asked for byte"):
        fetch()


def test_small_files_are_compared_by_the_name_that_git_gives_them(fetch, hub, make_gguf, server):
    content = make_gguf()
    hub.has("org/model", {"a.gguf": content}, small=("a.gguf",))
    path = "/org/model/resolve/" + "c0ffee" * 6 + "c0ff" + "/a.gguf"
    server.files[path] = content[:-1] + b"?"
    with pytest.raises(WeightsError, match="checksum"):
        fetch()
    server.files[path] = content
    assert fetch().path.read_bytes() == content


def test_a_token_goes_to_the_hub_and_not_to_where_it_sends_us(fetch, hub, make_gguf, server, other_server):
    from samdrift.spec.weights import Hub

    content = make_gguf()
    hub.has("org/model", {"a.gguf": content}, token="hemmelig")
    other_server.files["/elsewhere"] = content
    # Another name of the same machine is another host.
    elsewhere = other_server.url.replace("127.0.0.1", "localhost") + "/elsewhere"
    server.always = lambda handler, _: handler.say(302, b"", location=elsewhere) or True
    with pytest.raises(WeightsError, match="not open to all"):
        fetch()
    assert fetch(hf=Hub(endpoint=server.url, token="${env:T}")).path.read_bytes() == content
    assert all(headers["authorization"] == "Bearer hemmelig" for path, headers in server.asked if path in server.files)
    assert other_server.asked
    assert all("authorization" not in headers for _, headers in other_server.asked)


def test_a_circle_of_redirects_ends(fetch, whole, server):
    server.always = lambda handler, _: handler.say(302, b"", location=handler.path) or True
    with pytest.raises(WeightsError, match="redirect"):
        fetch()


def test_a_model_that_is_not_there_is_named(fetch, server):
    with pytest.raises(WeightsError, match="knows no such model or revision"):
        fetch("hf:org/nothing")


def test_a_hub_that_nobody_named_is_asked_for_in_words(fetch, whole):
    from samdrift.spec.weights import Hub

    with pytest.raises(WeightsError, match="Set HF_ENDPOINT"):
        fetch(hf=Hub())


def test_the_environment_may_name_the_hub(fetch, whole, server):
    from samdrift.spec.weights import Hub

    assert fetch(hf=Hub(), environment={"HF_ENDPOINT": server.url}).path.read_bytes() == whole


def test_without_a_network_nothing_is_asked(fetch, whole, server):
    with pytest.raises(WeightsError, match=r"`weights\.network` is `none`"):
        fetch(network="none")
    assert server.asked == []
    fetch()
    asked = len(server.asked)
    assert fetch(network="none").path.read_bytes() == whole
    assert len(server.asked) == asked


def test_a_damaged_file_in_the_cache_is_fetched_again(fetch, whole, server):
    path = fetch().path.resolve()
    path.chmod(0o600)
    with path.open("r+b") as file:
        file.seek(-4, os.SEEK_END)
        file.write(b"rot!")
    with pytest.raises(WeightsError, match="network"):
        fetch(network="none")
    assert fetch().path.read_bytes() == whole


def test_a_licence_that_is_not_open_is_accepted_by_name_or_nothing_is_fetched(fetch, hub, make_gguf, server):
    hub.has("org/model", {"a.gguf": make_gguf(licence="")}, licence="llama3.1")
    with pytest.raises(WeightsError, match=r"`licence: llama3\.1`"):
        fetch()
    with pytest.raises(WeightsError, match=r"llama3\.1"):
        fetch(licence="gemma")
    assert server.fetched() == []
    assert fetch(licence="Llama3.1").licence == "llama3.1"


def test_a_model_of_a_hub_without_a_licence_needs_one_named(fetch, hub, make_gguf, server):
    hub.has("org/model", {"a.gguf": make_gguf(licence="")}, licence="")
    with pytest.raises(WeightsError, match="names no licence"):
        fetch()
    assert server.fetched() == []
    assert fetch(licence="our-agreement").licence == ""


def test_pickles_are_refused_and_programs_are_left_where_they_are(fetch, hub, server):
    hub.has("org/model", {"pytorch_model.bin": b"\x80\x04.", "config.json": b"{}"})
    with pytest.raises(WeightsError, match="only as pickle"):
        fetch("hf:org/model")
    with pytest.raises(WeightsError, match="may carry a program"):
        fetch("hf:org/model/pytorch_model.bin")
    tensors = safetensors()
    config = json.dumps({"model_type": "qwen3", "num_hidden_layers": 2, "hidden_size": 8, "num_attention_heads": 2,
        "num_key_value_heads": 1, "head_dim": 4, "max_position_embeddings": 99}).encode()  # fmt: skip
    hub.has("org/model", {"model.safetensors": tensors, "pytorch_model.bin": b"\x80", "modeling.py": b"import os",
        "config.json": config}, small=("config.json", "modeling.py"))  # fmt: skip
    found = fetch("hf:org/model", wanted="safetensors")
    assert sorted(path.name for path in found.path.iterdir()) == ["config.json", "model.safetensors"]
    assert (found.head.architecture, found.head.context, found.head.parameters) == ("qwen3", 99, 6)


def safetensors() -> bytes:
    head = json.dumps({"a": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes(24)


def test_of_several_gguf_files_one_must_be_named(fetch, hub, make_gguf):
    hub.has("org/model", {"a.gguf": make_gguf(), "b.gguf": make_gguf(seed=1)})
    with pytest.raises(WeightsError, match=r"as in hf:org/model/a\.gguf"):
        fetch("hf:org/model")


def test_a_file_in_parts_comes_whole(fetch, hub, make_gguf, server):
    parts = {f"big-0000{n}-of-00003.gguf": make_gguf(1000 * n, seed=n) for n in (1, 2, 3)}
    hub.has("org/model", parts)
    found = fetch("hf:org/model")
    assert found.path.name == "big-00001-of-00003.gguf"
    assert {path.name for path in found.path.parent.iterdir()} == set(parts)
    assert found.head.parameters == 6000


def test_names_that_would_leave_the_folder_are_not_fetched(fetch, hub, make_gguf, server, folders):
    hub.has("org/model", {"../../evil.gguf": make_gguf(), "good.gguf": make_gguf(seed=1)})
    assert fetch("hf:org/model").path.name == "good.gguf"
    assert not list(folders[0].parent.rglob("evil*"))


def test_a_truncated_file_is_told_from_a_whole_one(fetch, hub, make_gguf):
    hub.has("org/model", {"a.gguf": make_gguf()[:-1000]})
    with pytest.raises(WeightsError, match="the copy is not whole"):
        fetch()


def test_the_same_bytes_under_two_names_are_kept_once(fetch, hub, make_gguf, folders):
    content = make_gguf()
    hub.has("org/model", {"a.gguf": content, "b.gguf": content})
    one, two = fetch("hf:org/model/a.gguf"), fetch("hf:org/model/b.gguf")
    assert one.path.name != two.path.name
    assert one.path.samefile(two.path)
    assert [path.name for path in (folders[1] / "blobs").iterdir()] == [hashlib.sha256(content).hexdigest()]


def test_a_model_with_the_same_bytes_twice_is_fetched(fetch, hub, server):
    config = b'{"model_type": "a"}'
    files = {"a.safetensors": safetensors(), "b.safetensors": safetensors(), "config.json": config, "other.json": config}
    hub.has("org/model", files, small=("config.json", "other.json"))
    found = fetch("hf:org/model", wanted="safetensors")
    assert {path.name: path.read_bytes() for path in found.path.iterdir()} == files


def test_two_who_want_the_same_fetch_it_once(fetch, whole, server):
    found, trouble = [], []

    def one():
        try:
            found.append(fetch())
        except WeightsError as error:
            trouble.append(error)

    threads = [threading.Thread(target=one) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert trouble == []
    assert found[0] == found[1]
    assert len(server.fetched()) == -(-len(whole) // PIECE)


def test_a_full_disk_is_said_and_when_there_is_room_it_goes_on(fetch, whole, folders):
    """A limit on the size of files stands for the disk: the system then answers as if it was too small."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300_000, hard))
    try:
        with pytest.raises(NoRoom, match=r"the disk is full\. Make room"):
            fetch()
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert left_over(folders) == []
    assert fetch().path.read_bytes() == whole


@pytest.mark.skipif(os.getuid() != 0, reason="only root may mount a small disk")
def test_a_small_disk_that_fills_up_is_found_out_before_the_first_byte(tmp_path, means, whole, server):
    script = Path(__file__).with_name("on_a_small_disk.py")
    got = subprocess.run(["unshare", "--mount", sys.executable, str(script), str(tmp_path), server.url], capture_output=True,
        text=True, timeout=60, check=False)  # fmt: skip
    if "mount: " in got.stderr:
        pytest.skip("this system lets nobody mount: " + got.stderr.strip()[:100])
    assert got.returncode == 0, got.stderr
    first, second = got.stdout.splitlines()
    assert first.startswith("There is no room: 800.")
    assert "are needed, the disk has" in first
    assert second == hashlib.sha256(whole).hexdigest()
    assert len(server.fetched()) == 1
