"""The cookies: of a session, of somebody on their way in, of a known device, and of the language. None is read by a script.

Over TLS their names begin with `__Host-`, so that a browser takes them from this host only, over TLS only and for all paths: a
neighbouring site cannot plant one.
"""

from __future__ import annotations

from collections.abc import Mapping

from samdrift.api.signin.devices import LASTS as DEVICE_LASTS
from samdrift.api.signin.flows import LASTS

_SESSION, _FLOW, _DEVICE, _LANGUAGE = "samdrift", "samdrift-flow", "samdrift-device", "samdrift-language"


def cookies_of(headers: Mapping[str, str]) -> dict[str, str]:
    """The cookies of a request; of two with one name the first, which is the one for the longest path and so ours."""
    found: dict[str, str] = {}
    for part in headers.get("cookie", "").split(";"):
        name, equals, value = part.strip().partition("=")
        if equals:
            found.setdefault(name, value)
    return found


def session_secret(headers: Mapping[str, str], origin: str | None) -> str | None:
    """What the browser holds of a session."""
    return cookies_of(headers).get(_named(_SESSION, origin))


def flow_text(headers: Mapping[str, str], origin: str | None) -> str:
    """What the browser holds of a flow."""
    return cookies_of(headers).get(_named(_FLOW, origin), "")


def device_text(headers: Mapping[str, str], origin: str | None) -> str:
    """What the browser holds of itself as a device that somebody has signed in on."""
    return cookies_of(headers).get(_named(_DEVICE, origin), "")


def language_chosen(headers: Mapping[str, str]) -> str | None:
    """The language that was chosen."""
    return cookies_of(headers).get(_LANGUAGE)


def session_cookie(secret: str, origin: str) -> str:
    """Sets the session. It has no age: a browser forgets it when it is closed, and the service after a time anyway."""
    return _cookie(_named(_SESSION, origin), secret, origin)


def flow_cookie(text: str, origin: str) -> str:
    """Sets the flow."""
    return _cookie(_named(_FLOW, origin), text, origin, f"; Max-Age={LASTS:.0f}")


def device_cookie(text: str, origin: str) -> str:
    """Has the browser known again. It stays when somebody signs out: that is what it is for."""
    return _cookie(_named(_DEVICE, origin), text, origin, f"; Max-Age={DEVICE_LASTS:.0f}")


def language_cookie(language: str, origin: str) -> str:
    """Remembers the language for a year."""
    return _cookie(_LANGUAGE, language, origin, "; Max-Age=31536000")


def gone(origin: str, *, session: bool) -> str:
    """Takes the session, or the flow, away."""
    return _cookie(_named(_SESSION if session else _FLOW, origin), "", origin, "; Max-Age=0")


def _named(name: str, origin: str | None) -> str:
    return f"__Host-{name}" if origin is not None and origin.startswith("https://") else name


def _cookie(name: str, value: str, origin: str, more: str = "") -> str:
    secure = "; Secure" if origin.startswith("https://") else ""
    return f"{name}={value}; Path=/; HttpOnly; SameSite=Lax{secure}{more}"
