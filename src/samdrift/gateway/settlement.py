"""From Envoy's access log to a receipt: what a ticket took, and how it ended.

Two ways bring the same facts: the gRPC stream (at once) and the journal on disk (for what was missed). A receipt
says only what Envoy saw; whether it settles a ticket is for the desk and the ledger to say, once.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from samdrift.fairshare.stimuli import Tokens
from samdrift.gateway.account import Account
from samdrift.gateway.listener import AUTHZ, USAGE
from samdrift.spec.usage import Outcome, Usage

AI_GATEWAY = "io.envoy.ai_gateway"
"""The namespace in which Envoy AI Gateway counts, under the keys that `cluster.routes` gives it."""
_MOST_TOKENS = 10**9  # no request has more; a larger number is a broken engine's


@dataclass(frozen=True, slots=True)
class Receipt:
    """What one request took. `tokens` is None where no engine said a count. Times are seconds, `at` is Unix time of
    the end. `account` is None if Envoy never had the desk's answer: then no engine saw the request."""

    ticket: str
    account: Account | None
    tokens: Tokens | None
    outcome: Outcome
    status: int
    at: float
    duration: float
    first_byte: float | None
    reached_engine: bool

    @property
    def owed(self) -> Tokens | None:
        """What the share is charged; None for what was charged at admission. Whoever hangs up before the first count has still
        used a seat: that charge stands. An engine that failed or rejected before the first count took nothing."""
        if self.tokens is not None:
            return self.tokens
        if self.reached_engine and self.outcome in (Outcome.LEFT, Outcome.COMPLETED):
            return None
        return Tokens()

    def usage(self) -> Usage | None:
        """The row for the ledger; None if nothing was admitted."""
        if self.account is None:
            return None
        tokens, account = self.tokens or Tokens(), self.account
        return Usage(
            ticket=self.ticket, organisation=account.organisation, project=account.project, key=account.key,
            model=account.model, replica=account.replica, endpoint=account.endpoint, priority=account.priority,
            outcome=self.outcome, status=self.status, input_tokens=tokens.input, cached_tokens=tokens.cached,
            output_tokens=tokens.output, estimated=self.tokens is None and self.outcome is Outcome.COMPLETED,
            at=self.at, waited=account.waited, first_byte=self.first_byte, duration=self.duration,
            user=account.user,
        )  # fmt: skip


def tokens_of(counts: Mapping[str, float]) -> Tokens | None:
    """The counts that the engine's answer carried: its `usage`, else the running count of its stream."""
    if "prompt_tokens" in counts:
        found = counts["prompt_tokens"], counts.get("cached_tokens", 0), counts.get("completion_tokens", 0)
    elif "llm_output_token" in counts or "llm_input_token" in counts:
        found = (counts.get("llm_input_token", 0), counts.get("llm_cached_input_token", 0), counts.get("llm_output_token", 0))
    elif "predicted_n" in counts:
        cached = counts.get("cache_n", 0)
        found = counts.get("prompt_n", 0) + cached, cached, counts["predicted_n"]
    elif "total_tokens" in counts:  # of servers that rerank, and say no more
        found = counts["total_tokens"], 0, 0
    else:
        return None
    return Tokens(*(int(min(max(n, 0), _MOST_TOKENS)) if n == n else 0 for n in found))


def is_whole(counts: Mapping[str, float]) -> bool:
    """Whether the engine's last word was among what went through Envoy. llama.cpp counts in its `timings` as it goes, and says
    `usage` when it is done, if the client asked for it; vLLM says how much it knew of the prompt only then. A bare `usage`
    may be one of many in a stream."""
    return "prompt_tokens" in counts and ("predicted_n" in counts or "cached_tokens" in counts)


def outcome_of(status: int, *, client_left: bool, broken: bool, whole: bool = False) -> Outcome:
    """How it ended, from the status and what Envoy says went wrong. Whoever closes the connection with the whole answer in
    hand has not left: OpenAI's clients do so at `[DONE]`, before the stream has ended as HTTP sees it."""
    if client_left:
        return Outcome.COMPLETED if whole and 200 <= status < 300 else Outcome.LEFT
    if broken or status >= 500 or status == 0:
        return Outcome.FAILED
    return Outcome.REJECTED if status >= 400 else Outcome.COMPLETED


