"""`samdrift keys refuse`, on a real ledger, as whoever runs the service uses it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from tests.cli.test_keys import DOCUMENT

from samdrift.cli import main
from samdrift.ledger.ledger import Ledger
from samdrift.runtime.clock import wall
from samdrift.spec.document import Spec

DAY = 86_400.0


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir(0o700)
    (folder / "document.json").write_text(Spec.model_validate(DOCUMENT).model_dump_json())
    Ledger.open(f"sqlite:///{folder}/ledger.sqlite").close()
    return folder


def run(data: Path, *words: str, given: str = "") -> Result:
    return CliRunner().invoke(main, ["keys", words[0], "--data", str(data), *words[1:]], input=given, catch_exceptions=False)


def jwt(**claims: object) -> str:
    def part(said: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(said).encode()).decode().rstrip("=")

    return f"{part({'alg': 'RS256'})}.{part(claims)}.c2lnbmF0dXJl\n"


def test_a_leaked_token_is_refused_for_as_long_as_it_lives(data: Path) -> None:
    lives = wall() + 200 * DAY
    done = run(data, "refuse", "aarhus", "--jwt", "-", "--reason", "in a log", "--json", given=jwt(jti="t1", exp=lives, iat=1))
    assert done.exit_code == 0, done.output
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    (refused,) = ledger.refused_tokens.in_force(wall())
    assert (refused.named, refused.reason, refused.issued_before) == ("t1", "in a log", None)
    assert refused.until >= lives
    (event,) = [noted.event for noted in ledger.audit.events()]
    assert (event.action, event.organisation, event.after["named"]) == ("keys.refuse", "aarhus", "t1")
    assert "t1" in run(data, "refused", "aarhus").output
    assert run(data, "accept", "aarhus", refused.id).exit_code == 0
    assert run(data, "accept", "aarhus", refused.id).exit_code == 1
    assert len(ledger.audit.events()) == 2
    assert ledger.refused_tokens.in_force(wall()) == ()
    ledger.close()


def test_a_user_is_refused_up_to_now_and_named_nowhere(data: Path) -> None:
    before = wall()
    assert run(data, "refuse", "aarhus", "--user", "anna@aarhus.dk", "--reason", "lost her laptop").exit_code == 0
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    (refused,) = ledger.refused_tokens.in_force(wall())
    ledger.close()
    assert refused.issued_before is not None
    assert before <= refused.issued_before <= wall()
    assert abs(refused.until - before - 30 * DAY) < 60
    for file in data.rglob("*"):
        assert file.is_dir() or b"anna@aarhus.dk" not in file.read_bytes()


@pytest.mark.parametrize(("words", "given", "sentence"), [
    (("aarhus", "--reason", "r"), "", "one of --token-id, --jwt and --user"),
    (("aarhus", "--reason", "r", "--user", "a", "--token-id", "b"), "", "one of --token-id, --jwt and --user"),
    (("aarhus", "--token-id", "b"), "", "--reason"),
    (("aarhus", "--token-id", "b", "--reason", ""), "", "reason"),
    (("aarhus", "--token-id", "b", "--reason", "a\nb"), "", "on one line"),
    (("aarhus", "--token-id", "x" * 300, "--reason", "r"), "", "token_id"),
    (("aarhus", "--token-id", "a\tb", "--reason", "r"), "", "printable"),
    (("aarhus", "--token-id", "b", "--later-ones", "--reason", "r"), "", "a token is issued once"),
    (("aarhus", "--token-id", "b", "--reason", "r", "--lasts", "2000d"), "", "at most 366d"),
    (("aarhos", "--token-id", "b", "--reason", "r"), "", "Did you mean aarhus"),
    (("aarhus", "--jwt", "-", "--reason", "r"), "sd-0kXv3QmZp1a-xyz", "no signed token"),
    (("aarhus", "--jwt", "-", "--reason", "r"), "a.b.c", "no signed token"),
    (("aarhus", "--jwt", "-", "--reason", "r"), jwt(sub="anna"), "it has no id"),
])  # fmt: skip
def test_what_cannot_be_refused_is_said(data: Path, words: tuple[str, ...], given: str, sentence: str) -> None:
    done = run(data, "refuse", *words, given=given)
    assert done.exit_code in (1, 2), done.output
    assert sentence in done.output
    ledger = Ledger.open(f"sqlite:///{data}/ledger.sqlite")
    assert ledger.refused_tokens.in_force(0.0) == ()
    ledger.close()
