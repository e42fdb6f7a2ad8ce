"""Weights from S3 stores and from registries of artifacts, and how requests to them are signed."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime

import pytest

from samdrift.engines.weights import WeightsError, prepare
from samdrift.engines.weights.signing import AccessKey, signed
from samdrift.spec.weights import Registry, Store

EXAMPLE = AccessKey("AKIAIOSFODNN7EXAMPLE", "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY")


@pytest.fixture
def fetch(folders, means):
    def fetched(reference, licence="", **more):
        return prepare(reference, base=folders[0], cache=folders[1], licence=licence, means=means(**more), step=lambda *_: None)

    return fetched


@pytest.mark.parametrize(("url", "headers", "signature"), [
    ("https://examplebucket.s3.amazonaws.com/test.txt", {"Range": "bytes=0-9"},
     "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"),
    ("https://examplebucket.s3.amazonaws.com/?lifecycle", {},
     "fea454ca298b7da1c68078a5d1bdbfbbe0d65c699e0f91ac7a200a0136783543"),
    ("https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J", {},
     "34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
])  # fmt: skip
def test_signatures_are_those_of_the_published_examples(url, headers, signature):
    made = signed(url, headers, EXAMPLE, region="us-east-1", at=datetime(2013, 5, 24, tzinfo=UTC))
    assert made["authorization"].rpartition("Signature=")[2] == signature
    assert "EXAMPLEKEY" not in repr(EXAMPLE)


@pytest.fixture
def store(server):
    """Puts objects into a bucket of a store, whose answers about them come in pages of two."""

    def put(objects):
        keys = sorted(objects)

        def listed(handler):
            asked = handler.query()
            fitting = [key for key in keys if key.startswith(asked["prefix"]) and key > asked.get("continuation-token", "")]
            page = fitting[:2]
            more = f"<NextContinuationToken>{page[-1]}</NextContinuationToken>" if len(fitting) > 2 else ""
            contents = "".join(f"<Contents><Key>{key}</Key><Size>{len(objects[key])}</Size></Contents>" for key in page)
            handler.say(200, f"<ListBucketResult>{contents}{more}</ListBucketResult>".encode())

        server.answers["/models"] = listed
        for key, content in objects.items():
            server.files[f"/models/{key}"] = content

    return put


def test_a_file_of_a_bucket_is_fetched_with_signed_requests(fetch, store, server, make_gguf):
    content = make_gguf()
    store({"small/a b.gguf": content, "small/b.gguf": b"other"})
    found = fetch("s3:models/small/a b.gguf", s3=Store(endpoint=server.url, key="${env:K}", secret="${env:T}"))
    assert found.path.read_bytes() == content
    assert all("Credential=AKID/" in headers["authorization"] for _, headers in server.asked)
    assert not any("hemmelig" in str(asked) for asked in server.asked)


def test_a_file_in_parts_of_a_bucket_comes_whole(fetch, store, make_gguf):
    store({f"big/m-0000{n}-of-00003.gguf": make_gguf(500 + n, seed=n) for n in (1, 2, 3)})
    assert fetch("s3:models/big/m-00001-of-00003.gguf").head.parameters == 1506


def test_a_folder_of_a_bucket_is_listed_to_its_end(fetch, store, make_gguf):
    beside = {f"one/{name}": b"{}" for name in ("a.json", "b.json", "c.json", "d.txt")}
    store(beside | {"one/z.gguf": make_gguf(), "one-more/x": b""})
    assert fetch("s3:models/one").path.name == "z.gguf"


def test_a_store_that_says_no_is_quoted(fetch, server):
    server.answers["/models"] = lambda handler: handler.say(403, b"<Error><Code>AccessDenied</Code></Error>")
    with pytest.raises(WeightsError, match=r"403 \(AccessDenied\)"):
        fetch("s3:models/a.gguf")
    server.answers["/models"] = lambda handler: handler.say(200, b"<ListBucketResult/>")
    with pytest.raises(WeightsError, match="does not exist"):
        fetch("s3:models/a.gguf")
    with pytest.raises(WeightsError, match="Set AWS_ENDPOINT_URL_S3"):
        fetch("s3:models/a.gguf", s3=Store())


@pytest.fixture
def registry(server):
    """Puts files into a repository of a registry. With a password, tokens are asked for, and each is good for three requests."""
    given = {"tokens": 0, "left": 0}

    def put(files, *, password="", media="application/octet-stream", **annotations):
        layers = [{"mediaType": media, "digest": "sha256:" + hashlib.sha256(content).hexdigest(), "size": len(content),
            "annotations": {"org.opencontainers.image.title": name}} for name, content in files.items()]  # fmt: skip
        manifest = json.dumps({"schemaVersion": 2, "layers": layers, "annotations": annotations}).encode()

        def allowed(handler):
            if not password:
                return True
            good = handler.headers.get("authorization") == f"Bearer token-{given['tokens']}" and given["left"] > 0
            given["left"] -= good
            if not good:
                realm = f'Bearer realm="{server.url}/token",service="here",scope="repository:ai/chat:pull"'
                handler.say(401, b"{}", **{"www-authenticate": realm})
            return good

        def token(handler):
            known = handler.headers.get("authorization", "").startswith("Basic ")
            if known and handler.query()["scope"] == "repository:ai/chat:pull":
                given["tokens"], given["left"] = given["tokens"] + 1, 3
                handler.say_json({"token": f"token-{given['tokens']}"})
            else:
                handler.say(401, b"{}")

        def blob(content):
            return lambda handler: allowed(handler) and handler.ranged(content)

        server.answers["/token"] = token
        server.answers["/v2/"] = lambda handler: allowed(handler) and handler.say(200, b"{}")
        digest = "sha256:" + hashlib.sha256(manifest).hexdigest()
        for reference in ("v1", digest):
            server.answers[f"/v2/ai/chat/manifests/{reference}"] = lambda handler: allowed(handler) and handler.say(200, manifest)
        for content in files.values():
            server.answers["/v2/ai/chat/blobs/sha256:" + hashlib.sha256(content).hexdigest()] = blob(content)
        return digest

    return put


def test_an_artifact_is_fetched_by_its_tag_and_by_its_digest(fetch, registry, server, make_gguf, folders):
    content = make_gguf()
    digest = registry({"a.gguf": content}, **{"org.opencontainers.image.licenses": "Apache-2.0"})
    found = fetch(f"oci:{server.host}/ai/chat:v1")
    assert found.path.read_bytes() == content
    assert (found.licence, found.origin) == ("Apache-2.0", f"{server.host}/ai/chat {digest}")
    assert fetch(f"oci:{server.host}/ai/chat@{digest}").path == found.path


def test_a_registry_gives_new_tokens_while_a_long_fetch_runs(fetch, registry, server, make_gguf):
    content = make_gguf()
    registry({"a.gguf": content}, password="hemmelig")
    with pytest.raises(WeightsError, match="answers 401"):
        fetch(f"oci:{server.host}/ai/chat:v1")
    login = Registry(user="os2ai", password="${env:T}")
    assert fetch(f"oci:{server.host}/ai/chat:v1", oci=login, parallel=1).path.read_bytes() == content
    assert sum(path == "/token" for path, _ in server.asked) > 3


def test_what_the_cache_has_lost_is_fetched_again_with_a_login(fetch, registry, server, make_gguf):
    registry({"a.gguf": make_gguf()}, password="hemmelig")
    login = Registry(user="os2ai", password="${env:T}")
    found = fetch(f"oci:{server.host}/ai/chat:v1", oci=login, parallel=1)
    found.path.resolve().unlink()
    assert fetch(f"oci:{server.host}/ai/chat:v1", oci=login, parallel=1) == found


def test_an_image_with_a_file_system_in_it_is_refused(fetch, registry, server, make_gguf):
    registry({"a.gguf": make_gguf()}, media="application/vnd.oci.image.layer.v1.tar+gzip")
    with pytest.raises(WeightsError, match="layers that are archives are not unpacked"):
        fetch(f"oci:{server.host}/ai/chat:v1")


def test_a_manifest_of_another_digest_is_refused(fetch, registry, server, make_gguf):
    registry({"a.gguf": make_gguf()})
    wrong = "sha256:" + "0" * 64
    server.answers[f"/v2/ai/chat/manifests/{wrong}"] = server.answers["/v2/ai/chat/manifests/v1"]
    with pytest.raises(WeightsError, match="of another digest"):
        fetch(f"oci:{server.host}/ai/chat@{wrong}")
