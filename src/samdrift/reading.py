"""The door to the files of the document: a path on this machine becomes a `Spec`.

Outside the floors of the house: the command line and the runtime both come in here. It reads files and the
environment, and knows `spec` only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from samdrift.spec.document import Adapter, Spec
from samdrift.spec.findings import Finding, Rejected
from samdrift.spec.identity import Issuer
from samdrift.spec.parsing import parse_document
from samdrift.spec.secret_references import resolve, with_files_at
from samdrift.spec.signin import Provider
from samdrift.spec.spelling import merged_text
from samdrift.spec.strict_yaml import MAX_BYTES
from samdrift.spec.weights import WeightsSettings

MAX_FILES = 2_000
"""Files of one folder."""
_MAX_SECRET = 64 * 1024


class DocumentUnreadable(Exception):  # noqa: N818 - the name says what happened
    """There is no document at this path, or it cannot be read. Its text is a sentence for people."""


class DocumentRejected(Exception):  # noqa: N818 - the name says what happened
    """The document was read and cannot be used. `findings` says everything that is wrong with it."""

    def __init__(self, findings: tuple[Finding, ...]) -> None:
        super().__init__("\n".join(map(str, findings)))
        self.findings = findings


def read_document(path: Path, environment: Mapping[str, str] | None = None) -> Spec:
    """The document at `path`, a file or a folder, with the paths in it made absolute.

    `environment` is where `${env:…}` is looked up; by default the process's own. References stay in the
    `Spec`: see `ledger_url`. Raises DocumentUnreadable or DocumentRejected.
    """
    return _parsed(_texts(path), folder_of(path), environment)


def read_text(text: str, folder: Path, environment: Mapping[str, str] | None = None) -> Spec:
    """The document that is this text, as if it stood in a file in `folder`. Raises DocumentRejected."""
    return _parsed({"document.yaml": text}, folder, environment)


def document_text(path: Path) -> str:
    """The document at `path` as one text: a file as it stands, a folder merged. It is checked no further than merging needs.

    Raises DocumentUnreadable or DocumentRejected.
    """
    files = _texts(path)
    if path.is_file():
        return next(iter(files.values()))
    whole = merged_text(files)
    if isinstance(whole, Rejected):
        raise DocumentRejected(whole.findings)
    return whole


def _parsed(files: Mapping[str, str], folder: Path, environment: Mapping[str, str] | None) -> Spec:
    known = os.environ if environment is None else environment
    answer = parse_document(files, environment=known, read_secret=lambda name: _secret(folder, name))
    if isinstance(answer, Rejected):
        raise DocumentRejected(answer.findings)
    return _located(answer, folder)


def _texts(path: Path) -> dict[str, str]:
    files: dict[str, str] = {}
    not_text: list[Finding] = []
    left = MAX_BYTES
    for file in _files(path):
        name = str(file.relative_to(path)) if path.is_dir() else file.name
        content = _content(file, left)
        left -= len(content)
        try:
            files[name] = content.decode("utf-8-sig")
        except UnicodeDecodeError as error:
            line = content.count(b"\n", 0, error.start) + 1
            not_text.append(Finding((), "The file is not UTF-8 text.", "Save it as UTF-8.", f"{name}:{line}"))
    if not_text:
        raise DocumentRejected(tuple(not_text))
    return files


def ledger_url(spec: Spec, document: Path, environment: Mapping[str, str] | None = None) -> str:
    """`ledger.url` with its secrets in place:

    hand it to the ledger and keep it nowhere. Raises MissingReference.
    """
    return secret_of(spec.ledger.url, document, environment)


def secret_of(text: str, document: Path, environment: Mapping[str, str] | None = None) -> str:
    """A text of the document with its secrets in place: use it at once and keep it nowhere. Raises MissingReference."""
    folder = folder_of(document)
    known = os.environ if environment is None else environment
    return resolve(text, known, lambda name: _secret(folder, name))


def folder_of(document: Path) -> Path:
    """The folder that relative paths in a document start from."""
    return (document if document.is_dir() else document.parent).absolute()


def _files(path: Path) -> Iterator[Path]:
    if path.is_file():
        yield path
        return
    if not path.is_dir():
        raise DocumentUnreadable(f"There is no document at {path}.")
    found = 0
    for folder, inner, names in os.walk(path, onerror=_raise):
        inner[:] = sorted(name for name in inner if not name.startswith("."))
        for name in sorted(names):
            file = Path(folder, name)
            if name.endswith((".yaml", ".yml")) and not name.startswith(".") and file.is_file():
                found += 1
                if found > MAX_FILES:
                    raise DocumentUnreadable(f"There are more than {MAX_FILES} files in {path}. Is it the right folder?")
                yield file
    if not found:
        raise DocumentUnreadable(f"There is no *.yaml file in {path}.")


def _raise(error: OSError) -> None:
    raise DocumentUnreadable(f"{error.filename} cannot be read: {error.strerror}.") from error


def _content(file: Path, left: int) -> bytes:
    try:
        with file.open("rb") as stream:
            content = stream.read(left + 1)
    except OSError as error:
        raise DocumentUnreadable(f"{file} cannot be read: {error.strerror}.") from error
    if len(content) > left:
        sentence = f"The document is larger than {MAX_BYTES // 2**20} MiB in all."
        raise DocumentRejected((Finding((), sentence, "Check that no other file is among them.", file.name),))
    return content


def _secret(folder: Path, name: str) -> str | None:
    file = folder / name
    try:
        if not file.is_file():  # opening a pipe would wait for somebody to write
            return None
        with file.open("rb") as stream:
            return stream.read(_MAX_SECRET).decode()
    except (OSError, ValueError):
        return None


def _located(spec: Spec, folder: Path) -> Spec:
    """The same document with absolute paths: TLS files, weights, issuers' keys and secrets in files."""
    models = {}
    for name, model in spec.models.items():
        kind, _, path = (model.weights or "").partition(":")
        placed: dict[str, Any] = {"weights": f"file:{folder / path}"} if kind == "file" else {}
        if model.adapters:
            placed["adapters"] = {name: _adapter(adapter, folder) for name, adapter in model.adapters.items()}
        if model.projector is not None and model.projector.startswith("file:"):
            placed["projector"] = f"file:{folder / model.projector.removeprefix('file:')}"
        if model.credential:
            placed["credential"] = with_files_at(model.credential, lambda name: str(folder / name))
        models[name] = model.model_copy(update=placed) if placed else model
    gateway = spec.gateway
    if gateway.tls is not None:
        certificate, key = folder / gateway.tls.certificate, folder / gateway.tls.key
        clients = {name: str(folder / given) for name in ("client_ca", "crl") if (given := getattr(gateway.tls, name))}
        tls = gateway.tls.model_copy(update={"certificate": str(certificate), "key": str(key), **clients})
        gateway = gateway.model_copy(update={"tls": tls})
    issuers = {name: _issuer(issuer, folder) for name, issuer in spec.issuers.items()}
    url = with_files_at(spec.ledger.url, lambda name: str(folder / name))
    ledger = spec.ledger.model_copy(update={"url": url})
    weights = _weights(spec.weights, folder)
    providers = {name: _provider(provider, folder) for name, provider in spec.signin.providers.items()}
    signin = spec.signin.model_copy(update={"providers": providers})
    return spec.model_copy(
        update={"gateway": gateway, "models": models, "ledger": ledger, "issuers": issuers, "signin": signin}
        | {"weights": weights}
    )


