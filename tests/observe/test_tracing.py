"""Traces, as a real collector receives them: over HTTP, as OTLP's protobuf."""

from __future__ import annotations

import gzip
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from samdrift.observe.tracing import Tracing, parse_traceparent
from samdrift.spec.usage import Outcome, Usage

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED, UNSAMPLED = f"00-{TRACE}-{PARENT}-01", f"00-{TRACE}-{PARENT}-00"


class Collector(ThreadingHTTPServer):
    """A collector that keeps the spans it was sent."""

    def __init__(self):
        self.spans, self.paths = [], []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                if self.headers.get("content-encoding") == "gzip":
                    body = gzip.decompress(body)
                request = ExportTraceServiceRequest.FromString(body)
                outer.paths.append(self.path)
                outer.spans += [s for r in request.resource_spans for scope in r.scope_spans for s in scope.spans]
                self.send_response(200)
                self.send_header("content-length", "0")
                self.end_headers()

            def log_message(self, *_):
                """Tests are quiet."""

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}"


@pytest.fixture
def collector():
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join(10)
    server.server_close()


def usage(ticket="t-1", outcome=Outcome.COMPLETED, status=200):
    return Usage(
        ticket=ticket,
        organisation="aarhus",
        project="borger-chat",
        key="k-1",
        model="chat-small",
        replica="chat-small-0",
        endpoint="/v1/chat/completions",
        priority="interactive",
        outcome=outcome,
        status=status,
        input_tokens=100,
        cached_tokens=40,
        output_tokens=11,
        estimated=False,
        at=1_700_000_010.0,
        waited=2.0,
        first_byte=3.0,
        duration=10.0,
    )


def attributes_of(span):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in span.attributes}


def test_a_sampled_caller_gets_a_span_below_its_own_with_who_and_how_much_and_no_content(collector):
    tracing = Tracing(collector.url, 0.0)
    tracing.admitted("t-1", SAMPLED)
    tracing.settled(usage())
    tracing.close()
    (span,) = collector.spans
    assert collector.paths == ["/v1/traces"]
    assert (span.name, span.kind) == ("chat chat-small", span.SPAN_KIND_SERVER)
    assert (span.trace_id.hex(), span.parent_span_id.hex()) == (TRACE, PARENT)
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (
        1_700_000_000 * 10**9,
        1_700_000_010 * 10**9,
    )
    events = {e.name: e.time_unix_nano - span.start_time_unix_nano for e in span.events}
    assert events == {"admitted": 2 * 10**9, "first token": 3 * 10**9}
    assert attributes_of(span) == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "samdrift",
        "gen_ai.request.model": "chat-small",
        "gen_ai.usage.input_tokens": 100,
        "gen_ai.usage.cache_read.input_tokens": 40,
        "gen_ai.usage.output_tokens": 11,
        "http.response.status_code": 200,
        "samdrift.ticket": "t-1",
        "samdrift.organisation": "aarhus",
        "samdrift.project": "borger-chat",
        "samdrift.priority": "interactive",
        "samdrift.replica": "chat-small-0",
        "samdrift.outcome": "completed",
        "samdrift.waited": 2.0,
        "samdrift.estimated": False,
    }


def test_a_caller_that_does_not_sample_is_not_traced_whatever_the_fraction(collector):
    tracing = Tracing(collector.url, 1.0)
    tracing.admitted("t-1", UNSAMPLED)
    tracing.settled(usage())
    tracing.close()
    assert collector.spans == []


def test_of_requests_without_a_parent_the_fraction_is_traced(collector):
    tracing = Tracing(collector.url, 0.25)
    for n in range(800):
        tracing.admitted(f"t-{n}", None)
        tracing.settled(usage(f"t-{n}"))
    tracing.close()
    assert 150 < len(collector.spans) < 250
    assert all(span.parent_span_id == b"" for span in collector.spans)
    assert len({span.trace_id for span in collector.spans}) == len(collector.spans)


def test_a_failure_is_an_error_of_its_span_and_settling_twice_makes_no_second(collector):
    tracing = Tracing(collector.url, 1.0)
    tracing.admitted("t-1", None)
    tracing.settled(usage(outcome=Outcome.FAILED, status=503))
    tracing.settled(usage())
    tracing.close()
    (span,) = collector.spans
    assert span.status.code == span.status.STATUS_CODE_ERROR
    assert attributes_of(span)["error.type"] == "failed"


def test_a_collector_that_is_away_costs_bounded_memory_and_does_not_hold_up_the_end():
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as nobody:
        port = nobody.server_port
    tracing = Tracing(f"http://127.0.0.1:{port}", 1.0, queue=64, timeout=1.0)
    for n in range(30_000):
        tracing.admitted(f"open-{n}", None)
    assert len(tracing._parents) == 20_000
    for n in range(5_000):
        tracing.admitted(f"t-{n}", None)
        tracing.settled(usage(f"t-{n}"))
    began = time.monotonic()
    tracing.close()
    assert time.monotonic() - began < 10


def test_without_an_endpoint_nothing_is_kept_and_nothing_runs():
    threads = threading.active_count()
    tracing = Tracing("", 1.0)
    tracing.admitted("t-1", SAMPLED)
    tracing.settled(usage())
    tracing.close()
    assert not tracing.on
    assert len(tracing._parents) == 0
    assert threading.active_count() == threads


@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "rubbish",
        SAMPLED.upper(),
        SAMPLED[:-1],
        SAMPLED + "-more",
        f"ff-{TRACE}-{PARENT}-01",
        f"00-{'0' * 32}-{PARENT}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{PARENT}-01\n",
        "0" * 10_000,
    ],
)
def test_a_traceparent_that_is_none_is_treated_as_absent(header):
    assert parse_traceparent(header) is None


def test_a_traceparent_of_a_later_version_may_say_more():
    context = parse_traceparent(f"01-{TRACE}-{PARENT}-01-what-comes-next")
    assert context is not None
    assert context.trace_flags.sampled
