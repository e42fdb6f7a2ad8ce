"""Counting. One `Metrics` owns the instruments of a process; its methods are called on the path of requests.

They cost a few microseconds together: the children of an organisation and a model are looked up once and
kept. All methods belong to the event loop's thread but `render`, which may run in another.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from samdrift import __version__
from samdrift.observe import catalogue
from samdrift.observe.catalogue import CATALOGUE, PROVIDER, RECEIPT_KINDS, UNKNOWN, Instrument, operation_of
from samdrift.spec.problems import Reason
from samdrift.spec.usage import Outcome, Usage

_PLAIN = "text/plain"


@dataclass(frozen=True, slots=True)
class Reading:
    """The value that a sampled instrument has now, for the labels in the instrument's order."""

    instrument: Instrument
    value: float
    labels: tuple[str, ...] = ()


@dataclass(slots=True)
class _Member:
    """The children of one organisation and one model."""

    wait: Histogram
    input: Counter
    cached: Counter
    output: Counter
    outcomes: dict[Outcome, Counter]
    refusals: dict[Reason, Counter] = field(default_factory=dict)


@dataclass(slots=True)
class _Served:
    """The children of one operation and one model."""

    input: Histogram
    output: Histogram
    first_token: Histogram
    per_token: Histogram
    durations: dict[Outcome, Histogram]


