"""What a name stands for, by who asks: adapters, engines of one organisation, and aliases."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from samdrift.access.principal import Principal, Scope
from samdrift.access.refusal import Refusal
from samdrift.access.roster import Roster
from samdrift.fairshare.share import dues, tree_of
from samdrift.spec.checking import check
from samdrift.spec.document import Spec
from samdrift.spec.names import Named
from samdrift.spec.problems import Reason, render_problem

SPEC = Spec.model_validate({
    "samdrift": 1,
    "community": {"name": "Names"},
    "organisations": {
        "aarhus": {},
        "bornholm": {"aliases": {"chat": "chat-bornholm", "letters": "brev"}},
        "samsoe": {"models": ["brev-for-all"]},
    },
    "pools": {"here": {"devices": [{"kind": "cpu"}]}},
    "models": {
        "chat": {"weights": "file:chat.gguf", "pool": "here", "adapters": {
            "brev": {"weights": "file:brev.gguf", "organisation": "bornholm"},
            "brev-for-all": {"weights": "file:all.gguf"},
        }},
        "chat-bornholm": {"weights": "file:chat.gguf", "pool": "here", "organisation": "bornholm", "adapters": {
            "own": {"weights": "file:own.gguf"},
        }},
    },
    "aliases": {"standard": "chat", "letters": "brev-for-all"},
})  # fmt: skip
ROSTER = Roster.of(SPEC, [])


def who(organisation: str, *models: str) -> Principal:
    return Principal(organisation, "default", "k", scope=Scope(frozenset(models) or None))


def refused(organisation: str, name: str) -> tuple[Reason, dict[str, str]]:
    found = ROSTER.find(who(organisation), name)
    assert isinstance(found, Refusal), found
    return found.reason, dict(found.named)


def test_the_document_is_in_order() -> None:
    assert check(SPEC) == ()


def test_an_adapter_is_asked_for_by_its_name_and_served_by_its_base() -> None:
    assert ROSTER.find(who("aarhus"), "brev-for-all") == Named("brev-for-all", "chat")
    assert ROSTER.find(who("bornholm"), "brev") == Named("brev", "chat", "bornholm")


def test_what_is_anothers_is_refused_byte_for_byte_as_what_does_not_exist() -> None:
    for name in ("brev", "chat-bornholm", "own"):
        reason, named = refused("aarhus", name)
        assert (reason, named) == (Reason.UNKNOWN_MODEL, {"model": name})
        invented = "x" * len(name)
        other, said = refused("aarhus", invented)
        status, body = render_problem(other, **said)
        assert render_problem(reason, **named) == (status, body.replace(invented.encode(), name.encode()))


def test_what_everybody_may_see_and_one_may_not_use_is_forbidden_and_not_unknown() -> None:
    assert refused("samsoe", "chat") == (Reason.FORBIDDEN_MODEL, {"model": "chat"})
    assert refused("samsoe", "standard") == (Reason.FORBIDDEN_MODEL, {"model": "standard"}), "by the name that was asked for"


def test_an_application_goes_on_asking_for_chat_and_gets_what_is_its_organisations() -> None:
    assert ROSTER.find(who("bornholm"), "chat") == Named("chat-bornholm", "chat-bornholm", "bornholm")
    assert ROSTER.find(who("aarhus"), "chat") == Named("chat", "chat")


def test_an_organisations_own_alias_comes_before_the_communitys() -> None:
    assert ROSTER.find(who("bornholm"), "letters") == Named("brev", "chat", "bornholm")
    assert ROSTER.find(who("aarhus"), "letters") == Named("brev-for-all", "chat")


def test_what_the_document_names_itself_is_no_alias() -> None:
    assert ROSTER.find_model(who("bornholm"), "chat") == Named("chat", "chat")


def test_a_key_for_one_name_opens_no_other() -> None:
    narrow = who("bornholm", "brev")
    assert ROSTER.find(narrow, "brev") == Named("brev", "chat", "bornholm")
    for name in ("chat-bornholm", "brev-for-all"):
        found = ROSTER.find(narrow, name)
        assert isinstance(found, Refusal)
        assert found.reason is Reason.OUTSIDE_SCOPE
    assert set(ROSTER.listing(narrow)) == {"brev", "letters"}


def test_a_key_for_an_alias_follows_it_where_the_document_leads_it() -> None:
    assert ROSTER.find(who("bornholm", "chat"), "chat") == Named("chat-bornholm", "chat-bornholm", "bornholm")


def test_everybody_sees_a_list_of_his_own() -> None:
    assert list(ROSTER.listing(who("aarhus"))) == ["chat", "brev-for-all", "standard", "letters"]
    assert list(ROSTER.listing(who("bornholm"))) == [
        "chat", "brev", "brev-for-all", "chat-bornholm", "own", "standard", "letters"]  # fmt: skip
    assert list(ROSTER.listing(who("samsoe"))) == ["brev-for-all", "letters"]


@given(
    st.sampled_from(["aarhus", "bornholm", "samsoe", "nobody"]),
    st.sampled_from([*SPEC.aliases, "chat", "brev", "own", "brev-for-all", "chat-bornholm", "no-such"]),
)
def test_what_is_listed_is_what_may_be_asked_for(organisation: str, name: str) -> None:
    assert isinstance(ROSTER.find(who(organisation), name), Named) == (name in ROSTER.listing(who(organisation)))


def test_turns_are_taken_in_the_base_by_those_who_may_use_it_or_an_adapter_of_it() -> None:
    tree = tree_of(SPEC)
    assert set(dues(tree, "chat", 6)) == {"aarhus", "bornholm", "samsoe"}
    assert set(dues(tree, "chat-bornholm", 6)) == {"bornholm"}
    assert dues(tree, "chat-bornholm", 6)["bornholm"].seats == 6, "engines of its own are all its own"
