"""What a change of the document changes, as its reviewers see it."""

from __future__ import annotations

from samdrift.spec.differing import differences
from samdrift.spec.document import Spec

OLD = {
    "samdrift": 1,
    "community": {"name": "Test"},
    "organisations": {"aarhus": {"inhabitants": 367095}, "viborg": {"models": ["chat"]}},
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {"chat": {"weights": "package:pack/chat.gguf", "pool": "here"}},
}


def told(**sections: object) -> list[tuple[str, bool]]:
    changes = differences(Spec.model_validate(OLD), Spec.model_validate(OLD | sections))
    return [(str(change), change.restart) for change in changes]


def test_the_same_document_changes_nothing() -> None:
    assert told() == []
    assert told(gateway={"max_body": "20MiB"}) == [], "a default that is written out is the same document"


def test_members_and_fairness_change_while_running() -> None:
    organisations = {
        "aarhus": {"inhabitants": 367096, "share": {"weight": 40}},
        "samsoe": {"name": "Samsø", "projects": {"turist": {"priority": "batch"}, "havn": {}}},
    }
    assert told(organisations=organisations, fairness={"wait": {"interactive": "30s"}}) == [
        ("~ organisations.aarhus.inhabitants: 367095 → 367096", False),
        ("+ organisations.aarhus.share.weight: 40", False),
        ("- organisations.viborg: {models: [chat]}", False),
        ("+ organisations.samsoe: {name: Samsø, projects.turist.priority: batch, projects.havn: {}}", False),
        ("~ fairness.wait.interactive: 20s → 30s", False),
    ]


def test_models_are_drained_and_begun_anew_but_the_entrance_needs_a_restart() -> None:
    models = {"chat": {"weights": "package:pack/chat.gguf", "pool": "here", "seats": 8}}
    pools = {"here": {"devices": [{"kind": "cpu", "memory": "8GiB"}]}}
    assert told(models=models, pools=pools, gateway={"listen": "127.0.0.1:8081"}) == [
        ("~ gateway.listen: 127.0.0.1:8080 → 127.0.0.1:8081", True),
        ("~ pools.here.devices: [{kind: cpu}] → [{kind: cpu, memory: 8GiB}]", False),
        ("~ models.chat.seats: 4 → 8", False),
    ]


def test_a_secret_is_named_by_its_reference_or_not_at_all() -> None:
    assert told(ledger={"url": "${env:LEDGER}"}) == [("~ ledger.url:  → ${env:LEDGER}", True)]
    assert told(ledger={"url": "postgresql://u:hunter2@db/x"}) == [("~ ledger.url:  → (secret)", True)]
