"""From what Envoy saw to a receipt, and from that to a row of the ledger."""

from __future__ import annotations

import json
from typing import Any

import pytest
from envoy.data.accesslog.v3.accesslog_pb2 import HTTPAccessLogEntry
from google.protobuf.json_format import ParseDict
from hypothesis import given
from hypothesis import strategies as st

from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.account import Account
from samdrift.gateway.settlement import outcome_of, progress_of_entry, receipt_of_entry, receipt_of_line, tokens_of
from samdrift.spec.usage import Outcome

ACCOUNT = Account("aarhus", "default", "k1", "chat", "chat-0", "/v1/chat/completions", "batch", 0.125, 400)
COUNTS = {"prompt_tokens": 35, "cached_tokens": 30, "completion_tokens": 6}
SO_FAR = {"prompt_n": 5, "cache_n": 30, "predicted_n": 6}


def entry(**changed: Any) -> HTTPAccessLogEntry:
    """As Envoy reports it over gRPC."""
    account, counts = changed.pop("account", ACCOUNT.text()), changed.pop("counts", COUNTS)
    status, times = changed.pop("status", 200), changed.pop("times", {"timeToFirstUpstreamTxByte": "0.125s",
        "timeToFirstUpstreamRxByte": "0.250s"})  # fmt: skip
    metadata: dict[str, Any] = {}
    if account is not None:
        metadata["envoy.filters.http.ext_authz"] = {"x-samdrift-account": account}
    if counts is not None:
        metadata["samdrift.usage"] = counts
    return ParseDict(
        {
            "commonProperties": {"startTime": "2027-01-15T08:00:00.500Z", "duration": "1.500s", "responseFlags": changed,
                "metadata": {"filterMetadata": metadata}, **times},
            "request": {"requestId": "t1"},
            "response": {"responseCode": status},
        },
        HTTPAccessLogEntry(),
    )  # fmt: skip


def line(**changed: Any) -> str:
    """As Envoy writes it into the journal."""
    usual: dict[str, Any] = {"ticket": "t1", "account": ACCOUNT.text(), "usage": COUNTS, "status": 200, "flags": None,
        "start": "1800000000.500000", "duration": 1500, "first_byte": 250, "upstream": "chat-0"}  # fmt: skip
    return json.dumps({**usual, **changed})


def test_both_ways_bring_the_same_receipt() -> None:
    heard, written = receipt_of_entry(entry()), receipt_of_line(line())
    assert written == heard
    assert (heard.ticket, heard.account, heard.tokens) == ("t1", ACCOUNT, Tokens(35, 30, 6))
    assert (heard.outcome, heard.status, heard.at, heard.duration) == (Outcome.COMPLETED, 200, 1_800_000_002.0, 1.5)
    assert (heard.first_byte, heard.reached_engine) == (0.25, True)


def test_a_receipt_becomes_a_row() -> None:
    row = receipt_of_entry(entry()).usage()
    assert row is not None
    assert (row.ticket, row.organisation, row.project, row.key, row.model) == ("t1", "aarhus", "default", "k1", "chat")
    assert (row.replica, row.endpoint, row.priority, row.waited) == ("chat-0", "/v1/chat/completions", "batch", 0.125)
    assert (row.input_tokens, row.cached_tokens, row.output_tokens, row.estimated) == (35, 30, 6, False)
    assert (row.outcome, row.status, row.at, row.duration) == (Outcome.COMPLETED, 200, 1_800_000_002.0, 1.5)


@pytest.mark.parametrize("account", [None, "", "-", "a;b"])
def test_what_was_not_admitted_is_no_row(account: str | None) -> None:
    heard, written = receipt_of_entry(entry(account=account)), receipt_of_line(line(account=account))
    assert written is not None
    assert (heard.account, heard.usage()) == (written.account, written.usage()) == (None, None)


