"""What types cannot say: whether the parts of a document fit together.

A list of small pure functions, each giving what it finds. None of them looks at the machine: whether a file
is there or a port free is asked by who opens it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import islice
from urllib.parse import urlsplit

from samdrift.spec.addresses import Address, parse_address
from samdrift.spec.checking_cluster import the_cluster_can_be_rendered
from samdrift.spec.checking_engines import ENGINE_CHECKS
from samdrift.spec.checking_identity import IDENTITY_CHECKS
from samdrift.spec.checking_names import NAME_CHECKS
from samdrift.spec.checking_placement import PLACEMENT_CHECKS
from samdrift.spec.checking_retention import days_end_at_somebodys_midnight, sums_outlive_their_rows
from samdrift.spec.checking_signin import logins_can_be_used, sessions_end, signin_has_an_address
from samdrift.spec.checking_weights import WEIGHTS_CHECKS
from samdrift.spec.document import Spec
from samdrift.spec.findings import MAX_FINDINGS, Finding, Path, did_you_mean, listed
from samdrift.spec.names import Names
from samdrift.spec.portion import MOST_GUARANTEED
from samdrift.spec.secret_references import has_reference
from samdrift.spec.shape import Kind, leaves
from samdrift.spec.units import spell_duration, spell_size

Check = Callable[[Spec], Iterator[Finding]]

_BODY = (1024, 2**30)
_HEADERS = (1024, 8 * 2**20)
_SOCKET = 107
_DAY = 86_400.0


def check(spec: Spec) -> tuple[Finding, ...]:
    """What does not fit, in the order of `CHECKS`: all of it, or the first 201 findings where there are more.

    Findings have no place in a file, which a `Spec` does not know.
    """
    return tuple(islice((finding for one in CHECKS for finding in one(spec)), MAX_FINDINGS + 1))


def models_run_in_pools_that_exist(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.pool not in spec.pools:
            remedy = did_you_mean(model.pool, spec.pools, f"The pools are {listed(spec.pools)}.")
            yield Finding(("models", name, "pool"), f"There is no pool `{model.pool}`.", remedy)


def the_gateway_listens_safely(spec: Spec) -> Iterator[Finding]:
    path: Path = ("gateway", "listen")
    address = _address(spec.gateway.listen)
    if isinstance(address, str):
        yield Finding(path, address, "Write an IP address and a port, such as 127.0.0.1:8080 or [::1]:8080.")
    elif not address.is_loopback and spec.gateway.tls is None:
        yield Finding(
            path,
            "Keys and prompts would cross the network in the clear.",
            "Add `gateway.tls`, or listen on 127.0.0.1 behind something that ends TLS on this machine.",
        )


def metrics_stay_on_this_machine(spec: Spec) -> Iterator[Finding]:
    path: Path = ("observe", "listen")
    address = _address(spec.observe.listen)
    if isinstance(address, str):
        yield Finding(path, address, "Write a loopback address and a port, such as 127.0.0.1:9464.")
    elif not address.is_loopback:
        yield Finding(path, "Metrics have no key and would be readable from outside.", "Listen on 127.0.0.1 or [::1].")


def each_port_is_used_once(spec: Spec) -> Iterator[Finding]:
    gateway, observe = _address(spec.gateway.listen), _address(spec.observe.listen)
    if isinstance(gateway, Address) and isinstance(observe, Address) and gateway.overlaps(observe):
        yield Finding(("observe", "listen"), f"The gateway listens on port {gateway.port} too.", "Choose another port.")


def tls_names_its_files(spec: Spec) -> Iterator[Finding]:
    if spec.gateway.tls is not None:
        for name in ("certificate", "key"):
            if not getattr(spec.gateway.tls, name).strip():
                yield Finding(("gateway", "tls", name), "This is empty.", "Write the path of a PEM file.")


def limits_of_the_gateway_are_bearable(spec: Spec) -> Iterator[Finding]:
    for name, (least, most) in (("max_body", _BODY), ("max_headers", _HEADERS)):
        size: int = getattr(spec.gateway, name)
        if not least <= size <= most:
            yield Finding(
                ("gateway", name),
                f"{spell_size(size)} is not a size that the gateway can bear.",
                f"Write a size from {spell_size(least)} to {spell_size(most)}.",
            )


def timeouts_follow_each_other(spec: Spec) -> Iterator[Finding]:
    timeouts = spec.gateway.timeouts
    if timeouts.headers > timeouts.body:
        yield Finding(
            ("gateway", "timeouts", "headers"),
            f"Headers may take {spell_duration(timeouts.headers)}, but headers and body together "
            f"only {spell_duration(timeouts.body)}.",
            "Make `headers` at most as long as `body`.",
        )
    if spec.fairness.lease < timeouts.request:
        yield Finding(
            ("fairness", "lease"),
            f"A seat would be given away after {spell_duration(spec.fairness.lease)}, while its request may "
            f"run for {spell_duration(timeouts.request)}.",
            "Make `lease` at least as long as `gateway.timeouts.request`.",
        )


def devices_are_described_rightly(spec: Spec) -> Iterator[Finding]:
    for name, pool in spec.pools.items():
        for position, device in enumerate(pool.devices):
            if device.cores is not None and device.kind != "cpu":
                yield Finding(
                    ("pools", name, "devices", position, "cores"),
                    f"A device of kind `{device.kind}` has no `cores` here.",
                    "Leave it out, or write `kind: cpu`.",
                )


def threads_fit_the_cores(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        pool = spec.pools.get(model.pool)
        processors = [d for d in pool.devices if d.kind == "cpu"] if pool else []
        cores = sum((d.cores or 0) * d.count for d in processors)
        if model.threads is None or not processors or any(d.cores is None for d in processors):
            continue
        if model.threads * model.replicas.max > cores:
            replicas = "replica" if model.replicas.max == 1 else "replicas"
            yield Finding(
                ("models", name, "threads"),
                f"{model.replicas.max} {replicas} with {model.threads} threads need more than the {cores} cores "
                f"of pool `{model.pool}`.",
                "Lower `threads` or `replicas`, or leave `threads` out.",
            )


def engines_elsewhere_can_be_reached(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.address is None:
            continue
        path: Path = ("models", name, "address")
        if model.weights is not None:
            yield Finding(path, "The model has both `weights` and an `address`.",
                "Keep `weights` to have engines started, or `address` to use one that runs.")  # fmt: skip
        if (model.replicas.min, model.replicas.max) != (1, 1):
            yield Finding(("models", name, "replicas"), "An engine with an `address` is one replica.",
                "Leave `replicas` out.")  # fmt: skip
        if model.rollout is not None:
            yield Finding(("models", name, "rollout"), "Whoever keeps the engine at `address` replaces its versions, too.",
                "Leave `rollout` out.")  # fmt: skip
        if model.address.startswith("/"):
            if len(model.address.encode()) > _SOCKET:
                yield Finding(path, f"The path of a Unix socket has at most {_SOCKET} bytes.", "Move the socket.")
            continue
        if model.address.startswith("https://"):
            continue
        address = _address(model.address)
        if isinstance(address, str) or not address.is_loopback:
            sentence = address if isinstance(address, str) else "Prompts would cross the network in the clear."
            yield Finding(path, sentence, "Write 127.0.0.1:PORT, the absolute path of a Unix socket, or https://HOST.")


def guarantees_can_be_kept(spec: Spec) -> Iterator[Finding]:
    names = Names(spec)
    part = {who: names.shared_by(who) for who in spec.organisations}
    for name, model in spec.models.items():
        seats = model.seats * model.replicas.max
        members = {who: o for who, o in spec.organisations.items() if (models := part[who]) is None or name in models}
        asked = {who: o.share.guaranteed for who, o in members.items() if o.share.guaranteed is not None}
        guaranteed = sum(g.part * seats + g.seats for g in asked.values())
        most = seats if len(asked) == len(members) else MOST_GUARANTEED * seats
        if guaranteed > most + 1e-9:
            left = "" if guaranteed > seats else ", which leaves the others too little"
            yield Finding(
                ("organisations", next(reversed(asked)), "share", "guarantee"),
                f"The guarantees add up to {guaranteed:g} of the {seats} seats of `{name}`{left}.",
                "Lower guarantees, or give the model more seats or replicas.",
            )


def tokens_cost_something(spec: Spec) -> Iterator[Finding]:
    cost = spec.fairness.cost
    if cost.input == cost.output == 0:
        yield Finding(
            ("fairness", "cost"),
            "Tokens cost nothing, so nobody would ever have had their share.",
            "Give `input` or `output` a cost above 0.",
        )
    elif cost.cached > cost.input:
        yield Finding(
            ("fairness", "cost", "cached"),
            "A token that the engine still knew costs more than one it must read.",
            "Make `cached` at most as large as `input`.",
        )


def the_ledger_is_a_database_we_know(spec: Spec) -> Iterator[Finding]:
    url, path = spec.ledger.url, ("ledger", "url")
    scheme, colon, rest = url.partition("://")
    if not url or scheme.startswith("${"):
        return
    if not colon or scheme.split("+")[0] not in ("sqlite", "postgresql"):
        yield Finding(
            path,
            "This is no URL of a database that the ledger knows.",
            "Write `sqlite:///PATH`, `postgresql://…`, or a reference such as `${env:SAMDRIFT_LEDGER}`.",
        )
        return
    login = rest.partition("/")[0].rpartition("@")[0]
    _, _, password = login.partition(":")
    if (password and not has_reference(password)) or "password=" in rest:
        yield Finding(
            path,
            "A password stands in the document.",
            "Write a reference such as `${env:SAMDRIFT_LEDGER}` or `postgresql://user:${file:secrets/ledger}@host/name`.",
        )


def traces_go_to_an_address(spec: Spec) -> Iterator[Finding]:
    if not spec.observe.traces:
        return
    try:
        parts = urlsplit(spec.observe.traces)
        good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port is None or parts.port > 0)
    except ValueError:
        good = False
    if not good:
        yield Finding(
            ("observe", "traces"),
            "This is no address that traces can be sent to.",
            "Write it like http://127.0.0.1:4318.",
        )


def records_are_kept_for_days(spec: Spec) -> Iterator[Finding]:
    if spec.observe.record.keep < _DAY:
        yield Finding(
            ("observe", "record", "keep"),
            f"A day's record cannot be kept for {spell_duration(spec.observe.record.keep)}: it is one file, and not over yet.",
            "Write at least 1d.",
        )


def texts_are_printable(spec: Spec) -> Iterator[Finding]:
    for path, value, shape in leaves(spec):
        if shape.kind is Kind.TEXT and isinstance(value, str) and not value.isprintable():
            yield Finding(
                path,
                "There is a line end or a control character in this text.",
                "Write it on one line, in plain letters.",
            )


def _address(text: str) -> Address | str:
    try:
        return parse_address(text)
    except ValueError as error:
        return str(error)


CHECKS: tuple[Check, ...] = (
    models_run_in_pools_that_exist,
    *NAME_CHECKS,
    the_gateway_listens_safely,
    metrics_stay_on_this_machine,
    each_port_is_used_once,
    tls_names_its_files,
    limits_of_the_gateway_are_bearable,
    timeouts_follow_each_other,
    devices_are_described_rightly,
    threads_fit_the_cores,
    *WEIGHTS_CHECKS,
    engines_elsewhere_can_be_reached,
    *ENGINE_CHECKS,
    guarantees_can_be_kept,
    tokens_cost_something,
    the_ledger_is_a_database_we_know,
    traces_go_to_an_address,
    records_are_kept_for_days,
    *PLACEMENT_CHECKS,
    *IDENTITY_CHECKS,
    days_end_at_somebodys_midnight,
    sums_outlive_their_rows,
    signin_has_an_address,
    logins_can_be_used,
    sessions_end,
    the_cluster_can_be_rendered,
    texts_are_printable,
)
"""Every check, in the order of the document's reader."""
