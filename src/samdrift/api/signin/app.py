"""The routes of signing in: pages under `/signin`, what their forms and scripts send under `/api/v1/signin`.

An ASGI app of its own, beside the administrative API: nobody is signed in yet when they come here.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Awaitable, Callable, Mapping
from importlib.resources import files
from urllib.parse import quote, urlsplit

from samdrift.access.local_paths import HOME, local_path
from samdrift.access.people import grants_in_force, same_text
from samdrift.api.signin import codes, pages
from samdrift.api.signin.asking import Asked, Receive, Reply, Scope, Send, Unreadable, in_json, read, to
from samdrift.api.signin.cookies import (
    device_text,
    flow_cookie,
    flow_text,
    gone,
    language_chosen,
    language_cookie,
    session_secret,
)
from samdrift.api.signin.devices import Devices
from samdrift.api.signin.flows import Flow, Stage, new_flow, opened_flow, sealed_flow
from samdrift.api.signin.hall import Here
from samdrift.api.signin.outcomes import Enrol, Failed, Outcome, Second, SignedIn, Wait
from samdrift.api.signin.sealing import Seal
from samdrift.api.signin.signin import SignIn
from samdrift.api.signin.store import StoreAway
from samdrift.api.signin.visits import Visit, html_reply, problem_reply, signed_in_cookies, told_of, with_headers
from samdrift.api.signin.words import LANGUAGES, Words, language_of
from samdrift.spec.checking_signin import LOOPBACK, public_origin

_log = logging.getLogger(__name__)
PAGES, ACTIONS = "/signin", pages.ACTIONS
_STATIC = {"signin.css": "text/css; charset=utf-8", "signin.js": "text/javascript; charset=utf-8"}
_POLICY = ("default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; form-action 'self'; "
    "frame-ancestors 'none'; base-uri 'none'")  # fmt: skip
_ALWAYS = {
    "cache-control": "no-store",
    "content-security-policy": _POLICY,
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
    # Not `no-referrer`: browsers then write `Origin: null` on forms, and there would be nothing to know them by.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}
Handler = Callable[["Visit"], Awaitable[Reply]]


class SignInApp:
    """The ASGI app. `key` (32 bytes) seals what browsers carry."""

    def __init__(self, signin: SignIn, key: bytes) -> None:
        self._signin, self._seal, self._devices = signin, Seal(key, "flows of sign-in"), Devices(key)
        self._static = {name: files(__package__).joinpath("static", name).read_bytes() for name in _STATIC}
        self._routes: Mapping[tuple[str, str], Handler] = {
            ("GET", PAGES): self._page,
            ("GET", f"{PAGES}/second"): self._second_page,
            ("GET", f"{PAGES}/enrol"): self._enrol_page,
            ("GET", f"{PAGES}/welcome"): self._welcome_page,
            ("GET", f"{PAGES}/account"): self._account_page,
            ("GET", f"{PAGES}/static/*"): self._static_file,
            ("GET", f"{ACTIONS}/session"): self._session,
            ("GET", f"{ACTIONS}/with/*"): self._leave,
            ("GET", f"{ACTIONS}/callback/*"): self._back,
            ("POST", f"{ACTIONS}/password"): self._password,
            ("POST", f"{ACTIONS}/password/change"): self._change_password,
            ("POST", f"{ACTIONS}/code"): self._code,
            ("POST", f"{ACTIONS}/welcome"): self._welcome,
            ("POST", f"{ACTIONS}/passkey/options"): self._passkey_options,
            ("POST", f"{ACTIONS}/passkey"): self._passkey,
            ("POST", f"{ACTIONS}/factors/codes"): self._add_codes,
            ("POST", f"{ACTIONS}/factors/passkey/options"): self._new_passkey_options,
            ("POST", f"{ACTIONS}/factors/passkey"): self._add_passkey,
            ("POST", f"{ACTIONS}/factors/remove"): self._remove_factor,
            ("POST", f"{ACTIONS}/recovery"): self._recovery,
            ("POST", f"{ACTIONS}/sessions/end"): self._end_session,
            ("POST", f"{ACTIONS}/out"): self._out,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            raise NotImplementedError(f"this door takes HTTP, not {scope['type']}")
        origin = public_origin(self._signin.hall.spec)
        try:
            asked = await read(scope, receive)
            reply = await self._answer(asked, origin)
        except Unreadable as unreadable:
            asked_in = {n.decode("latin-1").lower(): v.decode("latin-1") for n, v in scope["headers"]}
            reply = self._sentence(Words(language_of(asked_in, language_chosen(asked_in))), "unreadable", unreadable.status)
        always = _ALWAYS | ({"strict-transport-security": "max-age=31536000"} if (origin or "").startswith("https://") else {})
        await reply.send(send, head=scope["method"] == "HEAD", always=always)

    async def _answer(self, asked: Asked, origin: str | None) -> Reply:
        words = Words(language_of(asked.headers, asked.query.get("lang") or language_chosen(asked.headers)))
        if origin is None:
            return self._sentence(words, "nobody", 503)
        method = "GET" if asked.method == "HEAD" else asked.method
        head, _, rest = asked.path.rpartition("/")
        handler = self._routes.get((method, asked.path)) or (self._routes.get((method, f"{head}/*")) if rest else None)
        if handler is None:
            known = {m for m, path in self._routes if path in (asked.path, f"{head}/*")}
            reply = self._sentence(words, "not_found", 405 if known else 404)
            return reply if not known else with_headers(reply, allow=", ".join(sorted(known)))
        host = asked.headers.get("host", "")
        if method == "GET" and not self._signin.hall.spec.signin.url and _elsewhere(host, origin):
            # A browser binds cookies and passkeys to one name, and this machine has several.
            return to(origin + (quote(asked.path) if asked.path.startswith(PAGES) else PAGES))
        try:
            here = await self._signin.hall.here(session_secret(asked.headers, origin))
            flow = opened_flow(self._seal, flow_text(asked.headers, origin), self._signin.hall.now())
            reply = await handler(Visit(asked, origin, flow, here, words, rest))
        except StoreAway as away:
            _log.warning("people cannot be looked up", exc_info=away)
            reply = self._sentence(words, "unavailable", 503)
        if asked.query.get("lang") in LANGUAGES:
            reply.cookies.append(language_cookie(words.language, origin))
        return reply

    # -- pages ---------------------------------------------------------------------------------------------------------

    async def _page(self, visit: Visit, problem: str = "", status: int = 200) -> Reply:
        next_ = local_path(visit.asked.query.get("next"))
        if visit.here is not None and "again" not in visit.asked.query and not problem:
            return to(next_)
        flow, spec = visit.flow, self._signin.hall.spec
        if flow is None or flow.stage is not Stage.OPEN or (flow.next != next_ and not problem):
            flow = new_flow(Stage.OPEN, self._signin.hall.now(), next_ if flow is None or not problem else flow.next)
        frame = self._frame(visit, PAGES, problem, flow.next)
        accounts = spec.signin.accounts == "allowed"
        html = pages.sign_in_page(frame, flow, spec.signin.providers.items(), accounts=accounts, login=_typed(visit, "login"))
        return html_reply(html, status, flow_cookie(sealed_flow(self._seal, flow), visit.origin))

    async def _second_page(self, visit: Visit, problem: str = "", status: int = 200) -> Reply:
        if visit.flow is None or visit.flow.stage is not Stage.SECOND:
            return to(PAGES)
        kinds = frozenset(factor.kind for factor in await self._signin.hall.second_factors(visit.flow.person))
        return html_reply(pages.second_page(self._frame(visit, f"{PAGES}/second", problem), visit.flow, kinds), status)

    async def _enrol_page(self, visit: Visit, problem: str = "", status: int = 200) -> Reply:
        flow, cookies = visit.flow, []
        if (flow is None or flow.stage is not Stage.ENROL) and visit.here is not None:
            flow = new_flow(Stage.ENROL, self._signin.hall.now(), HOME, person=visit.here.person.id, session=True,
                seed=os.urandom(codes.SEED_BYTES).hex())  # fmt: skip
            cookies = [flow_cookie(sealed_flow(self._seal, flow), visit.origin)]
        person = None if flow is None else await self._signin.factors.enrolling(flow, visit.here)
        if flow is None or person is None:
            return to(f"{PAGES}?again=1", gone(visit.origin, session=False))
        html = pages.enrol_page(self._frame(visit, f"{PAGES}/enrol", problem), flow, person.login or person.name)
        return html_reply(html, status, *cookies)

    async def _welcome_page(self, visit: Visit, problem: str = "", status: int = 200) -> Reply:
        flow = visit.flow
        if flow is None or flow.stage is not Stage.OPEN:
            flow = new_flow(Stage.OPEN, self._signin.hall.now(), HOME)
        html = pages.welcome_page(self._frame(visit, f"{PAGES}/welcome", problem), flow, _typed(visit, "secret"))
        return html_reply(html, status, flow_cookie(sealed_flow(self._seal, flow), visit.origin))

    async def _account_page(self, visit: Visit, problem: str = "", status: int = 200) -> Reply:
        here = visit.here
        if here is None:
            return to(f"{PAGES}?next={quote(HOME)}")
        grants = grants_in_force(self._signin.hall.spec, here.person, strong=here.session.strong)
        html = pages.account_page(self._frame(visit, HOME, problem), here.person, grants, here.session,
            await self._signin.hall.sessions(here), await self._signin.factors.factors(here), here.token,
            may_change=self._signin.hall.may_change(here))  # fmt: skip
        return html_reply(html, status)

    async def _static_file(self, visit: Visit) -> Reply:
        found = self._static.get(visit.rest)
        if found is None:
            return self._sentence(visit.words, "not_found", 404)
        return Reply(200, found, _STATIC[visit.rest], {"cache-control": "no-cache"})

    # -- logins of their own -------------------------------------------------------------------------------------------

    async def _leave(self, visit: Visit) -> Reply:
        gone_to = await self._signin.logins.leave(visit.rest, local_path(visit.asked.query.get("next")))
        if isinstance(gone_to, Failed):
            return await self._failed(visit, gone_to)
        flow, address = gone_to
        return to(address, flow_cookie(sealed_flow(self._seal, flow), visit.origin))

    async def _back(self, visit: Visit) -> Reply:
        outcome = await self._signin.logins.back(visit.rest, visit.asked.query, visit.flow, visit.visitor, visit.had)
        return await self._after(visit, outcome, self._page)

    # -- forms ---------------------------------------------------------------------------------------------------------

    async def _password(self, visit: Visit) -> Reply:
        flow, form = self._of_flow(visit, visit.asked.form(), Stage.OPEN)
        if flow is None:
            return await self._page(visit, visit.words("stale"), 403)
        login, password = form.get("login", ""), form.get("password", "")
        device = self._devices.read(device_text(visit.asked.headers, visit.origin), self._signin.hall.now())
        outcome = await self._signin.accounts.password(login, password, flow, visit.visitor, visit.had, device)
        return await self._after(visit, outcome, self._page, "wrong_password")

    async def _code(self, visit: Visit) -> Reply:
        flow, form = self._of_flow(visit, visit.asked.form(), Stage.SECOND)
        if flow is None:
            return await self._page(visit, visit.words("stale"), 403)
        outcome = await self._signin.accounts.code(form.get("code", ""), flow, visit.visitor, visit.had)
        return await self._after(visit, outcome, self._second_page, "wrong_code")

    async def _welcome(self, visit: Visit) -> Reply:
        flow, form = self._of_flow(visit, visit.asked.form(), Stage.OPEN)
        if flow is None:
            return await self._welcome_page(visit, visit.words("stale"), 403)
        secret = form.get("secret", "").strip()
        outcome = await self._signin.accounts.welcome(secret, form.get("password", ""), flow, visit.visitor, visit.had)
        return await self._after(visit, outcome, self._welcome_page, "wrong_invitation")

    async def _add_codes(self, visit: Visit) -> Reply:
        flow, form = self._of_flow(visit, visit.asked.form(), Stage.ENROL)
        if flow is None:
            return await self._page(visit, visit.words("stale"), 403)
        try:
            outcome = await self._signin.factors.add_codes(form.get("code", ""), flow, visit.here, visit.visitor)
        except ValueError:
            return await self._enrol_page(visit, visit.words("too_many_factors"), 422)
        return await self._after(visit, outcome, self._enrol_page, "wrong_new_code")

    async def _change_password(self, visit: Visit) -> Reply:
        here, form = await self._of_session(visit, visit.asked.form())
        if here is None or not self._signin.hall.may_change(here):
            return await self._account_page(visit, visit.words("stale"), 403)
        outcome = await self._signin.accounts.change_password(here, form.get("old", ""), form.get("new", ""), visit.visitor)
        return await self._after(visit, outcome, self._account_page, "wrong_old_password")

    async def _remove_factor(self, visit: Visit) -> Reply:
        here, form = await self._of_session(visit, visit.asked.form())
        if here is None or not self._signin.hall.may_change(here):
            return await self._account_page(visit, visit.words("stale"), 403)
        done = await self._signin.factors.remove_factor(here, form.get("id", ""), visit.visitor)
        return await self._account_page(visit, visit.words("last_factor"), 422) if done == "last" else to(HOME)

    async def _recovery(self, visit: Visit) -> Reply:
        here, _ = await self._of_session(visit, visit.asked.form())
        if here is None or not self._signin.hall.may_change(here):
            return await self._account_page(visit, visit.words("stale"), 403)
        texts = await self._signin.factors.recovery_codes(here, visit.visitor)
        return html_reply(pages.recovery_page(self._frame(visit, "", ""), texts))

    async def _end_session(self, visit: Visit) -> Reply:
        here, form = await self._of_session(visit, visit.asked.form())
        if here is None:
            return await self._account_page(visit, visit.words("stale"), 403)
        if form.get("id") == "others":
            await self._signin.hall.end_others(here, visit.visitor)
        else:
            await self._signin.hall.end(here, form.get("id", ""), visit.visitor)
        return to(HOME)

    async def _out(self, visit: Visit) -> Reply:
        here, _ = await self._of_session(visit, visit.asked.form())
        if here is None:
            return await self._account_page(visit, visit.words("stale"), 403)
        await self._signin.hall.end(here, here.session.id, visit.visitor)
        return to(PAGES, gone(visit.origin, session=True), gone(visit.origin, session=False))

    # -- scripts -------------------------------------------------------------------------------------------------------

    async def _session(self, visit: Visit) -> Reply:
        """Who is signed in, and what a script must bring along in `x-csrf-token`."""
        here = visit.here
        if here is None:
            return problem_reply(401, "Nobody is signed in.")
        grants = grants_in_force(self._signin.hall.spec, here.person, strong=here.session.strong)
        return in_json({"person": here.person.id, "name": here.person.name, "strong": here.session.strong,
            "roles": [{"role": grant.role.value, "organisation": grant.organisation} for grant in grants],
            "expires_at": here.session.expires_at, "csrf": here.token, "language": visit.words.language})  # fmt: skip

    async def _passkey_options(self, visit: Visit) -> Reply:
        flow = self._of_script(visit, Stage.OPEN, Stage.SECOND)
        asked = None if flow is None else await self._signin.accounts.ask_for_passkey(flow)
        return self._options(visit, asked)

    async def _passkey(self, visit: Visit) -> Reply:
        flow, said = self._of_script(visit, Stage.OPEN, Stage.SECOND), visit.asked.json()
        if flow is None or not isinstance(said.get("credential"), dict):
            return problem_reply(403, visit.words("stale"))
        outcome = await self._signin.accounts.passkey(said["credential"], flow, visit.visitor, visit.had)
        return self._told(visit, outcome)

    async def _new_passkey_options(self, visit: Visit) -> Reply:
        flow = self._of_script(visit, Stage.ENROL)
        asked = None if flow is None else await self._signin.factors.ask_for_new_passkey(flow, visit.here)
        return self._options(visit, asked)

    async def _add_passkey(self, visit: Visit) -> Reply:
        flow, said = self._of_script(visit, Stage.ENROL), visit.asked.json()
        name, credential = said.get("name", ""), said.get("credential")
        if flow is None or not isinstance(credential, dict) or not isinstance(name, str):
            return problem_reply(403, visit.words("stale"))
        shown = "".join(letter for letter in name if letter.isprintable())
        try:
            outcome = await self._signin.factors.add_passkey(credential, shown, flow, visit.here, visit.visitor)
        except ValueError:
            return problem_reply(422, visit.words("too_many_factors"))
        return self._told(visit, outcome)

    def _options(self, visit: Visit, asked: tuple[Flow, object] | None) -> Reply:
        if asked is None:
            return problem_reply(403, visit.words("stale"))
        flow, options = asked
        return in_json({"options": options}, 200, flow_cookie(sealed_flow(self._seal, flow), visit.origin))

    def _told(self, visit: Visit, outcome: Outcome) -> Reply:
        if isinstance(outcome, SignedIn):
            return in_json({"next": outcome.next}, 200, *self._cookies(visit, outcome))
        status, sentence = told_of(outcome, visit.words)
        return problem_reply(status, sentence, outcome)

    # -- inside --------------------------------------------------------------------------------------------------------

    def _of_flow(self, visit: Visit, form: dict[str, str], *stages: Stage) -> tuple[Flow | None, dict[str, str]]:
        """The flow that a form belongs to; None if it is not ours to take."""
        flow = visit.flow
        good = flow is not None and flow.stage in stages and self._signin.hall.from_here(visit.asked.headers)
        return (flow if good and flow is not None and same_text(form.get("csrf", ""), flow.form_token) else None), form

    def _of_script(self, visit: Visit, *stages: Stage) -> Flow | None:
        return self._of_flow(visit, {"csrf": visit.asked.headers.get("x-csrf-token", "")}, *stages)[0]

    async def _of_session(self, visit: Visit, form: dict[str, str]) -> tuple[Here | None, dict[str, str]]:
        """Whose form it is; None if it is not ours to take."""
        here = visit.here
        if here is None:
            return None, form
        if self._signin.hall.from_here(visit.asked.headers) and same_text(form.get("csrf", ""), here.token):
            return here, form
        await self._signin.hall.note_cross_site(here, visit.visitor)
        return None, form

    def _cookies(self, visit: Visit, outcome: SignedIn) -> tuple[str, ...]:
        return signed_in_cookies(outcome, visit.origin, self._devices, self._signin.hall.now())

    async def _after(
        self, visit: Visit, outcome: Outcome, page: Callable[[Visit, str, int], Awaitable[Reply]], wrong: str = "wrong"
    ) -> Reply:
        if isinstance(outcome, SignedIn):
            return to(outcome.next, *self._cookies(visit, outcome))
        if isinstance(outcome, Second | Enrol):
            where = f"{PAGES}/{'second' if isinstance(outcome, Second) else 'enrol'}"
            return to(where, flow_cookie(sealed_flow(self._seal, outcome.flow), visit.origin))
        if isinstance(outcome, Failed):
            return await self._failed(visit, outcome)
        status, sentence = told_of(outcome, visit.words, wrong)
        reply = await page(visit, sentence, status)
        return with_headers(reply, **{"retry-after": f"{outcome.seconds:.0f}"}) if isinstance(outcome, Wait) else reply

    async def _failed(self, visit: Visit, failed: Failed) -> Reply:
        status, sentence = told_of(failed, visit.words)
        html = pages.sentence_page(self._frame(visit, PAGES, sentence), visit.words("title"))
        return html_reply(html, status, gone(visit.origin, session=False))

    def _frame(self, visit: Visit, here: str, problem: str, next_: str = "") -> pages.Frame:
        return pages.Frame(self._signin.hall.spec.community.name, visit.words, here, problem, "" if next_ == HOME else next_)

    def _sentence(self, words: Words, name: str, status: int) -> Reply:
        frame = pages.Frame(self._signin.hall.spec.community.name, words, PAGES, words(name))
        return html_reply(pages.sentence_page(frame, words("title"), "to_signin" if name == "not_found" else "again"), status)


def _typed(visit: Visit, name: str) -> str:
    """What somebody has typed into a field already: they shall not have to do it again."""
    return visit.asked.form().get(name, "") if visit.asked.method == "POST" else ""


def _elsewhere(host: str, origin: str) -> bool:
    """Is this another name of this machine than the one that people are known under?"""
    netloc = urlsplit(origin).netloc
    return host.lower() != netloc and host.rpartition(":")[0].strip("[]") in LOOPBACK
