"""Why a request waited, went in or was refused: what was so when it came, remembered for a while and told in words.

A bounded memory of decisions, by ticket. It holds numbers and names of the document, no content; and of other members
only how many of their requests waited, never whose. For a ticket that is no longer remembered the ledger's row says less.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from samdrift.fairshare.stimuli import Admit, Arrived, FleetChanged, Progress, Reshaped, Stimulus, Ticked
from samdrift.spec.document import Priority
from samdrift.spec.problems import PROBLEMS, Reason, sentence_of
from samdrift.spec.usage import Outcome, Usage

State = Literal["waiting", "admitted", "refused", "left", "settled"]

MEMBERS_KEPT, STRANGERS_KEPT = 10_000, 1_000
"""How many decisions are remembered; those without a known key apart, so that they push out nobody else's."""
_WAITED = 0.005  # seconds; a shorter wait was none
_LONGEST = 80  # characters of what a client may choose: the name of a model that does not exist, a path
BANDS = ("own", "own-batch", "borrowed", "borrowed-batch")
"""The scheduler's bands, in words for programs."""
_BANDS = (
    "within its organisation's share",
    "within its organisation's share, as batch",
    "beyond its organisation's share, on what others left",
    "beyond its organisation's share, as batch, on what others left",
)


@dataclass(slots=True)
class Decision:
    """What was decided about a ticket, and what was so when it came: `used` is the part its organisation had of what the model
    served lately, `due` the part it is due, `ahead` how many of its organisation's own requests waited that were as urgent or
    more, `others` how many of all others'. `at` is in Unix seconds, `waited` in seconds, `cleared` what made its turn come,
    `trial` the replica that was a new version on trial then, and its part of the requests. What is not known is None."""

    ticket: str
    at: float
    organisation: str | None = None
    project: str | None = None
    model: str | None = None
    priority: Priority | None = None
    used: float | None = None
    due: float | None = None
    ahead: int | None = None
    others: int | None = None
    state: State = "waiting"
    band: int | None = None
    cleared: str | None = None
    waited: float | None = None
    replica: str | None = None
    trial: tuple[str, float] | None = None
    reason: Reason | None = None
    named: dict[str, str] | None = None
    retry_after: float | None = None
    usage: Usage | None = None


class Decisions:
    """See the module. Every step is O(1). Told by the desk, in the order in which things happen."""

    def __init__(self, members: int = MEMBERS_KEPT, strangers: int = STRANGERS_KEPT) -> None:
        self._members: dict[str, Decision] = {}
        self._strangers: dict[str, Decision] = {}
        self._most = members, strangers

    def of(self, ticket: str) -> Decision | None:
        """What is remembered of a ticket."""
        return self._members.get(ticket) or self._strangers.get(ticket)

    def came(
        self, arrived: Arrived, at: float, *, used: float | None, due: float, ahead: int, others: int
    ) -> None:  # fmt: skip
        """A request asks for its turn, and this is so before it does."""
        _keep(self._members, self._most[0], Decision(
            arrived.ticket, at, arrived.organisation, arrived.project, arrived.model, arrived.priority, used, due, ahead,
            others))  # fmt: skip

    def admitted(self, effect: Admit, cause: Stimulus, trial: tuple[str, float] | None = None) -> None:
        """It is its turn, because of what has just happened, while this replica was on `trial`."""
        decision = self._members.get(effect.ticket)
        if decision is not None:
            decision.state, decision.band, decision.replica = "admitted", effect.band, effect.replica
            decision.waited, decision.cleared, decision.trial = effect.waited, _cleared(effect.ticket, cause), trial

    def refused(
        self, ticket: str, at: float, reason: Reason, organisation: str | None, named: dict[str, str], *,
        retry_after: float | None, waited: float,
    ) -> None:  # fmt: skip
        """It is refused; if it was never asked whether it is its turn, this is all that is known of it."""
        decision, named = self._members.get(ticket), {name: value[:_LONGEST] for name, value in named.items()}
        if decision is None:
            decision = Decision(ticket, at, organisation, model=named.get("model"))
            if organisation is None:
                _keep(self._strangers, self._most[1], decision)
            else:
                _keep(self._members, self._most[0], decision)
        elif decision.state != "waiting":
            return  # somebody else came with a ticket that was good once
        decision.state, decision.reason, decision.named = "refused", reason, named
        decision.retry_after, decision.waited = retry_after, waited

    def left(self, ticket: str, at: float) -> None:
        """The caller hung up before an engine had its request."""
        decision = self._members.get(ticket)
        if decision is not None and decision.state in ("waiting", "admitted"):
            if decision.state == "waiting":
                decision.waited = max(0.0, at - decision.at)
            decision.state = "left"

    def settled(self, usage: Usage) -> None:
        """It has ended."""
        decision = self._members.get(usage.ticket)
        if decision is not None:
            decision.state, decision.usage = "settled", usage


