"""Signed tokens: which are believed, for whom, and every way of forging one that we know."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from hypothesis import given
from hypothesis import strategies as st
from jwt.api_jws import PyJWS
from tests.access.issuer import (
    AUDIENCE,
    ED,
    ISSUER,
    NOW,
    OTHER_RSA,
    P256,
    P384,
    RSA,
    claims,
    forged,
    pem,
    public,
    published,
    token,
)

from samdrift.access.keysets import KeySet, key_set_of
from samdrift.access.principal import Principal
from samdrift.access.pseudonyms import pseudonym
from samdrift.access.refusal import Refusal
from samdrift.access.refused_tokens import By, RefusedToken, RefusedTokens
from samdrift.access.roster import Roster
from samdrift.access.tokens import Tokens
from samdrift.spec.document import Spec
from samdrift.spec.problems import Reason, render_problem

KEYS = key_set_of(published(public(RSA, "one"), public(P256, "two"), public(ED, "three")))
ANNA = Principal("aarhus", "default", "jwt:idp", "anna", "jwt")


def spec(**issuer: object) -> Spec:
    return Spec.model_validate({
        "samdrift": 1,
        "community": {"name": "Test"},
        "issuers": {"idp": {"issuer": ISSUER, "audience": AUDIENCE, "jwks": "https://idp.example.dk/keys", **issuer}},
        "organisations": {
            "aarhus": {
                "projects": {"borger-chat": {}},
                "identity": [
                    {"jwt": {"issuer": "idp", "claim": "org", "equals": "aarhus"}},
                    {"jwt": {"issuer": "idp", "claim": "groups", "equals": "borgerservice", "project": "borger-chat"}},
                ],
            },
            "viborg": {"identity": [{"jwt": {"issuer": "idp", "claim": "realm.org", "equals": "viborg"}}]},
        },
        "pools": {"here": {"devices": [{"kind": "cpu"}]}},
        "models": {"chat": {"weights": "file:chat.gguf", "pool": "here"}},
    })  # fmt: skip


SPEC = spec()


def decided(text: str, now: float = NOW, document: Spec = SPEC, keys: KeySet | None = KEYS) -> Principal | Refusal:
    tokens = Tokens(document, {} if keys is None else {"idp": keys})
    return Roster.of(document, [], tokens).decide(f"Bearer {text}", now)


def refused(text: str, now: float = NOW, **more: object) -> tuple[Reason, str]:
    answer = decided(text, now, **more)
    assert isinstance(answer, Refusal), answer
    _, body = render_problem(answer.reason, **answer.named)
    return answer.reason, json.loads(body)["error"]["message"]


# -- whom they let in -------------------------------------------------------------------------------------------------


def test_a_token_of_a_declared_issuer_says_who_asks() -> None:
    assert decided(token()) == ANNA


@pytest.mark.parametrize(("key", "algorithm", "kid"), [(P256, "ES256", "two"), (RSA, "RS256", "one")])
def test_each_kind_of_key_verifies_what_it_is_for(key: object, algorithm: str, kid: str) -> None:
    assert decided(token(key, algorithm, kid)) == ANNA


def test_an_algorithm_is_accepted_when_the_document_names_it() -> None:
    assert refused(token(ED, "EdDSA", "three"))[0] is Reason.INVALID_TOKEN
    assert decided(token(ED, "EdDSA", "three"), document=spec(algorithms=["EdDSA"])) == ANNA


def test_an_audience_may_stand_in_a_list() -> None:
    assert decided(token(aud=["other", AUDIENCE])) == ANNA


def test_a_claim_may_be_a_list_and_may_stand_inside_of_another() -> None:
    assert decided(token(org=None, groups=["staff", "borgerservice"])).project == "borger-chat"
    assert decided(token(org=None, realm={"org": "viborg"})).organisation == "viborg"
    assert decided(token(org=None, **{"realm.org": "viborg"})).organisation == "viborg"


def test_the_issuer_may_name_the_project_and_the_user_in_claims_of_the_documents_choice() -> None:
    document = spec(project="app", user="email")
    who = decided(token(app="borger-chat", email="anna@aarhus.dk"), document=document)
    assert who == Principal("aarhus", "borger-chat", "jwt:idp", "anna@aarhus.dk", "jwt")
    assert refused(token(app="unheard-of"), document=document)[0] is Reason.UNKNOWN_IDENTITY
    assert decided(token(), document=spec(user="")).user == ""


# -- whom they do not -------------------------------------------------------------------------------------------------


def test_an_unsigned_token_is_refused_however_none_is_written() -> None:
    for algorithm in ("none", "None", "NONE", "nOnE", "", None, 0, [], {}):
        for signature in (b"", b"x"):
            reason, message = refused(forged({"alg": algorithm, "typ": "JWT", "kid": "one"}, signature))
            assert reason is Reason.INVALID_TOKEN
            assert "not signed in a way that is accepted" in message
    header, body, _ = token().split(".")
    assert refused(f"{header}.{body}.")[0] is Reason.INVALID_TOKEN


@pytest.mark.parametrize("secret", [pem(RSA), pem(RSA).strip(), b"", json.dumps(public(RSA, "one")).encode()])
def test_the_public_key_is_no_shared_secret(secret: bytes) -> None:
    for algorithm, digest in (("HS256", hashlib.sha256), ("HS512", hashlib.sha512)):
        unsigned = forged({"alg": algorithm, "kid": "one"}).rpartition(".")[0]
        signature = base64.urlsafe_b64encode(hmac.digest(secret, unsigned.encode(), digest)).rstrip(b"=").decode()
        assert refused(f"{unsigned}.{signature}")[0] is Reason.INVALID_TOKEN


def test_an_algorithm_is_bound_to_the_kind_of_its_key() -> None:
    # The signature is right for the key that made it, and the header names a key of another kind.
    assert "signature is not right" in refused(token(P256, "ES256", "one"))[1]
    assert "signature is not right" in refused(token(RSA, "RS256", "two"))[1]
    only_pss = key_set_of(published(public(RSA, "one", alg="PS256")))
    assert "signature is not right" in refused(token(), keys=only_pss)[1]
    assert decided(token(RSA, "PS256"), document=spec(algorithms=["PS256"]), keys=only_pss) == ANNA


def test_a_key_inside_the_token_is_not_looked_at() -> None:
    mine = {"jwk": public(OTHER_RSA, "one"), "jku": "https://evil.example/keys", "x5u": "https://evil.example/c", "x5c": ["AA=="]}
    assert "signature is not right" in refused(token(OTHER_RSA, header=mine))[1]


def test_what_it_asks_to_be_understood_and_is_not_is_refused() -> None:
    assert "not understood" in refused(token(header={"crit": ["exp"], "exp": 1}))[1]
    assert refused(token(header={"b64": False, "crit": ["b64"]}))[0] is Reason.INVALID_TOKEN


def test_a_changed_claim_breaks_the_signature() -> None:
    header, _, signature = token(org="viborg").split(".")
    body = base64.urlsafe_b64encode(json.dumps(claims()).encode()).rstrip(b"=").decode()
    assert "signature is not right" in refused(f"{header}.{body}.{signature}")[1]


def test_a_token_for_another_service_is_refused() -> None:
    for audience in (None, "other", "Samdrift", "samdrift ", "", ["other"], [], {"samdrift": 1}, 1):
        reason, message = refused(token(aud=audience) if not isinstance(audience, int | dict) else _raw(aud=audience))
        assert reason is Reason.INVALID_TOKEN
        assert "another service" in message


def test_a_token_of_an_issuer_that_nobody_declared_is_refused() -> None:
    for issuer in ("https://evil.example", ISSUER + "/", ISSUER.upper(), None, ""):
        assert "nobody here knows its issuer" in refused(token(iss=issuer))[1]
    assert "nobody here knows its issuer" in refused(_raw(iss=[ISSUER]))[1]


def test_an_expired_token_is_refused_when_the_clocks_cannot_explain_it() -> None:
    assert decided(token(exp=NOW - 29)) == ANNA
    assert refused(token(exp=NOW - 30)) == (Reason.EXPIRED_TOKEN, "This token has expired. Ask its issuer for a new one.")
    for never in (None, "later", True, float("inf"), float("nan"), 1e300, 10**400, -(10**400), [NOW + 600]):
        assert "when it expires" in refused(_raw(exp=never))[1]


def test_a_token_of_the_future_is_refused() -> None:
    assert decided(token(nbf=NOW + 29, iat=NOW + 29)) == ANNA
    assert "not in force yet" in refused(token(nbf=NOW + 31))[1]
    assert "not in force yet" in refused(token(iat=NOW + 31))[1]
    for never in ("now", 10**400, -(10**400)):
        assert "not in force yet" in refused(_raw(nbf=never))[1]


def test_a_token_that_says_a_thing_twice_is_refused_lest_others_read_the_other() -> None:
    header, said = json.dumps({"alg": "RS256", "kid": "one"}), json.dumps(claims())
    assert decided(_signed(header, said)) == ANNA
    for twice in ((header, said[:-1] + ', "org": "viborg"}'), (header, said[:-1] + ', "realm": {"org": "a", "org": "b"}}'),
        ('{"alg": "none", ' + header[1:], said)):  # fmt: skip
        assert "not a signed token that can be read" in refused(_signed(*twice))[1]


def test_a_token_that_is_too_long_is_told_so() -> None:
    for size in (8_000, 20_000):
        assert "more than 8192 characters" in refused(token(groups=["x" * size]))[1]


def test_an_unknown_key_is_asked_for_and_the_token_refused_meanwhile() -> None:
    asked: list[str] = []
    tokens = Tokens(SPEC, {"idp": KEYS}, asked.append)
    answer = tokens.decide(token(kid="new"), NOW)
    assert isinstance(answer, Refusal)
    assert "has not published" in answer.named["why"]
    assert asked == ["idp"]
    for kid in ("../../etc/passwd", "' OR 1=1 --", "one\x00", "ONE", "x" * 300):
        assert isinstance(tokens.decide(token(kid=kid), NOW), Refusal)


def test_without_a_kid_only_the_one_key_that_fits_is_meant() -> None:
    assert decided(token(kid=None)) == ANNA
    two = key_set_of(published(public(RSA, "one"), public(OTHER_RSA, "four")))
    assert "signature is not right" in refused(token(kid=None), keys=two)[1]


def test_while_no_keys_are_known_one_is_told_to_try_again() -> None:
    asked: list[str] = []
    answer = Tokens(SPEC, {}, asked.append).decide(token(), NOW)
    assert isinstance(answer, Refusal)
    assert (answer.reason, asked) == (Reason.ISSUER_UNAVAILABLE, ["idp"])
    assert render_problem(answer.reason, **answer.named)[0] == 503


def test_a_token_that_speaks_for_nobody_or_for_two_is_refused() -> None:
    assert refused(token(org="odense"))[0] is Reason.UNKNOWN_IDENTITY
    assert refused(token(org=None))[0] is Reason.UNKNOWN_IDENTITY
    assert refused(token(realm={"org": "viborg"}))[0] is Reason.AMBIGUOUS_IDENTITY
    assert refused(token(groups=["borgerservice"]))[0] is Reason.AMBIGUOUS_IDENTITY


@pytest.mark.parametrize("said", [
    "Aarhus", "AARHUS", "aarhus ", " aarhus", "aarhus\x00", "a\u0430rhus", "\uff41arhus", "aarhus\u200b", "a\u0061\u0301rhus",
    ["aarhus "], {"aarhus": True}, 1, True, "aarhus/../viborg", "viborg,aarhus",
])  # fmt: skip
def test_an_organisation_is_named_to_the_letter(said: object) -> None:
    assert refused(token(org=said))[0] is Reason.UNKNOWN_IDENTITY


@pytest.mark.parametrize("user", ["a\nb", "a\x00b", "x" * 300, 7, ["anna"], {"name": "anna"}, "\u202eanna"])
def test_a_user_that_is_no_plain_text_is_nobody(user: object) -> None:
    assert decided(token(sub=None, person=user), document=spec(user="person")).user == ""


# -- what is remembered -----------------------------------------------------------------------------------------------


def test_a_good_token_is_remembered_until_it_expires_and_no_longer() -> None:
    tokens = Tokens(SPEC, {"idp": KEYS})
    text = token()
    assert tokens.decide(text, NOW) is tokens.decide(text, NOW + 629)
    answer = tokens.decide(text, NOW + 630)
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.EXPIRED_TOKEN
    assert tokens.remembered == 0


def test_what_is_remembered_is_bounded_and_bad_tokens_are_not_remembered() -> None:
    tokens = Tokens(SPEC, {"idp": KEYS}, most=3)
    good = [token(P256, "ES256", "two", jti=str(number)) for number in range(5)]
    assert all(tokens.decide(text, NOW) == ANNA for text in good)
    assert tokens.remembered == 3
    for number in range(10):
        tokens.decide(token(OTHER_RSA, jti=str(number)), NOW)
    assert tokens.remembered == 3
    assert all(tokens.decide(text, NOW) == ANNA for text in good), "who was forgotten is verified again"


def test_a_remembered_token_is_not_found_by_one_that_differs() -> None:
    tokens = Tokens(SPEC, {"idp": KEYS})
    text = token()
    tokens.decide(text, NOW)
    for other in (text[:-1], text + "=", text + "A", text.replace(".", "..", 1)):
        assert isinstance(tokens.decide(other, NOW), Refusal)


def test_withdrawn_keys_believe_nothing_that_was_believed_before() -> None:
    rotated = key_set_of(published(public(OTHER_RSA, "one")))
    assert refused(token(), keys=rotated)[0] is Reason.INVALID_TOKEN
    assert decided(token(OTHER_RSA), keys=rotated) == ANNA


def test_without_issuers_a_token_is_just_no_key() -> None:
    plain = SPEC.model_copy(update={"issuers": {}, "organisations": {"aarhus": SPEC.organisations["viborg"].model_copy(
        update={"identity": ()})}})  # fmt: skip
    answer = Roster.of(plain, []).decide(f"Bearer {token()}", NOW)
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.INVALID_KEY


# -- whatever the text ------------------------------------------------------------------------------------------------

_PIECES = st.one_of(st.binary(max_size=40), st.dictionaries(st.sampled_from(["alg", "kid", "iss", "aud", "exp"]), st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5), st.just("RS256"), st.just("one"), st.just(ISSUER),
    st.just(AUDIENCE), st.lists(st.integers(), max_size=2))).map(lambda said: json.dumps(said).encode()))  # fmt: skip


@given(st.tuples(_PIECES, _PIECES, _PIECES))
def test_no_text_makes_the_reader_of_tokens_fall_over_or_open(pieces: tuple[bytes, bytes, bytes]) -> None:
    text = ".".join(base64.urlsafe_b64encode(piece).rstrip(b"=").decode() for piece in pieces)
    assert isinstance(decided(text), Refusal)


@pytest.mark.parametrize("text", [
    "..", "a.b.c", "." * 50, "e30.e30.", "\ud800.x.y", "æ.ø.å", ("x" * 4000 + ".") * 2 + "x", "W10.W10.W10", "bnVsbA.bnVsbA.",
    base64.urlsafe_b64encode(b"[" * 3000).decode().rstrip("=") + ".e30.x",
])  # fmt: skip
def test_what_is_no_token_is_refused_with_a_sentence(text: str) -> None:
    answer = Tokens(SPEC, {"idp": KEYS}).decide(text, NOW)
    assert isinstance(answer, Refusal)
    assert answer.reason is Reason.INVALID_TOKEN


# -- key sets ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("entry", [
    {"kty": "oct", "k": "c2VjcmV0c2VjcmV0c2VjcmV0c2VjcmV0", "kid": "one", "alg": "HS256"},
    public(RSA, "one", use="enc"),
    public(RSA, "one", key_ops=["sign"]),
    public(RSA, "one", d="AQAB"),
    public(RSA, "one", alg="HS256"),
    public(RSA, "one", alg="none"),
    public(P256, "one", crv="P-384"),
    {"kty": "EC", "crv": "secp256k1", "x": "AA", "y": "AA", "kid": "one"},
    {"kty": "RSA", "n": "AQAB", "e": "AQAB", "kid": "one"},
    {"kty": "RSA", "n": "!", "e": {}, "kid": "one"},
    "one", None, 7, [],
])  # fmt: skip
def test_a_key_that_must_not_verify_is_passed_over(entry: object) -> None:
    keys = key_set_of(published(entry, public(P384, "other")))
    assert not keys.knows("one")
    assert keys.knows("other")


def test_two_keys_of_one_name_are_neither() -> None:
    keys = key_set_of(published(public(RSA, "one"), public(OTHER_RSA, "one"), public(P256, "two")))
    assert not keys.knows("one")
    assert keys.knows("two")


@pytest.mark.parametrize(("text", "sentence"), [
    (b"", "not JSON"), (b"\xff", "not JSON"), (b"[" * 100_000, "not JSON"), (b"[]", "list `keys`"),
    (b'{"keys": {}}', "list `keys`"),
    (b'{"keys": []}', "no key in it"), (b" " * 300_000, "larger than"), (published(*[public(RSA, "one")] * 101), "more than 100"),
    (published(public(RSA, "one"), public(RSA, "one")), "no key in it"),
])  # fmt: skip
def test_what_is_no_set_of_keys_says_why(text: bytes, sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        key_set_of(text)


# -- those that are refused -----------------------------------------------------------------------------------------------

KEY = b"u" * 32


def refusal(by: By = "token", named: str = "jti-1", organisation: str = "aarhus", **more: Any) -> RefusedToken:
    usual: dict[str, Any] = {"issued_before": None, "until": NOW + 1_000, "created_at": NOW, "reason": "it leaked"}
    return RefusedToken("r1", organisation, by, named, **{**usual, **more})


def despite(refused: RefusedToken, text: str, now: float = NOW) -> Reason | str:
    """Whose token it is all the same, or why not."""
    tokens = Tokens(SPEC, {"idp": KEYS}, refused=RefusedTokens([refused], KEY))
    answer = tokens.decide(text, now)
    return answer.reason if isinstance(answer, Refusal) else answer.organisation


def of_anna(**more: Any) -> RefusedToken:
    return refusal("user", pseudonym(KEY, more.get("organisation", "aarhus"), "anna"), **more)


def test_one_token_is_refused_by_its_id_and_no_other() -> None:
    assert despite(refusal(), token(jti="jti-1")) is Reason.REFUSED_TOKEN
    for other in (token(jti="jti-2"), token(), token(jti=1), token(jti="jti-1 ")):
        assert despite(refusal(), other) == "aarhus"


def test_a_refusal_is_for_the_tokens_of_ones_own_organisation() -> None:
    foreign = token(jti="jti-1", org=None, realm={"org": "viborg"})
    assert despite(refusal(), foreign) == "viborg", "they share an issuer, and nobody shuts out another's people"
    assert despite(refusal(organisation="viborg"), foreign) is Reason.REFUSED_TOKEN
    assert despite(of_anna(organisation="viborg"), token()) == "aarhus"


def test_tokens_of_a_user_are_refused_that_were_issued_before() -> None:
    skew = SPEC.issuers["idp"].skew
    before = of_anna(issued_before=NOW)
    assert despite(before, token(iat=NOW - 300)) is Reason.REFUSED_TOKEN
    assert despite(before, token(iat=NOW + skew - 1)) is Reason.REFUSED_TOKEN, "as far as the issuer's clock may differ"
    assert despite(before, token(iat=None)) is Reason.REFUSED_TOKEN, "it may have been issued before"
    assert despite(before, token(iat=NOW + skew + 1), NOW + skew + 1) == "aarhus"
    assert despite(before, token(sub="bo", iat=NOW - 300)) == "aarhus"
    assert despite(of_anna(), token(iat=NOW + 50), NOW + 50) is Reason.REFUSED_TOKEN


def test_a_user_is_refused_however_strange_the_name() -> None:
    for name in ("anna\n", "x" * 300, "\u202eanna"):
        strange = refusal("user", pseudonym(KEY, "aarhus", name))
        assert despite(strange, token(sub=name)) is Reason.REFUSED_TOKEN
    assert despite(refusal("user", pseudonym(KEY, "aarhus", "")), token(sub=None)) == "aarhus", "who has no name is nobody's"


def test_a_refusal_ends() -> None:
    assert despite(refusal(until=NOW + 10), token(jti="jti-1"), NOW + 9) is Reason.REFUSED_TOKEN
    assert despite(refusal(until=NOW + 10), token(jti="jti-1"), NOW + 10) == "aarhus"


def test_that_a_token_is_refused_is_told_only_to_whoever_has_a_good_one() -> None:
    unsigned = forged({"alg": "RS256", "kid": "one"}, b"x" * 256, jti="jti-1")
    assert despite(refusal(), unsigned) is Reason.INVALID_TOKEN


def _raw(**said: object) -> str:
    """A token signed rightly, whose claims no library would write."""
    return PyJWS().encode(json.dumps(claims(**said)).encode(), RSA, "RS256", {"kid": "one"})


def _signed(header: str, said: str) -> str:
    """A token signed rightly, whose header and claims are these texts."""
    pieces = [base64.urlsafe_b64encode(part.encode()).rstrip(b"=") for part in (header, said)]
    signature = RSA.sign(b".".join(pieces), padding.PKCS1v15(), hashes.SHA256())
    return b".".join((*pieces, base64.urlsafe_b64encode(signature).rstrip(b"="))).decode()
