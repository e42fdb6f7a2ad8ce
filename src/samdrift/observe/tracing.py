"""Traces of the desk over OTLP/HTTP: one span per admitted request, from its arrival to its settlement.

The gateway calls the desk, so a request that carries a `traceparent` is traced if, and only if, its caller
samples it; of the others a fraction is. A span is made when the ticket is settled, at once and whole;
exporting happens in a thread of its own, from a bounded queue that drops spans rather than wait. No content
is in any of them.
"""

from __future__ import annotations

import re
import zlib
from collections import OrderedDict

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    set_span_in_context,
)
from opentelemetry.util.types import AttributeValue

from samdrift import __version__
from samdrift.observe.catalogue import PROVIDER, operation_of
from samdrift.spec.usage import Outcome, Usage

_TRACEPARENT = re.compile(r"(?!ff)[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(?:-.*)?", re.ASCII)
"""W3C Trace Context, level 1: version, trace, parent, flags. Later versions may append fields."""

_MOST_OPEN = 20_000
_FAULTS = {Outcome.FAILED, Outcome.LAPSED}


class Tracing:
    """`endpoint` is a collector's base URL, such as `http://127.0.0.1:4318`; empty means that nothing is
    traced and that every method returns at once. `fraction` is which part is traced of requests without a
    `traceparent`."""

    def __init__(
        self,
        endpoint: str,
        fraction: float,
        *,
        service: str = "samdrift",
        queue: int = 2_048,
        timeout: float = 5.0,
    ) -> None:
        self._below = round(fraction * 2**32)
        self._parents: OrderedDict[str, SpanContext | None] = OrderedDict()
        self._provider: TracerProvider | None = None
        if not endpoint:
            return
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=timeout)
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,  # what is not to be sampled never becomes a span: see `admitted`
            resource=Resource.create({"service.name": service, "service.version": __version__}),
            shutdown_on_exit=False,
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(exporter, max_queue_size=queue, max_export_batch_size=min(queue, 512))
        )
        self._tracer = self._provider.get_tracer("samdrift", __version__)

    @property
    def on(self) -> bool:
        """Whether anything is traced."""
        return self._provider is not None

    def admitted(self, ticket: str, traceparent: str | None) -> None:
        """A ticket was admitted: decide whether it will be traced, and under which parent."""
        if self._provider is None:
            return
        parent = parse_traceparent(traceparent)
        if parent is None:
            # By the ticket instead of by chance: replays and restarts decide the same.
            if zlib.crc32(ticket.encode()) >= self._below:
                return
        elif not parent.trace_flags.sampled:
            return
        self._parents[ticket] = parent
        if len(self._parents) > _MOST_OPEN:
            self._parents.popitem(last=False)

    def settled(self, usage: Usage) -> None:
        """A ticket was settled: its span is made, if it is traced."""
        if self._provider is None or usage.ticket not in self._parents:
            return
        parent = self._parents.pop(usage.ticket)
        began = usage.at - usage.duration
        span = self._tracer.start_span(
            f"{operation_of(usage.endpoint)} {usage.model}",
            context=Context() if parent is None else set_span_in_context(NonRecordingSpan(parent), Context()),
            kind=SpanKind.SERVER,
            attributes=_attributes(usage),
            start_time=_nanoseconds(began),
        )
        span.add_event("admitted", timestamp=_nanoseconds(began + usage.waited))
        if usage.first_byte is not None:
            span.add_event("first token", timestamp=_nanoseconds(began + usage.first_byte))
        if usage.outcome in _FAULTS:
            span.set_status(Status(StatusCode.ERROR))
            span.set_attribute("error.type", usage.outcome.value)
        span.end(_nanoseconds(usage.at))

    def close(self) -> None:
        """Send what is left, for some seconds at most, and stop. Blocks: call it in a thread."""
        if self._provider is not None:
            self._provider.shutdown()


def parse_traceparent(header: str | None) -> SpanContext | None:
    """The caller's span; None where the header is absent or ill-formed (W3C Trace Context, section 3.2)."""
    match = _TRACEPARENT.fullmatch(header) if header is not None and len(header) <= 512 else None
    if header is None or match is None or (header.startswith("00") and len(header) != 55):
        return None
    context = SpanContext(int(match[1], 16), int(match[2], 16), True, TraceFlags(int(match[3], 16)))
    return context if context.is_valid else None


def _attributes(usage: Usage) -> dict[str, AttributeValue]:
    return {
        "gen_ai.operation.name": operation_of(usage.endpoint),
        "gen_ai.provider.name": PROVIDER,
        "gen_ai.request.model": usage.model,
        "gen_ai.usage.input_tokens": usage.input_tokens,
        "gen_ai.usage.cache_read.input_tokens": usage.cached_tokens,
        "gen_ai.usage.output_tokens": usage.output_tokens,
        "http.response.status_code": usage.status,
        "samdrift.ticket": usage.ticket,
        "samdrift.organisation": usage.organisation,
        "samdrift.project": usage.project,
        "samdrift.priority": usage.priority,
        "samdrift.replica": usage.replica,
        "samdrift.outcome": usage.outcome.value,
        "samdrift.waited": usage.waited,
        "samdrift.estimated": usage.estimated,
    }


def _nanoseconds(seconds: float) -> int:
    return round(seconds * 1e9)
