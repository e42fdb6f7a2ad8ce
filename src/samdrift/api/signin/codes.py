"""One-time codes of an app (TOTP, RFC 6238: SHA-1, six digits, 30 s, as every app has them) and recovery codes. Pure."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re

import pyotp
import segno

SEED_BYTES, RECOVERY_BYTES, RECOVERY_CODES = 20, 10, 10
_STEP = 30
_WINDOW = 1  # steps that a phone's clock may be off, each way
_RECOVERY = re.compile(r"[A-Z2-7]{16}")


def step_of(seed: bytes, code: str, now: float) -> int | None:
    """The time step that this code belongs to, if it is one of now; None otherwise. Whoever lets somebody in by it must see to it
    that no step is taken twice (RFC 6238, 5.2)."""
    digits = "".join(code.split())
    if not (len(digits) == 6 and digits.isascii() and digits.isdigit()):
        return None
    totp = pyotp.TOTP(base64.b32encode(seed).decode())
    current, found = int(now) // _STEP, None
    for step in range(current - _WINDOW, current + _WINDOW + 1):
        if hmac.compare_digest(totp.generate_otp(step), digits):
            found = step
    return found


def seed_text(seed: bytes) -> str:
    """A seed as people type it into an app: groups of four letters."""
    text = base64.b32encode(seed).decode()
    return " ".join(text[start : start + 4] for start in range(0, len(text), 4))


def otpauth(seed: bytes, login: str, community: str) -> str:
    """The address that an app on the same device opens."""
    return str(pyotp.TOTP(base64.b32encode(seed).decode()).provisioning_uri(name=login, issuer_name=community))


def scannable(link: str) -> str:
    """The same as a QR code: an SVG in a `data:` address, dark on light whatever the page's colours, with the border that
    scanners want. It holds the seed, and so is made for the page and kept nowhere."""
    return str(segno.make(link, error="m", micro=False).svg_data_uri(scale=4, border=4, light="#fff", dark="#000"))


def recovery_code(random: bytes) -> str:
    """A recovery code of 80 random bits."""
    text = base64.b32encode(random).decode()
    return "-".join(text[start : start + 4] for start in range(0, len(text), 4))


def recovery_digest(code: str) -> bytes | None:
    """What is stored of a recovery code, from however it was typed; None if it is none."""
    plain = re.sub(r"[\s-]", "", code).upper()
    return hashlib.sha256(plain.encode()).digest() if _RECOVERY.fullmatch(plain) else None
