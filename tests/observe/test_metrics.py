"""Counting: what Prometheus reads is what happened, and clients cannot make it grow."""

from __future__ import annotations

import asyncio
import dataclasses
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from samdrift.observe import catalogue
from samdrift.observe.catalogue import CATALOGUE, metrics_reference, operation_of
from samdrift.observe.exposition import Exposition
from samdrift.observe.metrics import Metrics, Reading
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage

REFERENCE = Path(__file__).parents[2] / "docs" / "reference" / "metrics.md"

USAGE = Usage(
    ticket="t-1",
    organisation="aarhus",
    project="default",
    key="k-1",
    model="chat-small",
    replica="chat-small-0",
    endpoint="/v1/chat/completions",
    priority="interactive",
    outcome=Outcome.COMPLETED,
    status=200,
    input_tokens=100,
    cached_tokens=40,
    output_tokens=11,
    estimated=False,
    at=1_000.0,
    waited=0.3,
    first_byte=0.5,
    duration=1.5,
)


@pytest.fixture
def metrics():
    return Metrics(["aarhus", "odense"], ["chat-small", "embed"])


def samples(metrics, readings=()):
    _, body = metrics.render("", readings)
    return {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in parse_text(body.decode())
        for sample in family.samples
    }


def value(metrics, name, **labels):
    return samples(metrics).get((name, *sorted(labels.items())))


def test_a_settled_request_is_counted_for_its_organisation_and_model(metrics):
    metrics.admitted("aarhus", "chat-small", 0.3)
    metrics.settled(USAGE)
    mine = {"organisation": "aarhus", "model": "chat-small"}
    assert value(metrics, "samdrift_requests_total", **mine, outcome="completed") == 1
    assert [value(metrics, "samdrift_tokens_total", **mine, type=t) for t in ("input", "cached", "output")] == [100, 40, 11]
    assert value(metrics, "samdrift_wait_seconds_sum", **mine) == 0.3
    served = {
        "gen_ai_operation_name": "chat",
        "gen_ai_provider_name": "samdrift",
        "gen_ai_request_model": "chat-small",
    }
    assert value(metrics, "gen_ai_client_token_usage_sum", **served, gen_ai_token_type="output") == 11
    assert value(metrics, "gen_ai_server_request_duration_seconds_sum", **served, outcome="completed") == 1.5
    assert value(metrics, "gen_ai_server_time_to_first_token_seconds_sum", **served) == 0.5
    assert value(metrics, "gen_ai_server_time_per_output_token_seconds_sum", **served) == pytest.approx(0.1)


def test_waits_are_told_apart_by_why_it_was_their_turn_and_comebacks_are_timed(metrics):
    for band, waited in ((0, 0.2), (2, 3.0), (2, 4.0)):
        metrics.admitted("aarhus", "chat-small", waited, band)
    metrics.admitted("odense", "invented", 1.0, 3)
    metrics.reclaimed("chat-small", 0.5)
    waits = {band: value(metrics, "samdrift_band_wait_seconds_sum", model="chat-small", band=band) for band in catalogue.BANDS}
    assert waits == {"own": 0.2, "own-batch": None, "borrowed": 7.0, "borrowed-batch": None}
    assert value(metrics, "samdrift_band_wait_seconds_count", model="unknown", band="borrowed-batch") == 1
    assert value(metrics, "samdrift_reclaim_seconds_sum", model="chat-small") == 0.5
    metrics.reshape(["aarhus"], ["embed"])
    assert value(metrics, "samdrift_band_wait_seconds_sum", model="chat-small", band="own") is None
    metrics.admitted("aarhus", "embed", 1.0, 1)
    assert value(metrics, "samdrift_band_wait_seconds_sum", model="embed", band="own-batch") == 1.0


def test_a_request_that_generated_nothing_does_not_move_the_distributions(metrics):
    metrics.settled(dataclasses.replace(USAGE, outcome=Outcome.FAILED, output_tokens=0, first_byte=0.1))
    found = samples(metrics)
    assert sum(v for k, v in found.items() if k[0] == "gen_ai_server_time_to_first_token_seconds_count") == 0
    assert sum(v for k, v in found.items() if k[0] == "gen_ai_server_request_duration_seconds_count") == 1


def test_a_refusal_is_counted_by_reason_even_when_nobody_knows_whose_it_was(metrics):
    metrics.refused(Reason.MISSING_KEY, None, None)
    metrics.refused(Reason.QUEUE_FULL, "odense", "embed")
    metrics.refused(Reason.QUEUE_FULL, "odense", "embed")
    assert value(metrics, "samdrift_refusals_total", reason="missing_key", organisation="unknown", model="unknown") == 1
    assert value(metrics, "samdrift_refusals_total", reason="queue_full", organisation="odense", model="embed") == 2


def test_clients_that_invent_models_cannot_make_the_metrics_grow(metrics):
    metrics.refused(Reason.UNKNOWN_MODEL, "aarhus", "invented")
    metrics.settled(dataclasses.replace(USAGE, model="invented", endpoint="/invented"))
    size = len(samples(metrics))
    for n in range(2_000):
        metrics.refused(Reason.UNKNOWN_MODEL, "aarhus", f"invented-{n}")
        metrics.admitted(f"org-{n}", f"invented-{n}", 0.1)
        metrics.settled(dataclasses.replace(USAGE, organisation="aarhus", model=f"m-{n}", endpoint=f"/e/{n}"))
        metrics.receipt(f"kind-{n}")
    # one organisation, `unknown`, came in: its waits, its tokens and its outcomes
    assert len(samples(metrics)) - size < 100
    assert len(metrics._members) <= 3
    assert len(metrics._served) <= 1
    assert value(metrics, "samdrift_refusals_total", reason="unknown_model", organisation="aarhus", model="unknown") == 2_001
    assert value(metrics, "samdrift_receipts_total", kind="unknown") == 2_000