@pytest.mark.parametrize(
    ("flags", "letters", "status", "outcome"),
    [
        ({}, None, 200, Outcome.COMPLETED),
        ({}, None, 400, Outcome.REJECTED),
        ({}, None, 499, Outcome.REJECTED),
        ({}, None, 500, Outcome.FAILED),
        ({}, None, 0, Outcome.FAILED),
        ({"downstreamConnectionTermination": True}, "DC", 0, Outcome.LEFT),
        ({"downstreamConnectionTermination": True}, "DC", 200, Outcome.LEFT),
        ({"downstreamRemoteReset": True}, "DR", 200, Outcome.LEFT),
        ({"downstreamConnectionTermination": True, "upstreamConnectionTermination": True}, "DC,UC", 200, Outcome.LEFT),
        ({"upstreamConnectionTermination": True}, "UC", 200, Outcome.FAILED),
        ({"upstreamRemoteReset": True}, "UR", 200, Outcome.FAILED),
        ({"localReset": True}, "LR", 200, Outcome.FAILED),
        ({"upstreamConnectionFailure": True}, "UF", 503, Outcome.FAILED),
        ({"streamIdleTimeout": True}, "SI", 200, Outcome.FAILED),
        ({"upstreamProtocolError": True}, "UPE", 200, Outcome.FAILED),
        ({"upstreamMaxStreamDurationReached": True}, "UMSDR", 200, Outcome.FAILED),
        ({"upstreamRequestTimeout": True}, "UT", 200, Outcome.FAILED),
    ],
)
def test_how_it_ended_is_read_alike_from_both(
    flags: dict[str, bool], letters: str | None, status: int, outcome: Outcome
) -> None:
    written = receipt_of_line(line(flags=letters, status=status, usage=SO_FAR))
    assert written is not None
    assert written.outcome is outcome
    assert receipt_of_entry(entry(status=status, counts=SO_FAR, **flags)).outcome is outcome


@pytest.mark.parametrize(
    ("counts", "status", "outcome"),
    [
        (COUNTS, 200, Outcome.COMPLETED),  # vLLM's last chunk, or a whole answer
        ({**SO_FAR, "prompt_tokens": 35, "completion_tokens": 6}, 200, Outcome.COMPLETED),  # llama.cpp's last chunk
        ({"prompt_tokens": 35, "completion_tokens": 6}, 200, Outcome.LEFT),  # any chunk of an engine that counts in each
        (SO_FAR, 200, Outcome.LEFT),
        (None, 200, Outcome.LEFT),
        (COUNTS, 400, Outcome.LEFT),
    ],
)
def test_who_goes_with_the_whole_answer_in_hand_has_not_left(
    counts: dict[str, float] | None, status: int, outcome: Outcome
) -> None:
    written = receipt_of_line(line(flags="DC", status=status, usage=counts))
    assert written is not None
    assert written.outcome is outcome
    assert receipt_of_entry(entry(status=status, counts=counts, downstreamConnectionTermination=True)).outcome is outcome


@pytest.mark.parametrize(
    ("counts", "tokens"),
    [
        ({}, None),
        ({"completion_tokens": 5}, None),
        ({"prompt_tokens": 5}, Tokens(5, 0, 0)),
        ({"total_tokens": 7}, Tokens(7, 0, 0)),
        ({"prompt_tokens": 5, "total_tokens": 8}, Tokens(5, 0, 0)),
        ({"prompt_tokens": 5, "predicted_n": 99, "prompt_n": 99}, Tokens(5, 0, 0)),
        ({"predicted_n": 7}, Tokens(0, 0, 7)),
        ({"predicted_n": 7, "prompt_n": 31, "cache_n": 4}, Tokens(35, 4, 7)),
        ({"prompt_n": 31}, None),
        ({"prompt_tokens": 1e300, "completion_tokens": -5}, Tokens(10**9, 0, 0)),
        ({"prompt_tokens": float("nan"), "completion_tokens": float("inf")}, Tokens(0, 0, 10**9)),
    ],
)
def test_counts_are_read_and_kept_within_reason(counts: dict[str, float], tokens: Tokens | None) -> None:
    assert tokens_of(counts) == tokens


@given(counts=st.dictionaries(st.sampled_from(["prompt_tokens", "cached_tokens", "completion_tokens", "prompt_n", "cache_n",
    "predicted_n"]), st.floats()))  # fmt: skip
def test_whatever_an_engine_counts_is_a_sane_number(counts: dict[str, float]) -> None:
    found = tokens_of(counts)
    assert found is None or all(0 <= n <= 10**9 for n in (found.input, found.cached, found.output))


def test_an_answer_without_counts_is_marked_as_estimated_and_one_that_failed_is_not() -> None:
    for status, estimated in ((200, True), (400, False), (500, False)):
        row = receipt_of_entry(entry(counts=None, status=status)).usage()
        assert row is not None
        assert (row.estimated, row.input_tokens, row.output_tokens) == (estimated, 0, 0)


