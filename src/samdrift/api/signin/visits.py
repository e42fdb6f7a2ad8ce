"""One request on its way through sign-in, and the answers that it may get."""

from __future__ import annotations

from samdrift.api.signin.asking import Asked, Reply, in_json
from samdrift.api.signin.cookies import device_cookie, gone, session_cookie, session_secret
from samdrift.api.signin.devices import Devices
from samdrift.api.signin.flows import Flow
from samdrift.api.signin.hall import Here, Visitor
from samdrift.api.signin.outcomes import Busy, Failed, NoRole, Outcome, SignedIn, Wait, Weak
from samdrift.api.signin.words import Words


class Visit:
    """One request on its way through a handler: what was asked, by whom, and how far they have come."""

    __slots__ = ("asked", "flow", "here", "origin", "rest", "words")

    def __init__(self, asked: Asked, origin: str, flow: Flow | None, here: Here | None, words: Words, rest: str) -> None:
        self.asked, self.origin, self.flow, self.here, self.words, self.rest = asked, origin, flow, here, words, rest

    @property
    def visitor(self) -> Visitor:
        """For the audit trail."""
        agent = "".join(letter for letter in self.asked.headers.get("user-agent", "") if letter.isprintable())
        return Visitor(self.asked.address, agent)

    @property
    def had(self) -> str | None:
        """The session that the browser brought, good or not."""
        return session_secret(self.asked.headers, self.origin)


def told_of(outcome: Outcome, w: Words, wrong: str = "wrong") -> tuple[int, str]:
    """Status and sentence of what did not come to anything; `wrong` names the sentence where what was shown is not right."""
    match outcome:
        case Wait(seconds):
            return 429, w("wait", seconds=f"{seconds:.0f}")
        case Busy():
            return 503, w("busy")
        case Weak(why):
            return 422, w(why)
        case NoRole():
            return 403, w("no_role")
        case Failed(kind):
            status = {"unknown": 404, "away": 502, "wrong": 502, "denied": 403, "weak": 403, "unasked": 403}[kind]
            return status, w("failed" if kind == "wrong" else kind)
        case _:
            return 403, w(wrong)


def signed_in_cookies(outcome: SignedIn, origin: str, devices: Devices, now: float) -> tuple[str, ...]:
    """Sets the session, takes the flow that led to it away, and has the browser known again."""
    known = (device_cookie(devices.known(outcome.login, now), origin),) if outcome.login else ()
    return session_cookie(outcome.secret, origin), gone(origin, session=False), *known


def html_reply(text: str, status: int = 200, *cookies: str) -> Reply:
    """A page."""
    return Reply(status, text.encode(), cookies=list(cookies))


def problem_reply(status: int, detail: str, outcome: Outcome | None = None) -> Reply:
    """Problem details (RFC 9457), for scripts."""
    reply = in_json({"type": "about:blank", "title": "Sign-in", "status": status, "detail": detail}, status)
    return with_headers(reply, **{"retry-after": f"{outcome.seconds:.0f}"}) if isinstance(outcome, Wait) else reply


def with_headers(reply: Reply, **headers: str) -> Reply:
    """The same answer with more headers."""
    reply.headers |= headers
    return reply