def _adapter(adapter: Adapter, folder: Path) -> Adapter:
    kind, _, path = adapter.weights.partition(":")
    return adapter.model_copy(update={"weights": f"file:{folder / path}"}) if kind == "file" else adapter


def _weights(settings: WeightsSettings, folder: Path) -> WeightsSettings:
    def placed(text: str) -> str:
        return with_files_at(text, lambda name: str(folder / name))

    hub = settings.hf.model_copy(update={"token": placed(settings.hf.token)})
    store = settings.s3.model_copy(update={"key": placed(settings.s3.key), "secret": placed(settings.s3.secret)})
    registry = settings.oci.model_copy(update={"password": placed(settings.oci.password)})
    return settings.model_copy(update={"hf": hub, "s3": store, "oci": registry})


def _provider(provider: Provider, folder: Path) -> Provider:
    secret = with_files_at(provider.client_secret, lambda name: str(folder / name))
    authority = str(folder / provider.authority) if provider.authority else ""
    return provider.model_copy(update={"client_secret": secret, "authority": authority})


def _issuer(issuer: Issuer, folder: Path) -> Issuer:
    kind, _, path = issuer.jwks.partition(":")
    jwks = f"file:{folder / path}" if kind == "file" else issuer.jwks
    return issuer.model_copy(update={"jwks": jwks, "authority": str(folder / issuer.authority) if issuer.authority else ""})
