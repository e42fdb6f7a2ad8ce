"""Many requests, hang-ups, and each part of the service killed once: all accounts agree afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest
from bench.soak.place import ROOT


@pytest.mark.timeout(240)
def test_1500_requests_are_accounted_for_although_each_part_is_killed_once() -> None:
    soak = subprocess.run([sys.executable, "-m", "bench.soak", "--short"], cwd=ROOT, capture_output=True, text=True,
        timeout=200, check=False)  # fmt: skip
    print(soak.stdout)
    assert soak.returncode == 0, soak.stdout + soak.stderr