def test_a_member_that_left_the_document_leaves_the_metrics_and_the_others_stay(metrics):
    for organisation in ("aarhus", "odense"):
        metrics.settled(dataclasses.replace(USAGE, organisation=organisation))
    metrics.reshape(["odense", "vejle"], ["chat-small"])
    found = samples(metrics)
    assert not [key for key in found if ("organisation", "aarhus") in key]
    assert value(metrics, "samdrift_requests_total", organisation="odense", model="chat-small", outcome="completed") == 1
    metrics.settled(dataclasses.replace(USAGE, organisation="vejle"))
    metrics.settled(USAGE)
    assert value(metrics, "samdrift_requests_total", organisation="vejle", model="chat-small", outcome="completed") == 1
    assert (
        value(
            metrics,
            "samdrift_requests_total",
            organisation="unknown",
            model="chat-small",
            outcome="completed",
        )
        == 1
    )


def test_sampled_instruments_show_what_was_read_for_this_scrape(metrics):
    readings = [
        Reading(catalogue.SEATS_IN_USE, 3, ("chat-small", "chat-small-0")),
        Reading(catalogue.REPLICA_RESTARTS, 2, ("chat-small", "chat-small-0")),
        Reading(catalogue.LEDGER_BEHIND, 1),
    ]
    found = samples(metrics, readings)
    replica = (("model", "chat-small"), ("replica", "chat-small-0"))
    assert found["samdrift_seats_in_use", *replica] == 3
    assert found["samdrift_replica_restarts_total", *replica] == 2
    assert found["samdrift_ledger_behind",] == 1
    assert ("samdrift_ledger_behind",) not in samples(metrics)


@pytest.mark.parametrize("accept", ["", "text/plain", "application/openmetrics-text; version=1.0.0"])
def test_every_instrument_of_the_catalogue_is_exposed_in_both_forms(metrics, accept):
    metrics.settled(USAGE)
    content_type, body = metrics.render(accept)
    openmetrics = content_type.startswith("application/openmetrics-text")
    families = {f.name: f for f in (parse_openmetrics if openmetrics else parse_text)(body.decode())}
    for instrument in CATALOGUE:
        name = instrument.name if instrument.name in families else instrument.exposed
        assert families[name].documentation == instrument.help
        assert families[name].type == instrument.kind


@pytest.mark.parametrize(
    "accept",
    [
        "application/openmetrics-text; version=rubbish",
        "text/plain; version=1.0.0; escaping=what",
        ";;;,",
        "a" * 5_000,
        "\xff",
    ],
)
def test_a_strange_accept_header_still_gets_metrics(metrics, accept):
    assert b"samdrift_build_info" in metrics.render(accept)[1]


@pytest.mark.parametrize(
    ("endpoint", "operation"),
    [
        ("/v1/chat/completions", "chat"),
        ("/v1/completions", "text_completion"),
        ("/v1/embeddings", "embeddings"),
        ("/v1/unheard", "unknown"),
    ],
)
def test_endpoints_have_the_operation_names_of_opentelemetry(endpoint, operation):
    assert operation_of(endpoint) == operation


def test_no_two_instruments_share_a_name_and_buckets_rise():
    assert len({i.name for i in CATALOGUE}) == len(CATALOGUE)
    for instrument in CATALOGUE:
        assert list(instrument.buckets) == sorted(set(instrument.buckets))
        assert bool(instrument.buckets) == (instrument.kind == "histogram")


def test_the_reference_of_metrics_is_current():
    assert REFERENCE.read_text(encoding="utf-8") == metrics_reference(), "Run `samdrift docs` to write it anew."


def ask(application, path, method="GET", headers=()):
    sent = []

    async def play():
        async def send(message):
            sent.append(message)

        async def receive():
            raise AssertionError("no body is read")

        scope = {"type": "http", "method": method, "path": path, "headers": list(headers)}
        await application(scope, receive, send)

    asyncio.run(play())
    start, body = sent
    return start["status"], dict(start["headers"]), body["body"]


def test_prometheus_and_orchestrators_find_their_pages(metrics):
    state = (False, ["no engine is up yet"])
    application = Exposition(metrics, lambda: [Reading(catalogue.GATEWAY_UP, 1)], lambda: state)
    status, headers, body = ask(application, "/metrics")
    assert (status, headers[b"content-length"]) == (200, str(len(body)).encode())
    assert b"samdrift_gateway_up 1.0" in body
    accept = (b"accept", b"application/openmetrics-text; version=1.0.0")
    assert ask(application, "/metrics", headers=[accept])[2].endswith(b"# EOF\n")
    assert ask(application, "/livez")[::2] == (200, b"alive\n")
    assert ask(application, "/readyz")[::2] == (
        503,
        b'{"ready": false, "reasons": ["no engine is up yet"]}\n',
    )
    state = (True, [])
    assert ask(application, "/readyz")[0] == 200
    assert ask(application, "/elsewhere")[0] == 404
    status, headers, _ = ask(application, "/metrics", "POST")
    assert (status, headers[b"allow"]) == (405, b"GET, HEAD")
    status, headers, body = ask(application, "/metrics", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers[b"content-length"]) > 1_000