def _keep(kept: dict[str, Decision], most: int, decision: Decision) -> None:
    kept.pop(decision.ticket, None)
    kept[decision.ticket] = decision
    if len(kept) > most:
        del kept[next(iter(kept))]


def _cleared(ticket: str, cause: Stimulus) -> str:
    match cause:
        case Arrived() if cause.ticket == ticket:
            return "at once"
        case FleetChanged():
            return "replicas changed"
        case Reshaped():
            return "the document changed"
        case Arrived() | Progress() | Ticked():
            return "time passed"
    return "a seat came free"


# -- in words --------------------------------------------------------------------------------------------------


def told(decision: Decision, now: float) -> dict[str, Any]:
    """A decision as plain values for JSON, with its words. `now` is in Unix seconds."""
    usage = decision.usage
    return {
        "ticket": decision.ticket, "known": "decision", "state": decision.state, "at": decision.at,
        "organisation": decision.organisation, "project": decision.project, "model": decision.model,
        "priority": decision.priority, "share": {"used": decision.used, "due": decision.due},
        "ahead": {"own": decision.ahead, "others": decision.others},
        "band": None if decision.band is None else BANDS[decision.band], "waited": decision.waited,
        "cleared": decision.cleared, "replica": decision.replica, "trial": _trial(decision), "reason": decision.reason,
        "retry_after": decision.retry_after, "usage": None if usage is None else _taken(usage),
        "words": words(decision, now),
    }  # fmt: skip


def told_of_row(usage: Usage) -> dict[str, Any]:
    """The same of a ticket of which only the ledger's row is left."""
    return {
        "ticket": usage.ticket, "known": "row", "state": "settled", "at": usage.at - usage.duration,
        "organisation": usage.organisation, "project": usage.project, "model": usage.model, "priority": usage.priority,
        "waited": usage.waited, "replica": usage.replica, "usage": _taken(usage),
        "words": [
            f"It asked for {usage.model}, for project {usage.project} of {usage.organisation}, as {usage.priority}.",
            f"It waited {spelt(usage.waited)}." if usage.waited >= _WAITED else "It did not have to wait.", _ran(usage),
            "No more is remembered of it: neither what its share was then, nor how many were ahead.",
        ],
    }  # fmt: skip


def words(decision: Decision, now: float) -> list[str]:
    """A decision in sentences."""
    d, said = decision, []
    whose = "somebody without a key that is known here" if d.organisation is None else d.organisation
    if d.project is None:
        said.append(f"It came from {whose}.")
    else:
        said.append(f"It asked for {d.model}, for project {d.project} of {whose}, as {d.priority}.")
    if d.due is not None:
        had = f"had {part(d.used)} of it in the five minutes before"
        said.append(f"{d.organisation} is due {part(d.due)} of {d.model} and {had}.")
    if d.ahead is not None and d.others is not None and d.ahead + d.others:
        own = own_requests(d.ahead, "was", "were")
        said.append(f"When it came, {own} ahead of it, and {d.others or 'none'} of other organisations waited.")
    match d.state:
        case "waiting":
            said.append(f"It has waited for {spelt(now - d.at)} so far.")
        case "refused" if d.reason is not None:
            said += _refused(d, d.reason)
        case "left" if d.band is None:
            said.append(f"The caller hung up after {spelt(d.waited or 0.0)}, before its turn came.")
        case _:
            said.append(_went_in(d))
    said += _on_trial(d)
    if d.usage is not None:
        said.append(_ran(d.usage))
    elif d.state == "admitted":
        said.append(f"It runs on {d.replica}, or its receipt is still to come.")
    elif d.state == "left" and d.band is not None:
        said.append("The caller was gone before an engine had its request.")
    return said


