"""Models that run outside of the community: only for members that have allowed their requests to leave it."""

from __future__ import annotations

from samdrift.access.dataflow import flows_of
from samdrift.access.principal import Principal
from samdrift.access.refusal import Refusal
from samdrift.access.roster import Roster
from samdrift.spec.document import Spec
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason

SPEC = Spec.model_validate({
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {
        "aarhus": {"outside": "allowed"}, "viborg": {}, "samsoe": {"models": ["far", "near"]},
        "skive": {"models": ["near"], "outside": "allowed"}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {
        "home": {"weights": "file:x", "pool": "here"},
        "near": {"engine": "openai-compatible", "address": "https://gpu.example", "runs": "inside", "pool": "here"},
        "far": {"engine": "openai-compatible", "address": "https://models.example", "runs": "outside", "pool": "here"}},
})  # fmt: skip
ROSTER = Roster.of(SPEC, [])


def principal(organisation: str) -> Principal:
    return Principal(organisation, "default", "k1")


def test_nobody_uses_what_is_outside_without_having_allowed_it() -> None:
    seen = {name: tuple(ROSTER.listing(principal(name))) for name in SPEC.organisations}
    assert seen == {"aarhus": ("home", "near", "far"), "viborg": ("home", "near"), "samsoe": ("near",), "skive": ("near",)}


def test_the_map_of_data_says_who_lets_content_leave_the_community() -> None:
    how = {flow.target: flow.how for flow in flows_of(SPEC, confined=True) if flow.source == "Envoy"}
    assert "OUTSIDE OF THE COMMUNITY, for aarhus;" in how["engine of far"]
    assert "https://models.example" in how["engine of far"]
    assert "another machine of the community" in how["engine of near"]
    assert "no network" in how["engine of home"]


def test_who_asks_for_it_all_the_same_is_refused() -> None:
    assert ROSTER.find(principal("aarhus"), "far") == Named("far", "far")
    for name in ("viborg", "samsoe", "skive"):
        refusal = ROSTER.find(principal(name), "far")
        assert isinstance(refusal, Refusal)
        assert refusal.reason is Reason.FORBIDDEN_MODEL
