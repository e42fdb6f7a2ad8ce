"""Whether weights are named in a way that they can be found by, and fetched without showing secrets."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

from samdrift.spec.document import Spec
from samdrift.spec.findings import Finding, Path
from samdrift.spec.secret_references import is_one_reference
from samdrift.spec.weights import Misnamed, parse_reference

_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def weights_can_be_found(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        path: Path = ("models", name, "weights")
        if model.weights is None:
            if model.address is None:
                yield Finding(
                    path,
                    "The model has neither `weights` nor an `address`.",
                    "Write where its weights are (`package:NAME/PATH` or `file:PATH`), or where an engine serves it.",
                )
            continue
        found = parse_reference(model.weights)
        if isinstance(found, Misnamed):
            yield Finding(path, found.sentence, found.remedy)
        for adapter, said in model.adapters.items():
            found = parse_reference(said.weights)
            # Volumes are for clusters, and `checking_cluster` looks at those.
            if isinstance(found, Misnamed) and not (spec.cluster and said.weights.startswith("pvc:")):
                yield Finding(("models", name, "adapters", adapter, "weights"), found.sentence, found.remedy)
        if model.projector is not None and isinstance(named := parse_reference(model.projector), Misnamed):
            yield Finding(("models", name, "projector"), named.sentence, named.remedy)


def weights_are_made_smaller_where_they_are(spec: Spec) -> Iterator[Finding]:
    for name, model in spec.models.items():
        if model.precision is not None and model.engine != "llamacpp":
            yield Finding(("models", name, "precision"), f"Weights for `{model.engine}` are not made into another precision.",
                "Leave `precision` out, and name weights that have it.")  # fmt: skip
        elif model.precision is not None and model.weights is None:
            yield Finding(("models", name, "precision"), "An engine with an `address` has its own weights.",
                "Leave `precision` out.")  # fmt: skip


def sources_of_weights_can_be_asked(spec: Spec) -> Iterator[Finding]:
    settings = spec.weights
    for kind, endpoint, secret in (
        ("hf", settings.hf.endpoint, settings.hf.token),
        ("s3", settings.s3.endpoint, settings.s3.secret),
    ):
        if not endpoint:
            continue
        path: Path = ("weights", kind, "endpoint")
        host = _host(endpoint)
        if host is None:
            yield Finding(path, "This is no address that can be asked.",
                "Write it like https://models.example.dk, without a name or password in it.")  # fmt: skip
        elif secret and not endpoint.startswith("https://") and host not in _LOOPBACK:
            yield Finding(path, "The credentials would cross the network in the clear.", "Write an address with https://.")
    if bool(settings.s3.key) != bool(settings.s3.secret):
        yield Finding(("weights", "s3"), "An access key has an id and a secret.", "Write both `key` and `secret`, or neither.")
    if bool(settings.oci.user) != bool(settings.oci.password):
        yield Finding(("weights", "oci"), "A login has a user and a password.", "Write both `user` and `password`, or neither.")
    for where, text in (
        (("weights", "hf", "token"), settings.hf.token),
        (("weights", "s3", "key"), settings.s3.key),
        (("weights", "s3", "secret"), settings.s3.secret),
        (("weights", "oci", "password"), settings.oci.password),
    ):
        if text and not is_one_reference(text):
            yield Finding(where, "A secret stands in the document.", "Write a reference such as `${env:NAME}` or `${file:PATH}`.")


def _host(url: str) -> str | None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in ("http", "https") and (parts.port is None or parts.port > 0) and "@" not in parts.netloc
    except ValueError:
        return None
    return parts.hostname if good and not parts.query and not parts.fragment else None


WEIGHTS_CHECKS = (weights_can_be_found, weights_are_made_smaller_where_they_are, sources_of_weights_can_be_asked)
"""In the order of the document's reader."""
