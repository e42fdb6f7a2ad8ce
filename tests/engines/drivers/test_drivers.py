"""Each driver against a fake of its engine that is made of documented answers."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.engines.drivers.answers import ANSWERS, Fake, listening

from samdrift.engines.drivers import GIB, AdapterAtHand, Complaint, Planned
from samdrift.engines.relaying import PORT, SETTINGS
from samdrift.engines.repertoire import DRIVERS
from samdrift.spec.abilities import ENDPOINTS, TASKS
from samdrift.spec.checking import check
from samdrift.spec.checking_engines import ADAPT
from samdrift.spec.document import EngineName, Spec

STARTED = [name for name, driver in DRIVERS.items() if driver.starts]
ALL = pytest.mark.parametrize("name", DRIVERS)


def planned(engine: str, folder: Path = Path("/data"), **more: object) -> Planned:
    return replace(Planned(name="chat-0", model="chat", engine=engine, task="generate", weights=folder / "weights/model.gguf",
        pooled=False, seats=4, context=2048, address=str(folder / "run/engines/chat-0/engine.sock"),
        log=folder / "logs/chat-0.log", asked_threads=None, threads=3), **more)  # fmt: skip


def test_every_engine_of_the_document_has_a_driver_and_answers() -> None:
    assert set(get_args(EngineName)) == set(DRIVERS) == set(ANSWERS)


@ALL
def test_only_paths_that_the_gateway_knows_are_answered(name: str) -> None:
    for task in TASKS:
        assert all(ENDPOINTS[path] == task for path in DRIVERS[name].endpoints(task))
    assert DRIVERS[name].endpoints("generate")


@ALL
def test_fields_are_json_and_every_stream_is_made_to_say_what_it_took(name: str) -> None:
    for task in TASKS:
        for kind, text in DRIVERS[name].fields(task).items():
            fields = json.loads(f"{{{text}}}")
            if (task, kind) == ("generate", "stream"):
                assert fields.get("stream_options", {}).get("include_usage") or fields["timings_per_token"]


@ALL
def test_clients_may_send_what_the_published_interface_has(name: str) -> None:
    published = {"model", "messages", "prompt", "stream", "stream_options", "max_tokens", "temperature", "top_p", "stop", "seed",
        "tools", "tool_choice", "response_format", "user", "logprobs", "presence_penalty", "input", "metadata",
        "store"}  # fmt: skip
    assert not DRIVERS[name].reserved & published


@pytest.mark.parametrize("name", STARTED)
def test_a_replica_is_started_with_its_seats_its_context_and_its_socket(name: str) -> None:
    program = DRIVERS[name].program(planned(name))
    words = " ".join((*program.argv, *program.loose))
    assert "/data/run/engines/chat-0/engine.sock" in words
    assert "/data/weights" in words
    assert str(4) in words.split()
    assert "2048" in words or str(4 * 2048) in words
    assert (program.name, program.owner, program.log) == ("chat-0", "engines", Path("/data/logs/chat-0.log"))
    assert DRIVERS[name].needs_loopback or PORT not in words
    # What it takes from the machine's settings is not taken from ours: nothing of a network is left to look for.
    assert "HF_HUB_OFFLINE" in program.env or name == "llamacpp"


@pytest.mark.parametrize("name", STARTED)
def test_the_same_replica_is_the_same_program(name: str) -> None:
    """Or it would be replaced at each start of the control plane."""
    driver = DRIVERS[name]
    assert driver.program(planned(name)).digest == driver.program(planned(name)).digest
    assert driver.program(planned(name)).digest != driver.program(planned(name, seats=5)).digest


@pytest.mark.parametrize(("family", "variable"), [("nvidia", "CUDA_VISIBLE_DEVICES"), ("amd", "HIP_VISIBLE_DEVICES")])
@pytest.mark.parametrize("name", [n for n in STARTED if "nvidia" in DRIVERS[n].families])
def test_it_sees_the_devices_it_was_given_and_no_others(name: str, family: str, variable: str) -> None:
    if family not in DRIVERS[name].families:
        pytest.skip(f"{name} does not run on {family}")
    program = DRIVERS[name].program(planned(name, family=family, devices=(2, 5)))
    assert program.env[variable] == "2,5"


def test_an_engine_of_others_is_not_started() -> None:
    with pytest.raises(ValueError, match="not started here"):
        DRIVERS["openai-compatible"].program(planned("openai-compatible"))


@pytest.mark.parametrize("name", STARTED)
def test_needs_grow_with_seats_and_context(name: str) -> None:
    def needs(**more: int) -> int:
        return DRIVERS[name].needs(**({"weights": GIB, "kv_per_token": 1000, "seats": 4, "context": 2048} | more)).memory

    assert needs(seats=5) - needs() == 2048 * 1000
    assert needs(context=2049) - needs() == 4 * 1000
    assert needs(weights=2 * GIB) - needs() == GIB
    assert needs() > GIB + 4 * 2048 * 1000


def test_a_model_that_is_cut_over_devices_has_a_part_of_the_cache_on_each() -> None:
    program = DRIVERS["vllm"].program(planned("vllm", family="nvidia", devices=(0, 1), kv_memory=8 * GIB))
    words = list(program.argv)
    assert words[words.index("--kv-cache-memory-bytes") + 1] == str(4 * GIB)
    assert words[words.index("--tensor-parallel-size") + 1] == "2"


def adapters(*ranks: int | None) -> tuple[AdapterAtHand, ...]:
    return tuple(AdapterAtHand(f"brev-{n}", Path(f"/data/brev={n}"), rank, 1000) for n, rank in enumerate(ranks))


def test_the_checks_of_a_document_know_which_engines_serve_adapters() -> None:
    assert {name for name, driver in DRIVERS.items() if driver.adapts} == set(ADAPT)


@ALL
def test_an_adapter_is_chosen_by_a_field_that_clients_cannot_send_or_by_the_name(name: str) -> None:
    driver = DRIVERS[name]
    chosen = json.loads(f"{{{driver.adapted('brev', 3)}}}")
    assert set(chosen) <= driver.reserved
    assert bool(chosen) == (driver.adapts and not driver.checks_names)
    assert set(json.loads(f"{{{driver.adapted('chat', None)}}}")) <= driver.reserved


def test_llamacpp_numbers_adapters_in_the_order_in_which_it_loads_them() -> None:
    words = list(DRIVERS["llamacpp"].program(planned("llamacpp", adapters=adapters(None, None))).argv)
    assert [words[n + 1] for n, word in enumerate(words) if word == "--adapter"] == ["/data/brev=0", "/data/brev=1"]
    assert json.loads(f"{{{DRIVERS['llamacpp'].adapted('brev-1', 1)}}}") == {"lora": [{"id": 1, "scale": 1.0}]}


@pytest.mark.parametrize(("ranks", "most"), [((8,), "8"), ((8, 40), "64"), ((None,), "64"), ((1,), "1"), ((512, None), "512")])
def test_vllm_makes_room_for_the_largest_rank_that_it_knows(ranks: tuple[int | None, ...], most: str) -> None:
    program = DRIVERS["vllm"].program(planned("vllm", adapters=adapters(*ranks)))
    words = [*program.argv, *program.loose]
    assert words[words.index("--max-lora-rank") + 1] == most
    first = json.loads(words[words.index("--lora-modules") + 1])
    assert first == {"name": "brev-0", "path": "/data/brev=0"}


def test_one_more_adapter_is_no_other_program_to_vllm_as_long_as_there_is_room() -> None:
    few, more, many = (DRIVERS["vllm"].program(planned("vllm", adapters=adapters(*[8] * n))) for n in (1, 4, 5))
    assert few.digest == more.digest != many.digest
    assert len(many.loose) == 6


def test_an_engine_without_adapters_is_started_as_ever() -> None:
    for name in STARTED:
        assert not [word for word in DRIVERS[name].program(planned(name)).argv if "lora" in word or word == "--adapter"]


def test_an_engine_without_a_salt_finds_no_prompt_again() -> None:
    """But one, of which the documentation says so, and those that are not ours."""
    settings = next(w for w in DRIVERS["tensorrt-llm"].program(planned("tensorrt-llm")).argv if w.startswith("{"))
    assert json.loads(settings)["kv_cache_config"]["enable_block_reuse"] is False
    assert SETTINGS in DRIVERS["tensorrt-llm"].program(planned("tensorrt-llm")).argv
    assert DRIVERS["tgi"].program(planned("tgi")).env["PREFIX_CACHING"] == "0"
    assert '"cache_prompt":false' in DRIVERS["llamacpp"].fields("generate")["plain"]
    unsalted = {name for name, driver in DRIVERS.items() if not driver.salted}
    assert unsalted == {"llamacpp", "tensorrt-llm", "tgi", "text-generation-webui", "openai-compatible"}


@ALL
def test_what_an_engine_says_of_itself_is_understood(name: str) -> None:
    assert DRIVERS[name].heard(ANSWERS[name].metrics) == ANSWERS[name].said


@ALL
@given(text=st.text(max_size=200) | st.sampled_from(["[]", "[{}]", "{}", "[1]", "null", '[{"numActiveRequests": 1e999}]',
    "vllm:num_requests_running 1", "vllm:num_requests_running NaN\nvllm:num_requests_waiting +Inf"]))  # fmt: skip
def test_nonsense_is_not_understood_and_does_no_harm(name: str, text: str) -> None:
    assert DRIVERS[name].heard(text) is None


@pytest.mark.parametrize(("name", "status", "body", "means"),
    [(name, *error) for name, engine in ANSWERS.items() for error in engine.errors])  # fmt: skip
def test_errors_are_read_for_what_they_mean(name: str, status: int, body: str, means: Complaint) -> None:
    assert DRIVERS[name].complaint(status, body.encode()) == means


@ALL
@given(status=st.integers(400, 599), body=st.binary(max_size=100) | st.sampled_from([b"[1]", b'{"error": 1}']))
def test_any_error_means_something(name: str, status: int, body: bytes) -> None:
    assert DRIVERS[name].complaint(status, body) in get_args(Complaint)


@ALL
def test_an_error_that_is_nested_too_deep_to_be_read_means_something(name: str) -> None:
    assert DRIVERS[name].complaint(500, b"[" * 50_000) in get_args(Complaint)


@ALL
def test_health_is_asked_where_the_engine_tells_it(name: str, tmp_path: Path) -> None:
    async def play() -> tuple[bool, bool, bool]:
        there, broken = Fake({ANSWERS[name].healthy: "{}"}), Fake({ANSWERS[name].healthy: "{}"}, status=500)
        async with listening(there, tmp_path / "e.sock") as address:
            good = await DRIVERS[name].healthy(address)
        assert there.asked == [f"GET {ANSWERS[name].healthy}"]
        async with listening(broken, tmp_path / "b.sock") as address:
            bad = await DRIVERS[name].healthy(address)
        return good, bad, await DRIVERS[name].healthy(str(tmp_path / "nobody.sock"))

    assert asyncio.run(play()) == (True, False, False)


@ALL
def test_it_is_asked_to_sleep_and_to_wake_if_it_can(name: str, tmp_path: Path) -> None:
    driver, answers = DRIVERS[name], ANSWERS[name]

    async def play() -> None:
        fake = Fake({path: "{}" for path in (answers.sleeps, answers.wakes) if path})
        async with listening(fake, tmp_path / "e.sock") as address:
            slept, woke = await driver.sleep(address), await driver.wake(address)
        assert (slept, woke) == (bool(answers.sleeps), bool(answers.wakes))
        assert fake.asked == [f"POST {path}" for path in (answers.sleeps, answers.wakes) if path]
        assert not await driver.sleep(str(tmp_path / "nobody.sock"))

    asyncio.run(play())


def test_llama_cpp_is_told_of_the_projector_it_sees_through() -> None:
    seeing = planned("llamacpp", images=True, projector=Path("/data/weights/mmproj.gguf"))
    words = DRIVERS["llamacpp"].program(seeing).argv
    assert words[words.index("--projector") + 1] == "/data/weights/mmproj.gguf"
    assert "--projector" not in DRIVERS["llamacpp"].program(planned("llamacpp")).argv
    assert DRIVERS["llamacpp"].program(seeing).digest != DRIVERS["llamacpp"].program(planned("llamacpp")).digest


def test_what_one_has_shown_to_vllm_is_not_kept_for_the_next() -> None:
    words = DRIVERS["vllm"].program(planned("vllm", images=True)).argv
    assert words[words.index("--mm-processor-cache-gb") + 1] == "0"
    assert "--no-enable-prefix-caching" in words
    own = DRIVERS["vllm"].program(planned("vllm", images=True, shared=True)).argv
    assert own == DRIVERS["vllm"].program(planned("vllm")).argv


def test_what_one_has_shown_to_sglang_is_not_kept_for_the_next() -> None:
    caches = [DRIVERS["sglang"].program(planned("sglang", images=images, shared=shared)).env.get("SGLANG_VLM_CACHE_SIZE_MB")
        for images, shared in ((True, False), (True, True), (False, False))]  # fmt: skip
    assert caches == ["0", None, None]


def test_models_that_rerank_are_started_as_such() -> None:
    words = DRIVERS["vllm"].program(planned("vllm", task="rerank")).argv
    assert words[words.index("--runner") + 1] == "pooling"
    words = DRIVERS["llamacpp"].program(planned("llamacpp", task="rerank")).argv
    assert words[words.index("--task") + 1] == "rerank"


@pytest.mark.parametrize("engine", get_args(EngineName))
@pytest.mark.parametrize("task", TASKS)
def test_the_document_refuses_what_an_engine_does_not_do(engine: str, task: str) -> None:
    """The checks of the document know no drivers; they must say the same."""
    model = {"pool": "here", "engine": engine, "task": task, "address": "127.0.0.1:9000"}
    spec = Spec.model_validate({"samdrift": 1, "community": {"name": "Test"}, "organisations": {"aarhus": {}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}}, "models": {"m": model}})  # fmt: skip
    refused = any(finding.path == ("models", "m", "task") for finding in check(spec))
    assert refused == (not DRIVERS[engine].endpoints(task))  # type: ignore[arg-type]  # one of the tasks


def test_engines_that_start_say_how_weights_must_lie_for_them() -> None:
    assert {name for name, driver in DRIVERS.items() if not driver.formats} == {"openai-compatible"}
    assert {name for name, driver in DRIVERS.items() if "gguf" in driver.formats} == {"llamacpp", "text-generation-webui"}
