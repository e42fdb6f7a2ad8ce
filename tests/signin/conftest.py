"""Communities that people sign in to, each with a ledger of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.signin.browsers import Community, document

from samdrift.ledger.ledger import Ledger
from samdrift.runtime.signing_in import fetching
from samdrift.spec.document import Spec


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Community]]:
    """Makes communities; their ledgers are closed at the end."""
    made: list[Community] = []

    def make_it(spec: Spec | None = None, fetch: Any = fetching) -> Community:
        ledger = Ledger.open(f"sqlite:///{tmp_path}/ledger{len(made)}.sqlite")
        made.append(Community(ledger, spec or document(), fetch))
        return made[-1]

    yield make_it
    for community in made:
        community.close()
        community.ledger.close()


@pytest.fixture
def community(make: Callable[..., Community]) -> Community:
    return make()
