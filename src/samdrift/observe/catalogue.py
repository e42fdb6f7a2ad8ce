"""Every instrument, declared once. Values only: what counts is `metrics`, what serves is `exposition`.

Where OpenTelemetry's semantic conventions for generative AI name a measurement, that name and its buckets are
used, written as Prometheus writes it (`gen_ai.server.request.duration` in seconds becomes
`gen_ai_server_request_duration_seconds`). The others begin with `samdrift_`. A label holds names of the
document or one of a few fixed words; anything else is counted under `unknown`, so that no client can grow the
metrics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

UNKNOWN = "unknown"
"""The label of an organisation or model that the document does not name."""

PROVIDER = "samdrift"
"""The label `gen_ai_provider_name`."""

Kind = Literal["counter", "gauge", "histogram"]


@dataclass(frozen=True, slots=True)
class Instrument:
    """One measurement. `name` is as Prometheus shows it, without `_total`; `unit` is the unit of its value.

    `sampled` says that its value is read from its owner at each scrape instead of being counted as things
    happen.
    """

    name: str
    kind: Kind
    unit: str
    help: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()
    sampled: bool = False
    opentelemetry: str = ""

    @property
    def exposed(self) -> str:
        """The name to query."""
        return f"{self.name}_total" if self.kind == "counter" else self.name


_WAITS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 60.0, 300.0, 900.0)
_MICROSECONDS = (5e-6, 1e-5, 2e-5, 3e-5, 5e-5, 7.5e-5, 1e-4, 2e-4, 5e-4, 1e-3, 5e-3, 2.5e-2, 0.1)
_TOKENS = (1, 4, 16, 64, 256, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216, 67108864)
_DURATIONS = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_FIRST_TOKEN = (0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_PER_TOKEN = (0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5)
_GEN_AI = ("gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model")

# What requests take

REQUESTS = Instrument("samdrift_requests", "counter", "requests",
    "Admitted requests that have ended, by how they ended.",
    ("organisation", "model", "outcome"))  # fmt: skip
TOKENS = Instrument("samdrift_tokens", "counter", "tokens",
    "Tokens of settled requests. `cached` tokens are part of the `input` tokens.",
    ("organisation", "model", "type"))  # fmt: skip
TOKEN_USAGE = Instrument("gen_ai_client_token_usage", "histogram", "tokens",
    "Tokens of one request, input and output apart.", (*_GEN_AI, "gen_ai_token_type"), _TOKENS,
    opentelemetry="gen_ai.client.token.usage")  # fmt: skip
REQUEST_DURATION = Instrument("gen_ai_server_request_duration_seconds", "histogram", "seconds",
    "From the arrival of a request to the last byte of its answer, waiting for its turn included.",
    (*_GEN_AI, "outcome"), _DURATIONS, opentelemetry="gen_ai.server.request.duration")  # fmt: skip
FIRST_TOKEN = Instrument("gen_ai_server_time_to_first_token_seconds", "histogram", "seconds",
    "From the arrival of a request to the first token of its answer, waiting for its turn included.",
    _GEN_AI, _FIRST_TOKEN, opentelemetry="gen_ai.server.time_to_first_token")  # fmt: skip
PER_TOKEN = Instrument("gen_ai_server_time_per_output_token_seconds", "histogram", "seconds",
    "The mean time between tokens of an answer, after its first.",
    _GEN_AI, _PER_TOKEN, opentelemetry="gen_ai.server.time_per_output_token")  # fmt: skip

# Turns

WAIT = Instrument("samdrift_wait_seconds", "histogram", "seconds",
    "How long admitted requests waited for their turn.", ("organisation", "model"), _WAITS)  # fmt: skip
WAIT_BY_BAND = Instrument("samdrift_band_wait_seconds", "histogram", "seconds",
    "How long admitted requests waited, by why it was their turn: within the share of their organisation (`own`, "
    "`own-batch`), or on what others left (`borrowed`, `borrowed-batch`).", ("model", "band"), _WAITS)  # fmt: skip
RECLAIM = Instrument("samdrift_reclaim_seconds", "histogram", "seconds",
    "How long an organisation that had nothing waiting or running waited for its first seat when it came back and "
    "found none free.", ("model",), _WAITS)  # fmt: skip
REFUSALS = Instrument("samdrift_refusals", "counter", "requests",
    "Requests that were refused, by reason (docs/reference/problems.md).",
    ("reason", "organisation", "model"))  # fmt: skip
DECISION = Instrument("samdrift_decision_seconds", "histogram", "seconds",
    "Time the admission desk took to handle one question, waiting for a turn not included.",
    (), _MICROSECONDS)  # fmt: skip
RECEIPTS = Instrument("samdrift_receipts", "counter", "receipts",
    "Receipts of ended requests, by what they did: `settled` a ticket; came `late`, after its lease; were a "
    "`duplicate`; belonged to a caller who `left` before an engine saw the request; to an `unknown` ticket. "
    "`lapsed` counts leases that ended without one.", ("kind",))  # fmt: skip
WAITING = Instrument("samdrift_waiting_requests", "gauge", "requests",
    "Requests that wait for their turn now.", ("organisation", "model"), sampled=True)  # fmt: skip
SEATS = Instrument("samdrift_seats", "gauge", "seats",
    "Seats of a replica: how many requests it can work on at once.", ("model", "replica"),
    sampled=True)  # fmt: skip
SEATS_IN_USE = Instrument("samdrift_seats_in_use", "gauge", "seats",
    "Seats of a replica that are taken now.", ("model", "replica"), sampled=True)  # fmt: skip

# Shares

SHARE_DUE = Instrument("samdrift_share_due", "gauge", "part of 1",
    "The part of a model that an organisation is due when all want it at once.",
    ("organisation", "model"), sampled=True)  # fmt: skip
SHARE_USED = Instrument("samdrift_share_used", "gauge", "part of 1",
    "The part that an organisation had of what a model served in the last five minutes, in weighted tokens; 0 if it "
    "served nobody.", ("organisation", "model"), sampled=True)  # fmt: skip
BORROWED = Instrument("samdrift_borrowed_seats", "gauge", "seats",
    "Seats that an organisation has now beyond those it is due.", ("organisation", "model"), sampled=True)  # fmt: skip
LENT = Instrument("samdrift_lent_seats", "gauge", "seats",
    "What an organisation leaves idle of the seats it is due and others use now: its part of all that are borrowed, by how "
    "much it leaves.", ("organisation", "model"), sampled=True)  # fmt: skip
FAIRNESS = Instrument("samdrift_fairness_index", "gauge", "part of 1",
    "Jain's index of what was served per weight in the last minute, over the organisations of which somebody has waited "
    "all that time: 1 if all were served alike, 1/n if one of n had everything; 1 if there are not two to compare.",
    ("model",), sampled=True)  # fmt: skip
RECORD_LINES = Instrument("samdrift_record_lines", "counter", "lines",
    "Lines of the record (`observe.record`) that are `written`; or that were `dropped`, because the buffer or the day's "
    "file was full or the disk would not take them.", ("fate",), sampled=True)  # fmt: skip

# Processes

REPLICA_UP = Instrument("samdrift_replica_up", "gauge", "1 or 0",
    "Whether a replica takes requests.", ("model", "replica"), sampled=True)  # fmt: skip
REPLICA_RESTARTS = Instrument("samdrift_replica_restarts", "counter", "restarts",
    "How often a replica's process was started anew.", ("model", "replica"), sampled=True)  # fmt: skip
GATEWAY_UP = Instrument("samdrift_gateway_up", "gauge", "1 or 0", "Whether Envoy is up.", sampled=True)
GATEWAY_RESTARTS = Instrument("samdrift_gateway_restarts", "counter", "restarts",
    "How often Envoy was started anew.", sampled=True)  # fmt: skip

DESK_ACTIVE = Instrument("samdrift_desk_active", "gauge", "1 or 0",
    "Of two desks, whether this one is active. Their sum is 1, or 0 for some seconds.", sampled=True)  # fmt: skip

# The ledger

LEDGER_ROWS = Instrument("samdrift_ledger_rows", "counter", "rows",
    "Usage rows that are `written`; that were `dropped` because the buffer was full (the journal has them); "
    "or that are `unfit` for any database.", ("fate",), sampled=True)  # fmt: skip
LEDGER_QUEUED = Instrument("samdrift_ledger_queued_rows", "gauge", "rows",
    "Usage rows that wait to be written.", sampled=True)  # fmt: skip
LEDGER_BEHIND = Instrument("samdrift_ledger_behind", "gauge", "1 or 0",
    "Whether rows were dropped and the journal has to be replayed.", sampled=True)  # fmt: skip

BUILD = Instrument("samdrift_build_info", "gauge", "1", "Which program this is.", ("version", "python"))

CATALOGUE: tuple[Instrument, ...] = (
    REQUESTS, TOKENS, TOKEN_USAGE, REQUEST_DURATION, FIRST_TOKEN, PER_TOKEN,
    WAIT, WAIT_BY_BAND, RECLAIM, REFUSALS, DECISION, RECEIPTS, WAITING, SEATS, SEATS_IN_USE,
    SHARE_DUE, SHARE_USED, BORROWED, LENT, FAIRNESS, RECORD_LINES,
    REPLICA_UP, REPLICA_RESTARTS, GATEWAY_UP, GATEWAY_RESTARTS, DESK_ACTIVE,
    LEDGER_ROWS, LEDGER_QUEUED, LEDGER_BEHIND, BUILD,
)  # fmt: skip
"""In the order of the reference."""

RECEIPT_KINDS = frozenset({"settled", "duplicate", "late", "lapsed", "left", "unknown"})
"""What the label `kind` of `RECEIPTS` may say."""

BANDS = ("own", "own-batch", "borrowed", "borrowed-batch")
"""What the label `band` may say, in the order of the scheduler's bands."""

