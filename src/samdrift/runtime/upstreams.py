"""What stands between the gateway and engines that neither of them may decide: salts, credentials, and what engines say.

The salt of a domain (a key's requests, or a whole organisation's) is a keyed hash of its name, so that engines keep its prompts
apart from those of others, and nobody outside can guess which. Its key lies in the data folder; whoever deletes it empties all
caches of prompts.
"""

from __future__ import annotations

import hmac
import os
import ssl
from collections.abc import Callable
from pathlib import Path

from samdrift.engines.drivers import Said
from samdrift.engines.repertoire import DRIVERS
from samdrift.fairshare.stimuli import EngineSaid
from samdrift.gateway.clusters import credential_file
from samdrift.gateway.placing import place_json
from samdrift.reading import secret_of
from samdrift.runtime.key_files import made_once
from samdrift.spec.document import Spec
from samdrift.spec.secret_references import MissingReference

_KEY_BYTES = 32
_SYSTEM = "/etc/ssl/certs/ca-certificates.crt"
_SALT = 32  # hexadecimal digits: 128 bits


class Salts:
    """The salts of a data folder. Makes its key if there is none; raises OSError, or ValueError for a file that is no key."""

    def __init__(self, data: Path) -> None:
        self._key = _key(data / "privacy" / "cache.key")

    def of(self, domain: str) -> str:
        """The salt of a domain: letters and digits, always the same in one data folder."""
        return hmac.digest(self._key, domain.encode(), "sha256").hex()[:_SALT]


def _key(path: Path) -> bytes:
    key = made_once(path, lambda: os.urandom(_KEY_BYTES))
    if len(key) != _KEY_BYTES:
        raise ValueError(f"{path} is no key: it must hold {_KEY_BYTES} bytes. Delete it, and a new one is made.")
    return key


def place_credentials(spec: Spec, document: Path, folder: Path) -> list[str]:
    """Put what engines of others want to see into files that Envoy reads, one for each model, and remove those of models that
    have none. Returns a sentence for each that cannot be had: its file stays as it was."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    wanted = {f"{name}.json": model.credential for name, model in spec.models.items() if model.credential}
    problems = []
    for name, reference in wanted.items():
        try:
            secret = secret_of(reference, document).strip()
        except MissingReference as missing:
            problems.append(f"The credential of {name.removesuffix('.json')} cannot be had: {missing}.")
            continue
        if not (secret.isascii() and secret.isprintable() and secret):
            problems.append(f"The credential of {name.removesuffix('.json')} holds characters that no header can.")
            continue
        place_json(folder / name, credential_file(secret))
    for path in folder.glob("*.json"):
        if path.name not in wanted:
            path.unlink(missing_ok=True)
    return problems


def authorities() -> str:
    """The file of those who vouch for servers: what `SSL_CERT_FILE` names, else the system's."""
    paths = ssl.get_default_verify_paths()
    known = (os.environ.get("SSL_CERT_FILE"), paths.cafile, paths.openssl_cafile)
    return next((path for path in known if path and Path(path).is_file()), _SYSTEM)


def hides_usage(spec: Spec) -> bool:
    """Whether some engine is made to count in streams for us, which clients that did not ask must not see."""
    return any("stream_options" in DRIVERS[model.engine].fields(model.task)["stream"] for model in spec.models.values())


def engines_of(spec: Spec) -> dict[str, str]:
    """Which engine serves a model."""
    return {name: model.engine for name, model in spec.models.items()}


def said_to(hear: Callable[[EngineSaid], None], clock: Callable[[], float]) -> Callable[[str, Said], None]:
    """What engines say, as the scheduler is told it."""

    def told(replica: str, said: Said) -> None:
        hear(EngineSaid(replica, said.running, said.waiting, said.kv_used, said.preemptions, clock()))

    return told
