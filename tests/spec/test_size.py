"""What each member is due, from its size."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from samdrift.spec.document import Organisation, Project, Spec
from samdrift.spec.size import shares_of, weight_of, weight_of_project


@pytest.mark.parametrize(
    ("inhabitants", "weight"), [(367_095, 37), (97_113, 10), (3_657, 1), (14_999, 1), (15_001, 2), (1, 1)]
)
def test_ten_thousand_inhabitants_are_one_part(inhabitants: int, weight: float) -> None:
    assert weight_of(Organisation(inhabitants=inhabitants)) == weight


def test_an_agreed_weight_goes_before_the_size_and_no_size_is_one_part() -> None:
    assert weight_of(Organisation.model_validate({"inhabitants": 367_095, "share": {"weight": 2.5}})) == 2.5
    assert weight_of(Organisation()) == 1.0
    assert weight_of_project(Project()) == 1.0
    assert weight_of_project(Project.model_validate({"share": {"weight": 3}})) == 3.0


@given(st.integers(1, 10**10), st.integers(1, 10**10))
def test_a_larger_member_never_weighs_less(one: int, other: int) -> None:
    small, large = sorted((one, other))
    assert 1 <= weight_of(Organisation(inhabitants=small)) <= weight_of(Organisation(inhabitants=large))


def test_shares_are_parts_of_one_whole() -> None:
    spec = Spec.model_validate(
        {
            "samdrift": 1,
            "community": {"name": "Test"},
            "organisations": {
                "aarhus": {"inhabitants": 300_000},
                "samsoe": {"inhabitants": 3_657},
                "viborg": {"share": {"weight": 9}},
            },
            "pools": {"here": {"devices": [{"kind": "cpu"}]}},
            "models": {"chat": {"weights": "package:pack/chat.gguf", "pool": "here"}},
        }
    )
    assert shares_of(spec) == {"aarhus": 0.75, "samsoe": 0.025, "viborg": 0.225}
