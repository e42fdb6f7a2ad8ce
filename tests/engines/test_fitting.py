"""Before anything is started: whether the weights of a document are such as their engines can load, for what is asked of them."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import gguf
import pytest
from tests.engines import tiny_weights
from tests.engines.conftest import CHAT, EMBED

from samdrift.engines.fitting import misfits_of
from samdrift.engines.provisioning import Provisions
from samdrift.engines.weights import prepare
from samdrift.spec.document import Spec


def described(**model: Any) -> Spec:
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Test"},
        "organisations": {"aarhus": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}, {"kind": "nvidia-l40s"}]}},
        "models": {"m": {"pool": "here", **model}},
    })  # fmt: skip


def said_before(spec: Spec, base: Path = Path()) -> list[tuple[str, str]]:
    """What `samdrift check` says."""
    return [(str(finding.path[-1]), finding.sentence) for finding in misfits_of(spec, base=base)]


def said_at_start(spec: Spec, base: Path) -> str | None:
    """What is said when they are to be served."""
    provisions = Provisions(base=base, cache=base / "cache", secret=None, told=lambda *_: None)
    _, problems = asyncio.run(provisions.all(spec))
    return problems.get("m")


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory, weights_cache: Path) -> Path:
    folder = tmp_path_factory.mktemp("fitting")
    tiny_weights.projector(folder / "mmproj.gguf")
    source = prepare(EMBED, base=Path(), cache=weights_cache, step=lambda _what, _share: None).path
    tiny_weights.reranker(folder / "rank.gguf", source)
    (folder / "embed.gguf").symlink_to(source)
    writer = gguf.GGUFWriter(folder / "sound.gguf", "clip")
    writer.add_bool("clip.has_audio_encoder", True)
    tiny_weights.written(writer, folder / "sound.gguf")
    (folder / "folder").mkdir()
    return folder


GOOD: dict[str, dict[str, Any]] = {
    "a model that sees": {"weights": CHAT, "projector": "file:mmproj.gguf"},
    "a model that reranks": {"weights": "file:rank.gguf", "task": "rerank"},
    "a folder that is converted": {"weights": EMBED, "task": "embed"},
}


@pytest.mark.parametrize("case", GOOD)
def test_what_fits_is_ready(base: Path, case: str) -> None:
    spec = described(**GOOD[case])
    assert said_before(spec, base) == []
    assert said_at_start(spec, base) is None


BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "a projector for weights": ({"weights": "file:mmproj.gguf"}, "weights", "projector"),
    "weights for a projector": ({"weights": CHAT, "projector": "file:embed.gguf"}, "projector", "no projector"),
    "weights that only embed": ({"weights": "file:embed.gguf", "task": "rerank"}, "weights", "no head that makes scores"),
    "weights that only chat": ({"weights": CHAT, "task": "rerank"}, "weights", "no head that makes scores"),
    "a file for an engine that loads folders": ({"weights": "file:rank.gguf", "engine": "vllm"}, "weights", "is one file"),
}


@pytest.mark.parametrize("case", BAD)
def test_what_does_not_fit_is_said_by_check_and_again_where_it_is_served(base: Path, case: str) -> None:
    model, where, words = BAD[case]
    spec = described(**model)
    (found,) = said_before(spec, base)
    assert found[0] == where
    assert words in found[1]
    said = said_at_start(spec, base)
    assert said is not None
    assert words in said


def test_a_projector_for_sound_is_none_for_images(base: Path) -> None:
    said = said_at_start(described(weights=CHAT, projector="file:sound.gguf"), base)
    assert said is not None
    assert "for sound" in said


def test_a_model_stands_in_a_pool_whose_devices_its_engine_runs_on() -> None:
    spec = described(weights="hf:org/name@main", engine="sglang").model_dump()
    spec["pools"] = {"here": {"devices": [{"kind": "cpu"}]}}
    said = ("pool", "`sglang` runs on NVIDIA's devices and AMD's devices, and pool `here` has none.")
    assert said_before(Spec.model_validate(spec)) == [said]
    spec["pools"] = {"here": {"devices": [{"kind": "amd-mi300x"}]}}
    assert said_before(Spec.model_validate(spec)) == []
    spec["models"]["m"]["engine"] = "llamacpp"
    assert said_before(Spec.model_validate(spec)) == [("pool", "`llamacpp` runs on processors, and pool `here` has none.")]
    spec["cluster"] = {"host": "ai.example.dk"}  # what is there, is there
    assert said_before(Spec.model_validate(spec)) == []


def test_a_file_that_is_not_fetched_yet_is_known_by_its_name() -> None:
    assert said_before(described(weights="hf:org/name@main/model.gguf", engine="sglang")) == [
        ("weights", "`sglang` loads a folder with safetensors, and this is one file.")]  # fmt: skip
    assert said_before(described(weights="hf:org/name@main/model.gguf", engine="text-generation-webui")) == []


def test_a_folder_is_for_engines_that_load_folders(base: Path) -> None:
    assert said_before(described(weights="file:folder", engine="vllm"), base) == []
    assert said_before(described(weights="file:folder"), base) == [
        ("weights", "`llamacpp` loads one GGUF file, and this is a folder.")]  # fmt: skip
