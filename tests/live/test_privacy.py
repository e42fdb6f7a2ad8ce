"""A community in service: its engines reach nobody, its trail is signed, who asked is a hash, and the canary is found nowhere."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from tests.live.communities import CHAT_WEIGHTS, Community, document, until

from samdrift.access.pseudonyms import pseudonym
from samdrift.engines.confining import confinement
from samdrift.runtime.pseudonyms import user_key

USER = "anna.andersen@viborg.example"


@pytest.fixture(scope="module")
def signer() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def private(somewhere: Path, signer: ec.EllipticCurvePrivateKey) -> Iterator[Community]:
    """Viborg's people come with tokens; Aarhus' applications with keys."""
    folder = somewhere / "private"
    folder.mkdir()
    public = json.loads(jwt.algorithms.ECAlgorithm.to_jwk(signer.public_key())) | {"kid": "one", "alg": "ES256", "use": "sig"}
    (folder / "keys.json").write_text(json.dumps({"keys": [public]}))
    described = document(
        issuers={"idp": {"issuer": "https://idp.viborg.example", "audience": "samdrift", "jwks": "file:keys.json"}},
        organisations={"aarhus": {}, "viborg": {"identity": [{"jwt": {"issuer": "idp", "claim": "org", "equals": "viborg"}}]}},
        models={"chat": {"weights": CHAT_WEIGHTS, "pool": "here", "seats": 2, "context": 512}},
    )  # fmt: skip
    with Community(folder, described) as running:
        yield running


def token(signer: ec.EllipticCurvePrivateKey) -> str:
    now = int(time.time())  # noqa: TID251 - a test's clock
    claims = {"iss": "https://idp.viborg.example", "aud": "samdrift", "sub": USER, "org": "viborg", "iat": now, "exp": now + 300}
    return jwt.encode(claims, signer, "ES256", {"kid": "one"})


def test_engines_run_where_there_is_no_network(private: Community) -> None:
    if not confinement().possible:
        pytest.skip(confinement().sentence)
    ours = Path("/proc/self/ns/net").readlink()
    running = private.processes()
    spaces = {name: Path(f"/proc/{pid}/ns/net").readlink() for name, pid in running.items()}
    assert spaces["envoy"] == ours
    assert spaces["chat-0"] != ours
    assert Path(f"/proc/{running['chat-0']}/net/route").read_text().count("\n") <= 1
    assert private.chat().status_code == 200


def test_who_asked_is_a_hash_in_the_ledger_and_their_name_is_nowhere(
    private: Community, signer: ec.EllipticCurvePrivateKey
) -> None:
    answer = private.chat(key=token(signer))
    assert answer.status_code == 200, answer.text
    row = private.usage(answer.headers["x-samdrift-ticket"])
    assert (row.organisation, row.user) == ("viborg", pseudonym(user_key(private.data), "viborg", USER))
    holding = [path for path in private.data.rglob("*") if path.is_file() and USER.encode() in path.read_bytes()]
    assert holding == []


def test_a_person_gets_their_rows_and_is_erased_while_the_service_runs(
    private: Community, signer: ec.EllipticCurvePrivateKey
) -> None:
    ticket = private.chat(key=token(signer)).headers["x-samdrift-ticket"]
    private.usage(ticket)
    given = private.command("privacy", "export", "viborg", USER, "--reason", "asked")
    assert ticket in [row["ticket"] for row in json.loads(given.stdout)]
    before = private.rows("viborg")
    erased = private.command("privacy", "erase", "viborg", USER, "--reason", "asked", "--yes")
    assert erased.returncode == 0, erased.stderr
    assert private.row(ticket) is None
    assert private.rows("viborg") == before
    assert json.loads(private.command("privacy", "export", "viborg", USER, "--reason", "asked").stdout) == []


def test_the_canary_is_found_nowhere_and_the_report_says_so(private: Community, tmp_path: Path) -> None:
    done = private.command("privacy", "canary", "--key", private.key())
    assert done.returncode == 0, done.stderr + done.stdout
    assert "nowhere" in done.stdout
    private.command("privacy", "report", "-o", str(tmp_path))
    report = (tmp_path / "privacy.md").read_text()
    assert "It was found nowhere" in report
    assert "viborg" in report
    assert (tmp_path / "privacy.svg").read_text().startswith("<svg")


def test_a_canary_that_somebody_keeps_is_found(private: Community) -> None:
    """A file that grows with what clients send, as a careless proxy's debug log would: here, the test is the careless one."""
    from samdrift.runtime import canary

    leak = private.data / "logs" / "debug.log"

    class Careless:
        def __init__(self, client):
            self._client = client
            self.base_url = client.base_url

        def post(self, path, *, json):
            leak.write_text(str(json))
            return self._client.post(path, json=json)

    with private.http(private.key()) as http:
        result = canary.run_canary(private.data, private.ledger, Careless(http), "chat", "generate")
    leak.unlink()
    assert not result.passed
    assert result.found == ("logs/debug.log",)


def test_what_happened_is_in_the_trail_and_the_trail_is_signed_when_the_service_stops(private: Community) -> None:
    """The last of this file: it stops the service."""
    actions = {event["action"] for event in json.loads(private.command("audit", "list", "--json").stdout)}
    assert {"service.start", "privacy.export", "privacy.erase"} <= actions
    private.stop()
    until(lambda: private.process.poll() is not None, "it has stopped")
    done = private.command("audit", "verify")
    assert done.returncode == 0, done.stdout
    assert "all of them under a signature" in done.stdout
    (last,) = json.loads(private.command("audit", "list", "--limit", "1", "--json").stdout)
    assert last["action"] == "service.stop"
