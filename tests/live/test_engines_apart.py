"""Engines of a running community: who they are, what they may take, and that they serve all the same."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.live.communities import Community

from samdrift.engines.confining import confinement
from samdrift.engines.limiting import limits


def status(pid: int) -> dict[str, str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.skipif(not confinement().setpriv, reason=confinement().users)
def test_each_engine_has_a_user_of_its_own_who_may_read_and_nothing_more(community: Community) -> None:
    assert community.chat().status_code == 200
    engines = {name: status(pid) for name, pid in community.processes().items() if name != "envoy"}
    assert len(engines) == 2
    assert len({said["Uid"] for said in engines.values()} | {status(community.control)["Uid"]}) == 3
    for said in engines.values():
        assert (said["CapEff"], said["CapBnd"], said["NoNewPrivs"], said["Groups"]) == (f"{4:016x}", f"{4:016x}", "1", "")
    for name in engines:
        assert (community.data / "run/engines" / name).stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(limits().groups is not None, reason="here they are limited by groups")
def test_what_an_engine_allocates_is_limited(community: Community) -> None:
    for name, pid in community.processes().items():
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        [most] = [line.split()[3] for line in lines if line.startswith("Max data size")]
        assert (most == "unlimited") == (name == "envoy"), name


def test_how_engines_are_kept_apart_is_said(community: Community) -> None:
    said = {one["what"]: one for one in json.loads(community.command("doctor", "--json").stdout)}
    for what in ("engines' user", "engines' files", "engines' memory"):
        assert said[what]["state"] == "ok" or said[what]["remedy"]
    if os.geteuid() == 0 and confinement().setpriv:
        assert said["engines' user"]["state"] == "ok"


def test_what_engines_lack_here_is_on_the_status(community: Community) -> None:
    lack = json.loads(community.command("status", "--json").stdout)["engines"]["lack"]
    assert ("users of their own" in lack) == (not confinement().setpriv)
    assert ("groups with limited memory" in lack) == (limits().groups is None)
    told = community.command("status").stdout
    assert all(what in told for what in lack)
    assert ("samdrift doctor" in told) == bool(lack)