def test_the_first_token_is_dated_by_the_engine_where_its_headers_come_before_it() -> None:
    headers_at_once = {"timeToFirstUpstreamTxByte": "0.002s", "timeToFirstUpstreamRxByte": "0.003s"}
    assert receipt_of_entry(entry(counts={"prompt_ms": 400.0}, times=headers_at_once)).first_byte == pytest.approx(0.402)
    assert receipt_of_entry(entry(counts={}, times=headers_at_once)).first_byte == pytest.approx(0.003)
    written = receipt_of_line(line(usage={"prompt_ms": 400.0}, first_byte=3))
    assert written is not None
    assert written.first_byte == pytest.approx(0.525)  # an old line knows the wait, and no more
    written = receipt_of_line(line(usage={"prompt_ms": 400.0}, first_byte=3, sent=2))
    assert written is not None
    assert written.first_byte == pytest.approx(0.402)
    # What cannot be is not believed.
    for absurd in (-5.0, 1e9, float("nan"), float("inf")):
        assert receipt_of_entry(entry(counts={"prompt_ms": absurd}, times=headers_at_once)).first_byte == pytest.approx(0.003)
        written = receipt_of_line(line(usage={"prompt_ms": absurd}))
        assert written is not None
        assert written.first_byte == 0.25


def test_what_no_engine_saw_has_no_first_byte() -> None:
    heard = receipt_of_entry(entry(times={}))
    written = receipt_of_line(line(first_byte=None, upstream=None))
    assert written is not None
    assert (heard.first_byte, heard.reached_engine) == (written.first_byte, written.reached_engine) == (None, False)


TORN = [line()[:n] for n in (0, 1, 20, len(line()) - 1)]


@pytest.mark.parametrize(
    "text",
    [*TORN, "null", "[]", "{}", "1", '"x"', "\x00", line(status=None), line(status="x"), line(start=None), line(start="soon"),
        line(usage=[1]), line(usage={"prompt_tokens": "many"}), line(flags=7), line(duration="long"), line(ticket=None),
        line(ticket=5)],
)  # fmt: skip
def test_a_line_that_is_none_is_none(text: str) -> None:
    assert receipt_of_line(text) is None


@given(text=st.text() | st.recursive(st.none() | st.booleans() | st.floats() | st.text(), st.lists).map(json.dumps))
def test_no_line_makes_it_stumble(text: str) -> None:
    receipt_of_line(text)


values = st.none() | st.text() | st.floats() | st.lists(st.none())


@given(changed=st.dictionaries(st.sampled_from(list(json.loads(line()))), values))
def test_no_value_in_a_line_makes_it_stumble(changed: dict[str, Any]) -> None:
    found = receipt_of_line(line(**changed))
    assert found is None or isinstance(found.ticket, str)


@pytest.mark.parametrize("left", [True, False])
def test_who_left_early_left_whatever_else_went_wrong(left: bool) -> None:
    assert outcome_of(503, client_left=left, broken=True) is (Outcome.LEFT if left else Outcome.FAILED)


def test_the_counts_of_envoy_ai_gateway_are_read_where_we_do_not_count() -> None:
    counted = entry(counts=None)
    costs = {"llm_input_token": 35, "llm_cached_input_token": 30, "llm_output_token": 6, "model_name_override": "other"}
    ParseDict({"commonProperties": {"metadata": {"filterMetadata": {"io.envoy.ai_gateway": costs}}}}, counted)
    assert receipt_of_entry(counted).tokens == Tokens(35, 30, 6)


@pytest.mark.parametrize(
    ("counts", "output"),
    [({"predicted_n": 51, "prompt_n": 9, "cache_n": 2}, 51), ({"prompt_tokens": 9, "completion_tokens": 7}, 7),
        ({"predicted_n": 0}, 0), ({"predicted_n": -5}, 0), ({"predicted_n": 1e300}, 10**9), ({"predicted_n": "many"}, 0)],
)  # fmt: skip
def test_a_stream_that_runs_says_how_much_is_written(counts: dict[str, Any], output: int) -> None:
    assert progress_of_entry(entry(counts=counts, times={})) == ("t1", output)


@pytest.mark.parametrize("counts", [None, {}, {"prompt_ms": 3.5}])
def test_a_stream_that_does_not_count_says_nothing(counts: dict[str, Any] | None) -> None:
    assert progress_of_entry(entry(counts=counts)) is None