class Metrics:
    """All instruments of this process, in a registry of their own."""

    def __init__(self, organisations: Iterable[str] = (), models: Iterable[str] = ()) -> None:
        self._registry = CollectorRegistry(auto_describe=False)
        counted = [i for i in CATALOGUE if not i.sampled]
        self._counters = {i: self._counter(i) for i in counted if i.kind == "counter"}
        self._histograms = {i: self._histogram(i) for i in counted if i.kind == "histogram"}
        build = catalogue.BUILD
        Gauge(build.name, build.help, build.labels, registry=self._registry).labels(
            __version__, platform.python_version()
        ).set(1)
        self._receipts = {kind: self._counters[catalogue.RECEIPTS].labels(kind) for kind in RECEIPT_KINDS}
        self._decision = self._histograms[catalogue.DECISION]
        self._organisations: frozenset[str] = frozenset()
        self._models: frozenset[str] = frozenset()
        self._members: dict[tuple[str | None, str | None], _Member] = {}
        self._served: dict[tuple[str, str], _Served] = {}
        self._waits: dict[tuple[str, int], Histogram] = {}
        self.reshape(organisations, models)

    def _counter(self, i: Instrument) -> Counter:
        return Counter(i.name, i.help, i.labels, registry=self._registry)

    def _histogram(self, i: Instrument) -> Histogram:
        return Histogram(i.name, i.help, i.labels, buckets=i.buckets, registry=self._registry)

    def reshape(self, organisations: Iterable[str], models: Iterable[str]) -> None:
        """The document changed: these names are labels from now on. What left the document is forgotten."""
        self._organisations, self._models = frozenset(organisations), frozenset(models)
        known = {"organisation": self._organisations | {UNKNOWN}, "model": self._models | {UNKNOWN}}
        known["gen_ai_request_model"] = known["model"]
        metrics: dict[Instrument, Counter | Histogram] = {**self._counters, **self._histograms}
        for instrument, metric in metrics.items():
            bound = [(n, known[label]) for n, label in enumerate(instrument.labels) if label in known]
            if bound:
                _forget(metric, bound)
        self._members.clear()
        self._served.clear()
        self._waits.clear()

    # What happens to requests

    def admitted(self, organisation: str, model: str, waited: float, band: int = 0) -> None:
        """A request was admitted after `waited` seconds; `band` is its place in `catalogue.BANDS`."""
        self._member(organisation, model).wait.observe(waited)
        histogram = self._waits.get((model, band))
        if histogram is None:
            histogram = self._waits_of(model, band)
        histogram.observe(waited)

    def reclaimed(self, model: str, seconds: float) -> None:
        """An organisation that came back had to wait so long for its first seat."""
        self._histograms[catalogue.RECLAIM].labels(self._names(None, model)[1]).observe(seconds)

    def refused(self, reason: Reason, organisation: str | None, model: str | None) -> None:
        """A request was refused. None where it is not known whose it was, or for which model."""
        refusals = self._member(organisation, model).refusals
        counter = refusals.get(reason)
        if counter is None:
            counter = refusals[reason] = self._counters[catalogue.REFUSALS].labels(
                reason.value, *self._names(organisation, model)
            )
        counter.inc()

    def settled(self, usage: Usage) -> None:
        """A ticket was settled."""
        member = self._member(usage.organisation, usage.model)
        member.outcomes[usage.outcome].inc()
        member.input.inc(usage.input_tokens)
        member.cached.inc(usage.cached_tokens)
        member.output.inc(usage.output_tokens)
        served = self._serving(usage.endpoint, usage.model)
        served.durations[usage.outcome].observe(usage.duration)
        if usage.outcome is not Outcome.COMPLETED and not usage.output_tokens:
            return  # nothing was generated: it would pull the distributions to zero
        served.input.observe(usage.input_tokens)
        served.output.observe(usage.output_tokens)
        if usage.first_byte is not None:
            served.first_token.observe(usage.first_byte)
            if usage.output_tokens > 1:
                served.per_token.observe((usage.duration - usage.first_byte) / (usage.output_tokens - 1))

    def receipt(self, kind: str) -> None:
        """A receipt came, or a lease lapsed; the kinds are `RECEIPT_KINDS`."""
        self._receipts[kind if kind in RECEIPT_KINDS else UNKNOWN].inc()

    def decided(self, seconds: float) -> None:
        """The desk handled one question in this time."""
        self._decision.observe(seconds)

    # Reading

    def render(self, accept: str, readings: Iterable[Reading] = ()) -> tuple[str, bytes]:
        """Everything as text: the content type that suits `accept`, and the body.

        `readings` are the sampled instruments. With many members this takes some tens of milliseconds: run it
        in a thread, and take the readings before.
        """
        try:
            encode, content_type = choose_encoder(accept)
        except (ValueError, TypeError, IndexError):  # a version that is none
            encode, content_type = choose_encoder(_PLAIN)
        return content_type, encode(_Scrape(self._registry, tuple(readings)))

    def _names(self, organisation: str | None, model: str | None) -> tuple[str, str]:
        return (
            organisation if organisation is not None and organisation in self._organisations else UNKNOWN,
            model if model is not None and model in self._models else UNKNOWN,
        )

    def _member(self, organisation: str | None, model: str | None) -> _Member:
        found = self._members.get((organisation, model))
        if found is None:
            found = self._new_member(organisation, model)
        return found

    def _new_member(self, organisation: str | None, model: str | None) -> _Member:
        names = self._names(organisation, model)
        found = self._members.get(names)
        if found is None:
            tokens, requests = self._counters[catalogue.TOKENS], self._counters[catalogue.REQUESTS]
            found = self._members[names] = _Member(
                wait=self._histograms[catalogue.WAIT].labels(*names),
                input=tokens.labels(*names, "input"),
                cached=tokens.labels(*names, "cached"),
                output=tokens.labels(*names, "output"),
                outcomes={outcome: requests.labels(*names, outcome.value) for outcome in Outcome},
            )
        return found

    def _waits_of(self, model: str, band: int) -> Histogram:
        _, name = self._names(None, model)
        found = self._histograms[catalogue.WAIT_BY_BAND].labels(name, catalogue.BANDS[band])
        if name == model:
            self._waits[model, band] = found
        return found

    def _serving(self, endpoint: str, model: str) -> _Served:
        found = self._served.get((endpoint, model))
        if found is None:
            operation, (_, name) = operation_of(endpoint), self._names(None, model)
            found = self._new_served(operation, name)
            if name == model and operation != UNKNOWN:
                # Endpoints that reach this are the gateway's own few; keep them bounded all the same.
                if len(self._served) > 8 * (len(self._models) + 1):
                    self._served.clear()
                self._served[endpoint, model] = found
        return found

    def _new_served(self, operation: str, model: str) -> _Served:
        labels, histograms = (operation, PROVIDER, model), self._histograms
        durations = histograms[catalogue.REQUEST_DURATION]
        return _Served(
            input=histograms[catalogue.TOKEN_USAGE].labels(*labels, "input"),
            output=histograms[catalogue.TOKEN_USAGE].labels(*labels, "output"),
            first_token=histograms[catalogue.FIRST_TOKEN].labels(*labels),
            per_token=histograms[catalogue.PER_TOKEN].labels(*labels),
            durations={outcome: durations.labels(*labels, outcome.value) for outcome in Outcome},
        )


def _forget(metric: Counter | Histogram, bound: list[tuple[int, frozenset[str]]]) -> None:
    stale = {
        tuple(labels.values())
        for family in metric.collect()
        for sample in family.samples
        if (labels := {k: v for k, v in sample.labels.items() if k != "le"})
        and any(tuple(labels.values())[n] not in names for n, names in bound)
    }
    for values in stale:
        metric.remove(*values)


class _Scrape(Collector):
    """What was counted, and after it what was read for this scrape."""

    def __init__(self, registry: CollectorRegistry, readings: tuple[Reading, ...]) -> None:
        self._registry = registry
        self._readings: dict[str, list[Reading]] = {}
        for reading in readings:
            self._readings.setdefault(reading.instrument.name, []).append(reading)

    def collect(self) -> Iterator[Metric]:
        yield from self._registry.collect()
        for instrument in CATALOGUE:
            if not instrument.sampled:
                continue
            family = GaugeMetricFamily if instrument.kind == "gauge" else CounterMetricFamily
            metric = family(instrument.name, instrument.help, labels=instrument.labels)
            for reading in self._readings.get(instrument.name, ()):
                metric.add_metric(reading.labels, reading.value)
            yield metric