def receipt_of_entry(entry: Any) -> Receipt:
    """A receipt from an `HTTPAccessLogEntry` (envoy.data.accesslog.v3)."""
    common, flags = entry.common_properties, entry.common_properties.response_flags
    flagged = common.HasField("response_flags")  # seldom; ten look-ups in a protobuf message cost more than one
    metadata = common.metadata.filter_metadata
    status = entry.response.response_code.value
    account = None
    if AUTHZ in metadata:
        account = Account.of(metadata[AUTHZ].fields["x-samdrift-account"].string_value)
    counts = _counts(metadata)
    duration = _seconds(common.duration)
    first = None
    if common.HasField("time_to_first_upstream_rx_byte"):
        first = _first_token(_seconds(common.time_to_first_upstream_tx_byte),
            _seconds(common.time_to_first_upstream_rx_byte), duration, counts)  # fmt: skip
    return Receipt(
        ticket=entry.request.request_id,
        account=account,
        tokens=tokens_of(counts),
        outcome=outcome_of(
            status,
            client_left=flagged and (flags.downstream_connection_termination or flags.downstream_remote_reset),
            broken=flagged and (
                flags.upstream_connection_termination or flags.upstream_remote_reset or flags.local_reset
                or flags.upstream_connection_failure or flags.stream_idle_timeout or flags.upstream_protocol_error
                or flags.upstream_max_stream_duration_reached or flags.upstream_request_timeout),
            whole=is_whole(counts),
        ),
        status=status,
        at=_seconds(common.start_time) + duration,
        duration=duration,
        first_byte=first,
        reached_engine=first is not None or common.HasField("time_to_first_upstream_tx_byte"),
    )  # fmt: skip


def progress_of_entry(entry: Any) -> tuple[str, int] | None:
    """Whose stream still runs, and how many tokens of output it has so far, from a periodic `HTTPAccessLogEntry`; None if it does
    not say."""
    tokens = tokens_of(_counts(entry.common_properties.metadata.filter_metadata))
    return None if tokens is None else (entry.request.request_id, tokens.output)


def _counts(metadata: Any) -> dict[str, float]:
    counted = next((namespace for namespace in (USAGE, AI_GATEWAY) if namespace in metadata), None)
    return {} if counted is None else {key: v.number_value for key, v in metadata[counted].fields.items()}


def _seconds(value: Any) -> float:
    return float(value.seconds) + float(value.nanos) * 1e-9


def _first_token(sent: float, headers: float, duration: float, counts: Mapping[str, float]) -> float:
    """Seconds until the first token. An engine that sends its headers at once says by itself how long it read the prompt."""
    read = counts.get("prompt_ms", 0.0) / 1000
    return min(max(headers, sent + read), duration) if 0 <= read < duration else headers


_LEFT = frozenset({"DC", "DR"})
_BROKEN = frozenset({"UC", "UR", "LR", "UF", "SI", "UPE", "UMSDR", "UT"})


def receipt_of_line(line: str) -> Receipt | None:
    """A receipt from a line of the journal; None for a line that is not one (a torn last line, say)."""
    try:
        entry = json.loads(line)
        ticket, status, flags = entry["ticket"], int(entry["status"]), set((entry["flags"] or "").split(","))
        duration = float(entry["duration"] or 0) / 1000
        at = float(entry["start"]) + duration
        counts = {key: float(value) for key, value in (entry["usage"] or {}).items()}
        account = Account.of(entry["account"]) if isinstance(entry.get("account"), str) else None
        first = None
        if entry["first_byte"] is not None:
            # Lines of an earlier version do not say when the engine was asked; the turn came just before.
            turn = 1000 * account.waited if account is not None else 0.0
            sent = turn if entry.get("sent") is None else float(entry["sent"])
            first = _first_token(sent / 1000, float(entry["first_byte"]) / 1000, duration, counts)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError):
        return None
    if not isinstance(ticket, str):
        return None
    return Receipt(
        ticket=ticket,
        account=account,
        tokens=tokens_of(counts),
        outcome=outcome_of(status, client_left=bool(flags & _LEFT), broken=bool(flags & _BROKEN), whole=is_whole(counts)),
        status=status,
        at=at,
        duration=duration,
        first_byte=first,
        reached_engine=entry.get("upstream") is not None,
    )