def _refused(decision: Decision, reason: Reason) -> list[str]:
    after = f" after {spelt(decision.waited)}" if decision.waited else ""
    said = [f"It was refused{after} ({reason}, HTTP {PROBLEMS[reason].status}), with these words:",
        f"“{sentence_of(reason, **(decision.named or {}))}”"]  # fmt: skip
    if decision.retry_after is not None:
        said.append(f"The caller was told to come again after {spelt(decision.retry_after)}.")
    return said


def _went_in(decision: Decision) -> str:
    band = f"It went in {_BANDS[decision.band]}" if decision.band is not None else "It went in"
    if not decision.waited:
        return f"A seat was free. {band}, at once."
    because = {
        "a seat came free": "until a seat came free and it was its turn",
        "replicas changed": "until replicas came that had a seat",
        "the document changed": "until the document was changed",
    }.get(decision.cleared or "", "until its turn came")
    return f"It waited {spelt(decision.waited)}, {because}. {band}."


def _on_trial(decision: Decision) -> list[str]:
    if decision.trial is None:
        return []
    tried, portion = decision.trial
    takes = f"which takes {part(portion)} of new requests while it is watched"
    if decision.replica == tried:
        return [f"It went to {tried}, a new version on trial, {takes}."]
    return [f"It went to {decision.replica}, the version that serves; a new one was on trial on {tried}, {takes}."]


def _trial(decision: Decision) -> dict[str, Any] | None:
    if decision.trial is None:
        return None
    tried, portion = decision.trial
    return {"replica": tried, "portion": portion, "answered": decision.replica == tried}


def _ran(usage: Usage) -> str:
    if usage.outcome is Outcome.LAPSED:
        return f"It went to {usage.replica}, and no receipt of it came."
    tokens = f"{usage.input_tokens:,} tokens in ({usage.cached_tokens:,} of them still known), {usage.output_tokens:,} out"
    end = {Outcome.COMPLETED: "it was answered", Outcome.LEFT: "the caller hung up", Outcome.FAILED: "the engine failed",
        Outcome.REJECTED: "the engine rejected it"}[usage.outcome]  # fmt: skip
    return f"It ran on {usage.replica}: {tokens}; {end} (HTTP {usage.status}) {spelt(usage.duration)} after it came."


def _taken(usage: Usage) -> dict[str, Any]:
    return {"outcome": usage.outcome, "status": usage.status, "input": usage.input_tokens, "cached": usage.cached_tokens,
        "output": usage.output_tokens, "estimated": usage.estimated, "duration": usage.duration,
        "first_byte": usage.first_byte}  # fmt: skip


def part(share: float | None) -> str:
    """A part of a whole for people: `12 %`, `0.4 %`, `nothing`."""
    if not share:
        return "nothing"
    percent = share * 100
    return f"{percent:.0f} %" if percent >= 9.95 or percent == round(percent) else f"{max(percent, 0.1):.1f} %"


def own_requests(count: int, one: str = "is", more: str = "are") -> str:
    """How many of an organisation's own, with the verb: `3 of its requests are`."""
    return f"none of its requests {one}" if not count else f"{count} of its requests {one if count == 1 else more}"


def spelt(seconds: float) -> str:
    """A time for people: `0.25 s`, `12 s`, `3 min 20 s`."""
    if seconds < 9.95:
        return f"{max(seconds, 0.0):.2f}".rstrip("0").rstrip(".") + " s"
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    return f"{whole} s" if not minutes else f"{minutes} min" + (f" {rest} s" if rest else "")
