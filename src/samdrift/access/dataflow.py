"""The data-flow map of a community, from its document: what goes where, and what is kept where, how long, for whose eyes. Pure.

What is said here of the program itself (that content stays between Envoy and the engine, say) is what the tests and the canary
hold it to; what depends on the document is read from it.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from samdrift.access.permissions import RULES, Permission
from samdrift.access.roles import Role
from samdrift.spec.document import Spec
from samdrift.spec.names import Names
from samdrift.spec.units import spell_duration

CONTENT = "content"
METADATA = "metadata"
_NETWORK = {True: "no network", False: "network of this machine"}
_CACHES = {"none": "nobody", "key": "the same key or user alone", "organisation": "the whole organisation"}
_USERS = {"hashed": "as a keyed hash", "named": "by name, as the organisation asked", "none": "not at all"}


@dataclass(frozen=True, slots=True)
class Flow:
    """Data on its way. `carries` is `content` (prompts and answers) or `metadata`; `how` is how it is protected."""

    source: str
    target: str
    carries: str
    what: str
    how: str


@dataclass(frozen=True, slots=True)
class Held:
    """Data that stays. `seen` says who can see it through Samdrift; `long` is for how long."""

    what: str
    where: str
    holds: str
    long: str
    seen: str


def _seen(permission: Permission) -> str:
    """Who holds a permission, from the table of permissions."""
    roles = RULES[permission].roles
    return ", ".join(f"{role.value} ({'all' if role in (Role.OPERATOR, Role.AUDITOR) else 'own organisation'})"
        for role in Role if role in roles)  # fmt: skip


def flows_of(spec: Spec, *, confined: bool | None) -> tuple[Flow, ...]:
    """Everything that goes from one program to another. `confined` says whether engines are kept from the network here; None
    where nobody looked."""
    gateway = spec.gateway
    tls = gateway.tls
    how = "loopback of this machine only" if tls is None else (
        "TLS 1.2 or 1.3" + (", clients may show certificates" if tls.client_ca else ""))  # fmt: skip
    flows = [Flow("applications", "Envoy", CONTENT, "requests with prompts, and answers", f"{how}; {gateway.listen}")]
    names = Names(spec)
    for name, model in spec.models.items():
        if model.address is None:
            network = "no network where the machine lets us" if confined is None else _NETWORK[confined]
            flows.append(Flow("Envoy", f"engine of {name}", CONTENT, "prompts and answers", f"Unix socket, mode 0600; {network}"))
        elif model.address.startswith("https://"):
            allowed = [who for who in spec.organisations if name in names.used_by(who)]
            whose = f"OUTSIDE OF THE COMMUNITY, for {', '.join(allowed) or 'nobody yet'}" if model.runs == "outside" else (
                "on another machine of the community")  # fmt: skip
            flows.append(Flow("Envoy", f"engine of {name}", CONTENT, "prompts and answers",
                f"TLS 1.2 or 1.3, {_host(model.address)}; {whose}; what it keeps is its own affair"))  # fmt: skip
        else:
            own = "/" in model.address
            flows.append(Flow("Envoy", f"engine of {name}", CONTENT, "prompts and answers",
                f"{'Unix socket' if own else 'TCP'}, {model.address}; started by somebody else; what it keeps is its own "
                "affair"))  # fmt: skip
    flows.append(Flow("browsers of people who administer", "Envoy", METADATA,
        "sign-in, administration; cookies: session, way in, known device, language", how))  # fmt: skip
    flows.append(Flow("Envoy", "control plane", METADATA, "who asks, for which model, how large; then tokens, times, outcome",
        "Unix sockets, mode 0600"))  # fmt: skip
    flows.append(Flow("control plane", "ledger", METADATA, "one row for each request, keys as hashes, people, revisions, audit",
        "a file in the data folder, mode 0600" if not spec.ledger.url else "the database at `ledger.url`"))  # fmt: skip
    if spec.observe.traces:
        part = f"times, model, organisation and outcome of {spec.observe.trace_fraction:.0%} of requests"
        flows.append(Flow("control plane", "traces", METADATA, part, _host(spec.observe.traces)))
    counters = "counters by organisation and model"
    flows.append(Flow("control plane", "Prometheus", METADATA, counters, f"loopback, {spec.observe.listen}"))
    for name, issuer in spec.issuers.items():
        about = "fetches public keys; sends nothing of anybody"
        flows.append(Flow("control plane", f"issuer {name}", METADATA, about, _host(issuer.jwks)))
    for name, provider in spec.signin.providers.items():
        about = "who signs in to administer"
        flows.append(Flow("control plane", f"login {name}", METADATA, about, _host(provider.issuer)))
    return tuple(flows)


def _host(url: str) -> str:
    """The part of an address that may stand in a report: no path, no password."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.hostname or ''}" if parts.scheme in ("http", "https") else parts.scheme or "a file"


