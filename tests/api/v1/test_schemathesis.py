"""The OpenAPI document is true: whatever is asked, by its words or against them, has an answer that stands in it; never a 5xx."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings, strategies
from tests.api.v1.conftest import House
from tests.api.v1.test_who_may import a_key, a_person, a_refusal, a_token

from samdrift.access.roles import Role
from samdrift.api.v1.application import openapi_document

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of its own dependencies
    import schemathesis
    from schemathesis import GenerationMode
    from schemathesis.checks import not_a_server_error
    from schemathesis.specs.openapi.checks import (
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_headers_conformance,
    response_schema_conformance)  # fmt: skip


@pytest.fixture(scope="session")
def asked() -> Iterator[House]:
    """One house for all questions: what one of them changes, the next one meets."""
    with tempfile.TemporaryDirectory(prefix="sd-") as folder:
        made = House(Path(folder))
        yield made
        made.ledger.close()


@pytest.fixture(scope="session")
def schema(asked: House) -> schemathesis.BaseSchema:
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", asked.administration.entrance)


OPERATIONS = [(path, method) for path, operations in openapi_document()["paths"].items() for method in operations]


@pytest.mark.parametrize("mode", [GenerationMode.POSITIVE, GenerationMode.NEGATIVE], ids=["by its words", "against them"])
@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_answer_is_documented(
    schema: schemathesis.BaseSchema, asked: House, path: str, method: str, mode: GenerationMode
) -> None:
    operation = schema[path][method.upper()]
    if mode is GenerationMode.NEGATIVE and not (operation.query or operation.path_parameters or operation.body):
        return  # there is nothing to be said against its words

    known = {"organisation": "aarhus", "project": "default", "model": "chat", "ticket": "t-aarhus", "number": 1,
        "key_id": a_key(asked, "aarhus")[0], "person": a_person(asked, "aarhus")[0],
        "token_id": a_token(asked, "aarhus")[0],
        "refusal": a_refusal(asked, "aarhus")[0]}  # fmt: skip

    @given(operation.as_strategy(generation_mode=mode), strategies.booleans())
    @settings(max_examples=15, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    def ask(case: schemathesis.Case, there: bool) -> None:
        if there:  # of the names that it makes up itself, hardly any is there
            case.path_parameters = {name: known[name] for name in case.path_parameters or {}}
        answer = case.call(headers={"authorization": f"Bearer {asked.as_role(Role.OPERATOR)}"})
        case.validate_response(answer, checks=CHECKS)

    ask()
