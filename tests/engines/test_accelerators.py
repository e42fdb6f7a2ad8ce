"""Accelerators as their makers' tools tell of them: a library that speaks like NVML, and what AMD's tools print."""

# ruff: noqa: N802, N815, N818 - the names are NVML's

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from types import SimpleNamespace

import pytest

from samdrift.engines.accelerators import AcceleratorsError, Inventory, most_held, take_inventory, tool_of
from samdrift.engines.accelerators.nvml import Nvml
from samdrift.engines.accelerators.rocm import Rocm, run

GIB = 2**30


class NvmlFault(Exception):
    """As `pynvml.NVMLError`."""


@dataclass
class Card:
    name: str
    total: int
    reserved: int
    processes: dict[int, int | None]


class Library:
    """What `pynvml` gives, for these cards. `old` is a driver from before version 2 of the memory's description."""

    NVMLError = NvmlFault
    nvmlMemory_v2 = 0x02000028

    def __init__(self, cards, *, old=False, broken=False):
        self.cards, self.old, self.broken, self.open = cards, old, broken, 0

    def nvmlInit(self):
        if self.broken:
            raise NvmlFault("NVML Shared Library Not Found")
        self.open += 1

    def nvmlShutdown(self):
        self.open -= 1

    def nvmlDeviceGetCount(self):
        return len(self.cards)

    def nvmlDeviceGetHandleByIndex(self, index):
        return index

    def nvmlDeviceGetName(self, handle):
        return self.cards[handle].name.encode() if self.old else self.cards[handle].name

    def nvmlDeviceGetUUID(self, handle):
        return f"GPU-{handle}aaaaaaa-0000"

    def nvmlDeviceGetMemoryInfo(self, handle, version=None):
        card = self.cards[handle]
        if version is not None and self.old:
            raise NvmlFault("Function Not Found")
        return SimpleNamespace(total=card.total, reserved=card.reserved if version is not None else None)

    def nvmlDeviceGetComputeRunningProcesses(self, handle):
        return [SimpleNamespace(pid=pid, usedGpuMemory=size) for pid, size in self.cards[handle].processes.items()]


B200 = Card("NVIDIA B200", 180 * GIB, GIB, {10: 40 * GIB, 11: GIB, 99: 7 * GIB})
L40S = Card("NVIDIA L40S", 45 * GIB, GIB, {10: 30 * GIB, 12: None})