def held_by(spec: Spec) -> tuple[Held, ...]:
    """Everything that is kept, over all organisations."""
    record = spec.observe.record
    recorded = {"nothing": "nothing", "requests": "sizes and times of requests by organisation and project",
        "users": "sizes and times of requests by organisation, project, and key as a hash of the day"}[record.what]  # fmt: skip
    ledger = "ledger" if not spec.ledger.url else "ledger (another database)"
    machine = "whoever has the machine"
    return (
        Held("prompts and answers", "nowhere on disk", "nothing", "not kept", "nobody"),
        Held("what engines remember of prompts", "memory of the engine", "numbers that it has computed of their beginnings, to "
            "be quicker when they come again", "until others take their place, or the engine ends or sleeps",
            "nobody; who gets quicker answers by them stands below"),
        Held("a row for each request", ledger,
            "ticket, organisation, project, key's id, user as below, model, endpoint, priority, outcome, tokens, times",
            "by organisation, below", f"{_seen(Permission.TICKETS_READ)}: of a single request"),
        Held("sums by day", ledger, "requests and tokens by organisation, project, key's id, model, endpoint, priority, outcome",
            spell_duration(spec.retention.sums), _seen(Permission.USAGE_READ)),
        Held("API keys", ledger, "id, name, whose, when made and last used; of the secret a hash", "until they are removed",
            _seen(Permission.KEYS_READ)),
        Held("people who administer", ledger, "name, roles, second factors, sessions", "until they are removed",
            _seen(Permission.PEOPLE_READ)),
        Held("what happened lately", ledger, "attempts to sign in, as numbers from which nobody's name follows; answers of the "
            "administrative API, sealed", "minutes; answers for about an hour", "nobody"),
        Held("refused tokens", ledger, "ids of tokens, users as keyed hashes, why", "until they end, a year at most",
            _seen(Permission.KEYS_READ)),
        Held("cookies", "browsers of people who administer", "a session, and how far somebody has come in; that an account was "
            "used here (sealed); the language", "until the browser is closed, 15 minutes; 180d; 365d", "whoever has the browser"),
        Held("audit trail", ledger, "who changed what and who was refused, by id and address; names of people who were made, "
            "changed or came in; no secret",
            spell_duration(spec.retention.audit), _seen(Permission.AUDIT_READ)),
        Held("revisions of the document", ledger, "text without secrets, author, reason", "always",
            _seen(Permission.DOCUMENT_READ)),
        Held("journal", "data folder, journal/", "the rows of requests that ended lately, for when the ledger is away",
            "about a day", machine),
        Held("open tickets", "data folder, run/", "as a row, while the request runs", "while it runs", machine),
        Held("logs", "data folder, logs/", "what the service did; facts of a fixed set, no content", "until they are full",
            machine),
        Held("record for replays", "data folder, record/", recorded,
            "not kept" if record.what == "nothing" else spell_duration(record.keep), machine),
    )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Kept:
    """What an organisation has kept of its requests."""

    organisation: str
    name: str
    metadata: str
    users: str
    prompts: str


def kept_of(spec: Spec) -> tuple[Kept, ...]:
    """By organisation, in the document's order."""
    return tuple(
        Kept(key, member.name or key, spell_duration(member.retention.metadata), _USERS[member.retention.users],
            _CACHES[member.prompt_cache])
        for key, member in spec.organisations.items()
    )
