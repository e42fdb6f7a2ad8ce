"""The pages of signing in, as HTML. Pure: values in, text out. They work without a script, but for passkeys."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from urllib.parse import quote, urlencode

from samdrift.access.people import Factor, FactorKind, Person, Session
from samdrift.access.roles import Grant
from samdrift.api.signin import codes
from samdrift.api.signin.flows import Flow
from samdrift.api.signin.words import Words
from samdrift.spec.signin import Provider

ACTIONS = "/api/v1/signin"


@dataclass(frozen=True, slots=True)
class Frame:
    """What every page shows: whose community it is, in which words, and what went wrong just now. `here` is the page's own path,
    for changing the language; empty on a page that cannot be shown again. `next` is where somebody is going."""

    community: str
    words: Words
    here: str = "/signin"
    problem: str = ""
    next: str = ""

    def page(self, title: str, *parts: str) -> str:
        """A whole page."""
        w = self.words
        other = "en" if w.language == "da" else "da"
        problem = f'<p class="problem" id="problem" role="alert">{escape(self.problem)}</p>' if self.problem else ""
        there = self.here + "?" + urlencode({"lang": other} | ({"next": self.next} if self.next else {}))
        link = f'<a href="{escape(there)}" lang="{other}" hreflang="{other}">{w("other")}</a>'
        switch = f'<nav aria-label="{escape(w("language"))}">{link}</nav>' if self.here else ""
        spoken = w("problem", title=title) if self.problem else title
        return (
            f'<!doctype html>\n<html lang="{w.language}"><head><meta charset="utf-8">'
            '<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="robots" content="noindex">'
            f"<title>{escape(spoken)} · {escape(self.community)}</title>"
            '<link rel="icon" href="data:,"><link rel="stylesheet" href="/signin/static/signin.css">'
            f'<script src="/signin/static/signin.js" defer></script></head><body data-none="{escape(w("no_passkey"))}"><main>'
            f'<header><span>{escape(self.community)}</span>{switch}</header>'
            f"<h1>{escape(title)}</h1>{problem}{''.join(parts)}</main></body></html>\n"
        )  # fmt: skip


def sign_in_page(
    frame: Frame, flow: Flow, providers: Iterable[tuple[str, Provider]], *, accounts: bool, login: str = ""
) -> str:
    """Where people begin. `login` is what somebody typed already, who gets another try."""
    w = frame.words
    places = urlencode({"next": flow.next})
    buttons = "".join(
        f'<a class="button" href="{ACTIONS}/with/{quote(name)}?{escape(places)}">'
        f"{escape(w('with', name=provider.name or name))}</a>"
        for name, provider in providers
    )
    local = (
        _section(w("own_account"),
            _form("password", flow.form_token, w("sign_in"),
                _field("login", w("login"), "username webauthn", autofocus=not buttons and not login, value=login),
                _field("password", w("password"), "current-password", kind="password", autofocus=bool(login),
                    about=frame.problem)),
            _passkey_button("show", flow.form_token, w("passkey"), w("no_script")))
        if accounts else ""
    )  # fmt: skip
    return frame.page(w("title"), buttons, local or ("" if buttons else f"<p>{escape(w('no_way'))}</p>"))


def second_page(frame: Frame, flow: Flow, kinds: frozenset[FactorKind]) -> str:
    """After the password: a second factor."""
    w = frame.words
    about = w("second_text" if FactorKind.TOTP in kinds else "second_passkey")
    passkey = _passkey_button("show", flow.form_token, w("use_passkey"), w("no_script")) if FactorKind.PASSKEY in kinds else ""
    field = _field("code", w("code"), "one-time-code", autofocus=True, about=frame.problem)
    form = _form("code", flow.form_token, w("confirm"), field)
    return frame.page(w("second_title"), passkey, f"<p>{escape(about)}</p>", form)


def enrol_page(frame: Frame, flow: Flow, login: str) -> str:
    """Setting up a second factor."""
    w, seed = frame.words, bytes.fromhex(flow.seed)
    link = codes.otpauth(seed, login, frame.community)
    return frame.page(
        w("enrol_title"),
        f"<p>{escape(w('enrol_more' if flow.session else 'enrol_text'))}</p>",
        _section(w("passkey_one"), _field("name", w("passkey_name"), "off", required=False),
            _passkey_button("make", flow.form_token, w("make_passkey"), w("no_script"))),
        _section(w("app"), f"<p>{escape(w('app_text'))}</p>"
            f'<img class="qr" src="{escape(codes.scannable(link))}" alt="{escape(w("qr"))}">'
            f"<p>{escape(w('app_typed'))}<br><code class='seed'>{codes.seed_text(seed)}</code></p>"
            f'<p><a href="{escape(link)}">{escape(w("open_app"))}</a></p>',
            _form("factors/codes", flow.form_token, w("confirm"), _field("code", w("code"), "one-time-code", digits=True,
                autofocus=bool(frame.problem), about=frame.problem))),
    )  # fmt: skip


def welcome_page(frame: Frame, flow: Flow, secret: str = "") -> str:
    """Where an invitation leads. Its secret stands behind the `#` of the address, which browsers send to nobody; the script puts
    it into the field, and the field away. `secret` is what somebody sent already, whose password would not do."""
    w = frame.words
    return frame.page(
        w("welcome_title"),
        f"<p>{escape(w('welcome_text'))}</p>",
        _form("welcome", flow.form_token, w("go_on"), _field("secret", w("secret"), "off", value=secret),
            _field("password", w("new_password"), "new-password", kind="password", autofocus=True, about=frame.problem)),
    )  # fmt: skip


def account_page(
    frame: Frame, person: Person, grants: Sequence[Grant], session: Session, sessions: Sequence[Session],
    factors: Sequence[Factor], token: str, *, may_change: bool,
) -> str:  # fmt: skip
    """What somebody holds and where they are signed in, and how to change it."""
    w = frame.words
    held = "".join(
        f"<li>{escape(w('of', role=w(g.role.value), organisation=g.organisation or w('all')))}</li>" for g in grants
    )
    mine = [f for f in factors if f.kind is not FactorKind.RECOVERY]
    parts = [f"<p><strong>{escape(person.name or person.login or '')}</strong></p>", _section(w("roles"), f"<ul>{held}</ul>")]
    if person.login is not None:
        rows = "".join(
            f"<li>{_factor(f, w)}"
            f"{_small('factors/remove', token, w('remove'), about=_factor(f, w), id=f.id) if may_change else ''}</li>"
            for f in mine
        )
        parts.append(_section(w("factors"), f"<ul>{rows}</ul>" if rows else f"<p>{escape(w('no_factors'))}</p>"))
        if may_change:
            left = w("recovery_left", count=len(factors) - len(mine))
            parts.append(f'<p><a class="button" href="/signin/enrol">{escape(w("add"))}</a></p>')
            parts.append(_section(w("recovery"), f"<p>{escape(left)}</p>", _small("recovery", token, w("make_recovery"))))
            # Hidden, so that a password manager knows whose password it is.
            whose = f'<input name="username" autocomplete="username" value="{escape(person.login)}" readonly hidden>'
            parts.append(_section(w("change_password"), _form("password/change", token, w("change_password"), whose,
                _field("old", w("old_password"), "current-password", kind="password"),
                _field("new", w("new_password"), "new-password", kind="password"))))  # fmt: skip
        else:
            parts.append(f'<p><a href="/signin?again=1">{escape(w("sign_in_again"))}</a></p>')
    listed = ""
    for one in sessions:
        this = one.id == session.id
        about = _session(one, this, w)
        listed += f"<li>{about}{'' if this else _small('sessions/end', token, w('end'), about=about, id=one.id)}</li>"
    others = _small("sessions/end", token, w("end_others"), id="others") if len(sessions) > 1 else ""
    parts.append(_section(w("sessions"), f"<ul>{listed}</ul>", others))
    parts.append(_small("out", token, w("sign_out")))
    return frame.page(w("account_title"), *parts)


def recovery_page(frame: Frame, texts: Sequence[str]) -> str:
    """New recovery codes, this once."""
    w = frame.words
    listed = "".join(f"<li><code>{escape(text)}</code></li>" for text in texts)
    back = f'<p><a class="button" href="/signin/account">{escape(w("back"))}</a></p>'
    return frame.page(w("recovery"), f"<p>{escape(w('recovery_text'))}</p><ul class='codes'>{listed}</ul>", back)


def sentence_page(frame: Frame, title: str, onward: str = "again") -> str:
    """Only what went wrong, and the way to the page where people begin."""
    return frame.page(title, f'<p><a class="button" href="/signin">{escape(frame.words(onward))}</a></p>')


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>{''.join(parts)}</section>"


def _form(action: str, token: str, button: str, *fields: str, named: str = "") -> str:
    return (f'<form method="post" action="{ACTIONS}/{action}"><input type="hidden" name="csrf" value="{escape(token)}">'
        f'{"".join(fields)}<button{named}>{escape(button)}</button></form>')  # fmt: skip


def _small(action: str, token: str, button: str, *, about: str = "", **values: str) -> str:
    """A small button; `about` tells it from others of its name where it is only heard. It is HTML already."""
    hidden = "".join(f'<input type="hidden" name="{escape(k)}" value="{escape(v)}">' for k, v in values.items())
    named = f' aria-label="{escape(button)}: {about.strip()}"' if about else ""
    return f'<span class="small">{_form(action, token, button, hidden, named=named)}</span>'


def _field(
    name: str, label: str, complete: str, *, kind: str = "text", autofocus: bool = False, required: bool = True, value: str = "",
    digits: bool = False, about: str = "",
) -> str:  # fmt: skip
    """A field with its label. `about` says that something went wrong: whoever hears the field then hears that, too."""
    more = (" autofocus" if autofocus else "") + (" required" if required else "") + (' inputmode="numeric"' if digits else "")
    more += (' aria-describedby="problem"' if about else "") + (f' value="{escape(value[:300])}"' if value else "")
    return (f'<label>{escape(label)}<input name="{name}" type="{kind}" autocomplete="{complete}" maxlength="300"'
        f' autocapitalize="none" spellcheck="false"{more}></label>')  # fmt: skip


def _passkey_button(what: str, token: str, label: str, without: str) -> str:
    # Disabled until its script is there: pressed before, it would do nothing, and nobody would learn why.
    return (f'<button type="button" class="passkey" data-passkey="{what}" data-csrf="{escape(token)}" disabled>'
        f"{escape(label)}</button><noscript>{escape(without)}</noscript>")  # fmt: skip


def _factor(factor: Factor, w: Words) -> str:
    kind = w("totp") if factor.kind is FactorKind.TOTP else w("passkey_one")
    name = f" “{factor.name}”" if factor.name else ""
    return escape(f"{kind}{name}, {w('since', at=_day(factor.created_at))} ")


def _session(session: Session, this: bool, w: Words) -> str:
    marked = f" ({w('this_one')})" if this else ""
    return escape(f"{session.address or '–'}, {_browser(session.agent)}, {w('since', at=_day(session.created_at))}{marked} ")


def _browser(agent: str) -> str:
    """What people call a browser, from the many names that each claims; those that claim the fewest last."""
    known = (("Edg/", "Edge"), ("OPR/", "Opera"), ("Firefox/", "Firefox"), ("Chrome/", "Chrome"), ("Safari/", "Safari"))
    return next((name for mark, name in known if mark in agent), agent[:40] or "–")


def _day(at: float) -> str:
    return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d %H:%M UTC")