_OPERATIONS = (("embeddings", "embeddings"), ("chat/completions", "chat"), ("completions", "text_completion"))


def operation_of(endpoint: str) -> str:
    """OpenTelemetry's `gen_ai.operation.name` for an endpoint such as `/v1/chat/completions`."""
    return next((name for end, name in _OPERATIONS if endpoint.rstrip("/").endswith(end)), UNKNOWN)


def metrics_reference() -> str:
    """The page `docs/reference/metrics.md`."""
    parts = [_INTRODUCTION]
    for instrument in CATALOGUE:
        facts = [f"{instrument.kind}, in {instrument.unit}"]
        if instrument.labels:
            facts.append("labels " + ", ".join(f"`{label}`" for label in instrument.labels))
        if instrument.opentelemetry:
            facts.append(f"OpenTelemetry's `{instrument.opentelemetry}`")
        parts.append(f"## `{instrument.exposed}`\n\n{instrument.help}\n\n*{'; '.join(facts)}*\n")
        if instrument.buckets:
            parts.append(f"Buckets: {', '.join(f'{bucket:.10g}' for bucket in instrument.buckets)}\n")
    return "\n".join(parts)


_INTRODUCTION = """\
# Metrics

Made from `samdrift.observe.catalogue` by `samdrift docs`; do not edit it by hand.

Prometheus reads them at `/metrics` of the address `observe.listen` (`127.0.0.1:9464`), as its own text or as
OpenMetrics. Organisations and models are those of the document; whatever else a client names is counted as
`unknown`. Metrics begin at zero with the process. Statements are made from the ledger, which counts each
ticket once; here a ticket that lapsed and whose receipt came late is counted at both times.
"""
