"""Whether all accounts agree: what the clients saw, what the engine made, what the ledger says. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from statistics import median

from bench.soak.clients import Seen
from bench.soak.engine import Made
from bench.soak.kills import BACK_WITHIN, Kill, Look
from bench.soak.place import Row, Target

AFTERMATH = 1.0
"""Seconds after service is back in which another client may still hear of the kill."""
UNNOTED = 0.5
"""Seconds that what has ended may take until those who serve have noted it: a kill within them takes it along."""
WARMING = 5.0
"""Seconds of a process's life that do not count: imports, caches and pools are being filled."""
JUDGED = 40
"""The fewest looks (10 s of them) from which a life is judged."""
MEMORY_MARGIN, FILES_MARGIN = 6 << 20, 16
"""How far the median of a life's second half may lie above that of its first: bytes, descriptors."""


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the table. `ok` is None where this run was too short to say."""

    name: str
    ok: bool | None
    found: str


@dataclass(frozen=True, slots=True)
class Facts:
    """All that is known after a run. `metrics` and `open_tickets` are those at rest; `seats` is how many there are."""

    requests: int
    seen: Sequence[Seen]
    rows: Sequence[Row]
    made: Sequence[Made]
    kills: Sequence[Kill]
    looks: Sequence[Look]
    metrics: dict[str, float]
    open_tickets: Sequence[str]
    troubles: Sequence[str]
    seats: int


class _Case:
    """The facts, as the checks want them."""

    def __init__(self, facts: Facts) -> None:
        self.facts = facts
        self.rows = {row.ticket: row for row in facts.rows}
        self.made = {made.ticket: made for made in facts.made}
        self.known = [seen for seen in facts.seen if seen.ticket and seen.status == 200]
        self.deaths = [kill for kill in facts.kills if kill.target == "envoy"]

    def within(self, seen: Seen, *targets: Target, before: float = 0.0) -> bool:
        """Whether this request ended in the window of a kill of one of these, or so short a time `before` it."""
        return any(kill.at - before <= seen.ended <= (kill.back or float("inf")) + AFTERMATH
            for kill in self.facts.kills if kill.target in targets)  # fmt: skip

    def lost(self, row: Row | None, seen: Seen) -> bool:
        """Whether the receipt died with Envoy: it ended at that moment, or so short a time before that it was unsent."""
        return row is not None and row.outcome == "lapsed" and any(kill.at - UNNOTED <= seen.ended <= kill.at + UNNOTED
            for kill in self.deaths)  # fmt: skip


def judge(facts: Facts) -> list[Check]:
    """Every check, in the order of the table."""
    case = _Case(facts)
    return [check for checks in (_rest, _answers, _accounts, _tokens, _recovery, _flatness) for check in checks(case)]


def _none(name: str, wrong: Sequence[object], found: str) -> Check:
    return Check(name, not wrong, found if not wrong else f"{len(wrong)} wrong, the first: {wrong[0]}")


# -- at rest -------------------------------------------------------------------------------------------------------


def _rest(case: _Case) -> Iterator[Check]:
    metrics = case.facts.metrics
    for name, what in (("samdrift_seats_in_use", "no seat is taken"), ("samdrift_waiting_requests", "nobody waits"),
            ("samdrift_ledger_queued_rows", "no row waits to be written")):  # fmt: skip
        value = metrics.get(name)
        yield Check(what, value == 0, f"{name} = {value}")
    yield _none("no ticket is open", case.facts.open_tickets, "tickets.json is empty")
    yield _none("no trouble in what the control plane said", case.facts.troubles, "nothing worse than a warning")


# -- what clients were told ------------------------------------------------------------------------------------------


def _answers(case: _Case) -> Iterator[Check]:
    seen = case.facts.seen
    ends = Counter(one.end for one in seen)
    yield Check("every request is accounted for", len(seen) == case.facts.requests,
        ", ".join(f"{count} {end}" for end, count in sorted(ends.items())))  # fmt: skip
    yield _none("nobody was left without an answer", [one for one in seen if one.end == "silent"], "0 silent")
    refused = [one for one in seen if one.end == "refused"]
    unclear = [one for one in refused if one.status not in (429, 503) or not one.retry_after.isdigit()]
    codes = Counter(f"{one.status} {_code(one)}" for one in refused)
    yield _none("refusals are 429 or 503 with Retry-After", unclear, _counted(codes))
    yield _none("503 only where something was killed",
        [one for one in refused if one.status == 503 and not case.within(one, "engine", "control", "envoy")],
        f"{sum(one.status == 503 for one in refused)} of 503")  # fmt: skip
    cut = [one for one in seen if one.end in ("broken", "unreachable")]
    yield _none("answers broke only where engine or Envoy was killed",
        [one for one in cut if not case.within(one, "engine", "envoy")],
        f"{len(cut)} broken or without connection")  # fmt: skip


def _code(seen: Seen) -> str:
    return seen.said.partition('"code": "')[2].partition('"')[0]


def _counted(counter: Counter[str]) -> str:
    return ", ".join(f"{count} x {what}" for what, count in sorted(counter.items())) or "none"


# -- rows ------------------------------------------------------------------------------------------------------------


def _accounts(case: _Case) -> Iterator[Check]:
    facts = case.facts
    yield Check("no ticket has two rows", len(case.rows) == len(facts.rows),
        f"{len(facts.rows)} rows, {len(case.rows)} tickets")  # fmt: skip
    tickets = Counter(made.ticket for made in facts.made)
    yield _none("no ticket was served twice", [t for t, count in tickets.items() if count > 1], f"{len(tickets)} served")
    shown = Counter(seen.ticket for seen in facts.seen if seen.ticket)
    yield _none("no two clients saw one ticket", [t for t, count in shown.items() if count > 1], "each its own")
    yield _none("all that the engine served has a row", [made for made in facts.made if made.ticket not in case.rows],
        _counted(Counter("whole" if made.whole else "cut" for made in case.made.values())))  # fmt: skip
    yield _none("all that a client saw begin has a row", [s for s in case.known if s.ticket not in case.rows],
        f"{len(case.known)} seen")  # fmt: skip
    yield _none("each row is on the right account", [(s, row) for s in case.known if (row := case.rows.get(s.ticket))
        and (row.organisation, row.project, row.key) != (s.ask.member.organisation, s.ask.member.project, s.ask.member.key)],
        f"{len(case.known)} compared")  # fmt: skip
    unseen = sum(ticket not in shown for ticket in case.rows)
    blind = sum(not seen.ticket for seen in facts.seen)
    yield Check("no row from nowhere", unseen <= blind, f"{unseen} rows that no client saw begin; {blind} saw nothing")


# -- tokens ----------------------------------------------------------------------------------------------------------


def _tokens(case: _Case) -> Iterator[Check]:
    whole = [s for s in case.known if s.end == "whole"]
    lost = [s for s in whole if case.lost(case.rows.get(s.ticket), s)]
    gone = {s.ticket for s in lost}
    counted = [s for s in whole if s.ticket not in gone]
    yield _none("whole answers: ledger = engine = client", [(s, case.rows.get(s.ticket), case.made.get(s.ticket))
        for s in counted if not _agree(s, case.rows.get(s.ticket), case.made.get(s.ticket))],
        f"{len(counted)} completed, each token for token")  # fmt: skip
    ledger = _sums((row.input_tokens, row.output_tokens) for s in counted if (row := case.rows.get(s.ticket)))
    engine = _sums((made.given, made.made) for s in counted if (made := case.made.get(s.ticket)))
    client = _sums((s.ask.given, s.counted) for s in counted)
    yield Check("their sums", ledger == engine == client, f"ledger {ledger}, engine {engine}, clients {client} (in, out)")
    lapsed = [row for row in case.rows.values() if row.outcome == "lapsed"]
    bound = case.facts.seats * len(case.deaths)
    yield Check("receipts lost with Envoy, at most a seat each",
        len(lapsed) <= bound and all(row.estimated for row in lapsed),
        f"{len(lapsed)} lapsed ({len(lost)} of them whole at the client), bound {bound}")  # fmt: skip
    left = [(s, row, case.made.get(s.ticket)) for s in case.known
        if s.end == "hung up" and (row := case.rows.get(s.ticket)) and not case.lost(row, s)]  # fmt: skip
    fates = Counter(row.outcome for _, row, _ in left)
    yield _none("hung up mid-answer: client <= ledger <= engine",
        [one for one in left if not _fair(*one, case.within(one[0], "engine", "envoy", before=UNNOTED))],
        _counted(fates))  # fmt: skip
    broken = [(s, row) for s in case.known if s.end == "broken" and (row := case.rows.get(s.ticket))]
    yield _none("broken off: failed or lapsed, client <= ledger", [
        (s, row) for s, row in broken if row.outcome not in ("failed", "lapsed")
        or (row.outcome == "failed" and not s.counted <= row.output_tokens <= s.ask.wanted)],
        _counted(Counter(row.outcome for _, row in broken)))  # fmt: skip
    free = [row for row in case.rows.values() if row.ticket not in case.made and row.outcome == "completed"]
    yield _none("nothing counted as completed that the engine did not end", free, "none")


def _agree(seen: Seen, row: Row | None, made: Made | None) -> bool:
    return (row is not None and made is not None and made.whole and row.outcome == "completed" and not row.estimated
        and row.input_tokens == made.given == seen.ask.given
        and row.output_tokens == made.made == seen.counted == seen.ask.wanted)  # fmt: skip


def _fair(seen: Seen, row: Row, made: Made | None, killed: bool) -> bool:
    """Envoy had read at least what the client read, and at most what the engine had written. Envoy may have had all of it
    before it knew that the client was gone: then it is completed, whole and exact."""
    if made is None:  # the engine died with its count
        return killed and row.outcome in ("left", "failed", "lapsed") and row.output_tokens <= seen.ask.wanted
    if row.outcome == "completed":
        return made.whole and (row.input_tokens, row.output_tokens) == (made.given, made.made)
    return (row.outcome == "left" or killed) and seen.counted <= row.output_tokens <= made.made


def _sums(pairs: Iterator[tuple[int, int]]) -> tuple[int, int]:
    found = list(pairs)
    return sum(one for one, _ in found), sum(other for _, other in found)


# -- recovery, memory, descriptors -------------------------------------------------------------------------------------


def _recovery(case: _Case) -> Iterator[Check]:
    for kill in case.facts.kills:
        took = kill.back - kill.at
        yield Check(f"back after the {kill.target} was killed", 0 < took <= BACK_WITHIN,
            f"{took:.2f} s (at most {BACK_WITHIN:.0f}), {kill.flying} were under way" if kill.back else "never")  # fmt: skip


def _flatness(case: _Case) -> Iterator[Check]:
    lives: dict[tuple[Target, int], list[Look]] = {}
    for look in case.facts.looks:
        lives.setdefault((look.target, look.pid), []).append(look)
    judged = Counter[Target]()
    for (target, _), looks in lives.items():
        steady = [look for look in looks if look.at >= looks[0].at + WARMING]
        if len(steady) >= JUDGED:
            judged[target] += 1
            life = f"{target}, life of {looks[-1].at - looks[0].at:.0f} s"
            yield _flat(f"memory flat ({life})", steady, lambda look: look.memory / 2**20, MEMORY_MARGIN / 2**20, "MiB")
            yield _flat(f"descriptors flat ({life})", steady, lambda look: look.files, FILES_MARGIN, "open")
    targets: tuple[Target, ...] = ("control", "envoy")
    for target in targets:
        if not judged[target]:
            yield Check(f"memory and descriptors flat ({target})", None, "no life of 15 s in this run")


def _flat(name: str, looks: Sequence[Look], of: Callable[[Look], float], margin: float, unit: str) -> Check:
    half = len(looks) // 2
    first, second = median(map(of, looks[:half])), median(map(of, looks[half:]))
    return Check(name, second <= first + margin, f"{first:.0f} → {second:.0f} {unit} (at most {margin:.0f} more)")
