"""The gate of mutants can be passed through: `make mutants` takes minutes, and would say only then that it is out of date."""

from __future__ import annotations

import pytest
from bench.mutants import MUTANTS, ROOT, Mutant


@pytest.mark.parametrize("mutant", MUTANTS, ids=[mutant.name for mutant in MUTANTS])
def test_what_a_mutant_changes_is_there_once(mutant: Mutant) -> None:
    text = (ROOT / "src" / "samdrift" / "fairshare" / mutant.file).read_text()
    assert text.count(mutant.passage) == 1
    assert mutant.instead != mutant.passage