def test_nvml_says_which_devices_there_are_and_what_programs_can_have_of_them():
    library = Library([B200, L40S])
    found = Nvml(library).accelerators()
    assert [(one.family, one.number, one.name, one.memory // GIB) for one in found] == [
        ("nvidia", 0, "NVIDIA B200", 179), ("nvidia", 1, "NVIDIA L40S", 44)]  # fmt: skip
    assert library.open == 0


def test_an_old_driver_does_not_say_what_it_keeps_for_itself():
    assert [(one.name, one.memory // GIB) for one in Nvml(Library([B200], old=True)).accelerators()] == [("NVIDIA B200", 180)]


@pytest.mark.parametrize(("visible", "numbers"), [("1", [1]), ("1,0", [0, 1]), ("GPU-0aaaaaaa", [0]), ("", []), ("-1", [])])
def test_devices_that_we_may_not_use_ourselves_are_not_there(visible, numbers):
    assert [one.number for one in Nvml(Library([B200, L40S]), visible).accelerators()] == numbers


def test_a_driver_that_does_not_answer_is_told_and_nobody_else_is_asked():
    found = take_inventory({"nvidia", "cpu"}, lambda _family: Nvml(Library([], broken=True)))
    assert found.found == {}
    assert found.faults == {
        "nvidia": "NVIDIA's driver does not answer (NVML Shared Library Not Found). Install it, or look at `nvidia-smi`.",
    }


def test_a_pool_of_processors_asks_nobody():
    def never(family):
        raise AssertionError(family)

    assert take_inventory({"cpu", "intel"}, never) == Inventory()


def test_without_the_package_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(AcceleratorsError, match="pip install nvidia-ml-py"):
        tool_of("nvidia")


def test_the_real_package_without_a_driver_is_a_sentence_and_no_trace():
    pytest.importorskip("pynvml")
    found = take_inventory({"nvidia"})
    assert found.found or "NVIDIA's driver does not answer" in found.faults["nvidia"]


def test_what_an_engine_holds_is_the_most_that_its_processes_have_on_one_device():
    def tool(_family):
        return Nvml(Library([B200, L40S]))

    assert most_held("nvidia", (0, 1), (10, 11, 12), tool) == 41 * GIB
    assert most_held("nvidia", (1,), (10, 11, 12), tool) == 30 * GIB
    assert most_held("nvidia", (0, 1), (4711,), tool) == 0
    assert most_held("nvidia", (0,), (10,), lambda _f: Nvml(Library([], broken=True))) == 0


# -- AMD ---------------------------------------------------------------------------------------------------------------

_DEVICES = [
    {"gpu": n, "asic": {"market_name": "AMD Instinct MI300X", "vendor_id": "0x1002"},
        "vram": {"type": "HBM", "vendor": "N/A", "size": {"value": 196592, "unit": "MB"}, "bit_width": 8192}}
    for n in (0, 1)
]  # fmt: skip
_PROCESSES = [
    {"gpu": 0, "process_list": [
        {"process_info": {"name": "python3", "pid": 10, "mem_usage": {"value": 5, "unit": "B"},
            "memory_usage": {"gtt_mem": {"value": 1, "unit": "B"}, "vram_mem": {"value": 40 * GIB, "unit": "B"}}}},
        {"process_info": {"name": "python3", "pid": 11, "mem_usage": {"value": GIB, "unit": "B"}}}]},
    {"gpu": 1, "process_list": [{"process_info": "No running processes detected"}]},
]  # fmt: skip


def printing(**said):
    """A machine on which AMD's tools print this, by their first two words; the others are not installed."""

    def runs(words):
        return next((text for key, text in said.items() if key == f"{words[0]}_{words[1]}".replace("-", "_")), None)

    return runs


@pytest.mark.parametrize("wrapped", [False, True], ids=["ROCm 6", "ROCm 7"])
def test_amd_smi_says_which_devices_there_are(wrapped):
    text = "WARNING: User is missing the following required groups: render\n" + json.dumps(
        {"gpu_data": _DEVICES} if wrapped else _DEVICES)  # fmt: skip
    found = Rocm(printing(amd_smi_static=text)).accelerators()
    assert [(one.family, one.number, one.name, one.memory) for one in found] == [
        ("amd", n, "AMD Instinct MI300X", 196592 * 2**20) for n in (0, 1)]  # fmt: skip
    assert [one.number for one in Rocm(printing(amd_smi_static=text), "1").accelerators()] == [1]


def test_amd_smi_says_what_processes_have():
    machine = Rocm(printing(amd_smi_process=json.dumps(_PROCESSES)))
    assert most_held("amd", (0, 1), (10, 11), lambda _family: machine) == 41 * GIB
    assert most_held("amd", (1,), (10, 11), lambda _family: machine) == 0


def test_an_older_rocm_is_asked_by_its_older_tool():
    card = {"Card Series": "AMD Instinct MI250X", "VRAM Total Memory (B)": str(64 * GIB), "VRAM Total Used Memory (B)": "1"}
    cards = {"card0": card, "card1": card, "system": {"Driver version": "6.1"}}
    pids = {"system": {"PID10": f"python3, worker, 2, {50 * GIB}, 0, 0", "PID11": "x, UNKNOWN, 0, 0, 0"}}
    machine = Rocm(printing(rocm_smi___showproductname=json.dumps(cards), rocm_smi___showpids=json.dumps(pids)))
    assert [(one.number, one.name, one.memory // GIB) for one in machine.accelerators()] == [
        (0, "AMD Instinct MI250X", 64), (1, "AMD Instinct MI250X", 64)]  # fmt: skip
    assert most_held("amd", (0, 1), (10, 11), lambda _family: machine) == 25 * GIB


def test_a_machine_without_rocm_says_what_is_missing():
    with pytest.raises(AcceleratorsError, match="Neither `amd-smi` nor `rocm-smi` is installed"):
        Rocm(printing()).accelerators()
    with pytest.raises(AcceleratorsError, match="Neither"):
        Rocm(printing()).held()


@pytest.mark.parametrize("text", ["", "ERROR", "{", "[1, 2]", '[{"card": 3}]'])
def test_what_is_not_understood_is_a_sentence(text):
    with pytest.raises(AcceleratorsError, match="amd-smi"):
        Rocm(printing(amd_smi_static=text)).accelerators()


def test_devices_without_a_name_or_a_size_are_there_all_the_same():
    found = Rocm(printing(amd_smi_static='[{"gpu": 0, "asic": "N/A", "vram": {"size": "N/A"}}]')).accelerators()
    assert [(one.name, one.memory) for one in found] == [("AMD", 0)]


def test_a_tool_that_fails_says_how(tmp_path, monkeypatch):
    tool = tmp_path / "amd-smi"
    tool.write_text("#!/bin/sh\necho 'no driver is loaded' >&2\nexit 3\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    with pytest.raises(AcceleratorsError, match=r"`amd-smi static --asic --vram --json` failed: no driver is loaded\."):
        Rocm(run).accelerators()
    assert run(("no-such-tool", "x")) is None
