"""One Envoy between stand-ins for the whole folder; tests that change its document open their own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from tests.gateway.standins import Entrance

from samdrift.spec.document import Spec


def _document(**gateway: object) -> Spec:
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Test"},
        "gateway": {"max_body": "1MiB", **gateway},
        "organisations": {"aarhus": {"inhabitants": 300_000}, "viborg": {"inhabitants": 100_000, "models": ["embed"]}},
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {
            "chat": {"weights": "file:chat.gguf", "pool": "here"},
            "embed": {"weights": "file:embed.gguf", "task": "embed", "pool": "here"},
        },
    })  # fmt: skip


@pytest.fixture(scope="session")
def document():
    """Makes a small document; what matters to a test of its entrance is named there."""
    return _document


@pytest.fixture(scope="session")
def entrance() -> Iterator[Entrance]:
    with Entrance(_document()) as opened:
        yield opened
