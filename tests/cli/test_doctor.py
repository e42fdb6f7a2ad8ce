"""What `samdrift doctor` tells of a machine's accelerators."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

from samdrift.cli.doctor import doctor_command
from samdrift.engines import accelerators
from samdrift.engines.accelerators import Accelerator, Inventory

GIB = 2**30


@pytest.fixture
def told(tmp_path, monkeypatch):
    """What is told on a machine with these devices, by what it is told of."""
    def doctor(inventory):
        families = (*inventory.found, *inventory.faults)
        monkeypatch.setattr(accelerators, "families_here", lambda: families)
        monkeypatch.setattr(accelerators, "take_inventory", lambda asked: inventory if tuple(asked) == families else None)
        done = CliRunner().invoke(doctor_command, ["--data", str(tmp_path), "--json"])
        assert done.exit_code in (0, 1), done.output
        return {one["what"]: one for one in json.loads(done.stdout)}

    return doctor


def test_it_lists_accelerators_with_the_word_that_names_each_in_the_document(told):
    found = told(Inventory({"nvidia": (Accelerator("nvidia", 0, "NVIDIA B200", 179 * GIB),),
        "amd": (Accelerator("amd", 0, "AMD Instinct MI300X", 0),)}))  # fmt: skip
    assert found["nvidia 0"]["sentence"] == "NVIDIA B200, 179 GiB; in the document `kind: nvidia-b200`."
    assert found["amd 0"]["sentence"] == "AMD Instinct MI300X, memory unknown; in the document `kind: amd-instinct-mi300x`."


def test_a_driver_that_is_loaded_and_does_not_answer_is_a_warning_that_says_what_it_means(told):
    found = told(Inventory({}, {"nvidia": "NVIDIA's driver does not answer (Driver/library version mismatch)."}))
    assert found["nvidia"]["state"] == "warning"
    assert "a pool must say its `memory`" in found["nvidia"]["sentence"]
    assert "version mismatch" in found["nvidia"]["remedy"]


def test_a_machine_without_any_says_so_and_lacks_nothing(told):
    assert told(Inventory())["accelerators"] == {
        "what": "accelerators", "state": "ok", "sentence": "None here: models run on the processor.", "remedy": ""}  # fmt: skip
