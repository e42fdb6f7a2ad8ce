"""A document is read whole: what it means, and that nothing written can make the reader fall over."""

from __future__ import annotations

import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.spec.document import Spec
from samdrift.spec.findings import Rejected
from samdrift.spec.parsing import parse_document
from samdrift.spec.strict_yaml import MAX_BYTES, resolve_plain
from samdrift.spec.translating import translate

SMALL = """\
samdrift: 1
community: {name: Test}
organisations: {aarhus: {inhabitants: 367095}, viborg: {models: [chat]}}
pools: {here: {devices: [{kind: cpu}]}}
models: {chat: {weights: "package:pack/chat.gguf", pool: here}}
"""


def read(text: str, **environment: str) -> Spec | Rejected:
    return parse_document({"community.yaml": text}, environment=environment)


def read_well(text: str, **environment: str) -> Spec:
    spec = read(text, **environment)
    assert isinstance(spec, Spec), spec
    return spec


def test_the_least_document_has_every_default() -> None:
    spec = read_well(SMALL)
    assert spec.gateway.listen == "127.0.0.1:8080"
    assert spec.gateway.max_body == 20 * 2**20
    assert spec.organisations["viborg"].models == ("chat",)
    assert spec.fairness.wait.batch == 900.0


def test_norway_and_the_switches_keep_their_names() -> None:
    text = SMALL.replace("{aarhus", "{no: {}, on: {}, 0123: {}, 2026-01-01: {}, null: {}, 12e3: {}, aarhus")
    assert list(read_well(text).organisations)[:6] == ["no", "on", "0123", "2026-01-01", "null", "12e3"]


def test_only_plain_words_have_a_type_of_their_own() -> None:
    meant = {
        "true": True,
        "False": False,
        "~": None,
        "": None,
        "12": 12,
        "-0": 0,
        "1.5": 1.5,
        ".5": 0.5,
        "1e3": 1000.0,
    }
    assert {word: resolve_plain(word) for word in meant} == meant
    for word in (
        "no",
        "on",
        "y",
        "017",
        "0o17",
        "0x1F",
        "1_000",
        "12:30",
        "2026-01-01",
        ".inf",
        ".nan",
        "1e999",
        "٣",
        "+",
        ".",
        "e5",
    ):
        assert resolve_plain(word) == word
    assert resolve_plain("9" * 5000) == "9" * 5000


def test_an_anchor_may_be_used_again() -> None:
    spec = read_well(
        SMALL.replace("{inhabitants: 367095}", "&one {inhabitants: 367095}").replace("{models: [chat]}", "*one")
    )
    assert spec.organisations["aarhus"] == spec.organisations["viborg"]


def test_a_secret_is_looked_for_but_never_kept() -> None:
    spec = read_well(SMALL + "ledger: {url: '${env:LEDGER}'}\n", LEDGER="postgresql://u:hunter2@db/samdrift")
    assert spec.ledger.url == "${env:LEDGER}"
    assert "hunter2" not in repr(spec) + spec.model_dump_json()


def test_a_secret_in_a_wrong_document_is_not_repeated() -> None:
    answer = read(SMALL + "ledger: {url: 'hunter2 and more'}\nobserve: {listen: 7}\n")
    assert isinstance(answer, Rejected)
    assert "hunter2" not in "".join(map(str, answer.findings))


def test_a_document_beyond_four_mebibytes_is_refused_at_once() -> None:
    answer = read("# " + "x" * MAX_BYTES)
    assert isinstance(answer, Rejected)
    assert "larger than 4 MiB" in answer.findings[0].sentence


def test_thousands_of_faults_are_told_in_bounded_number() -> None:
    answer = read(SMALL + "".join(f"unknown{n}: 1\n" for n in range(5000)))
    assert isinstance(answer, Rejected)
    assert len(answer.findings) <= 210
    assert any("more findings" in f.sentence for f in answer.findings)


def test_deep_brackets_and_long_flows_end_early() -> None:
    for text in (
        "[" * 100_000,
        "{a: " * 100_000,
        "- " * 100_000,
        "? " * 100_000,
        "&a " * 1000,
        "a: [" + "x, " * 500_000 + "]",
    ):
        assert isinstance(read(text), Rejected)


pieces = st.sampled_from(
    [
        *SMALL.split(),
        *"{}[]:,-&*!|>'\"#?%@`\n\t ",
        ": ",
        "- ",
        "\n  ",
        "<<",
        "&a",
        "*a",
        "!!int",
        "---",
        "${env:X}",
        "null",
        "0",
        "-1",
        "1e400",
        "true",
        "\ufeff",
        "\x85",
        "\u2028",
        "ø",
        "\ud800",
        "\x00",
    ]
)


@given(st.one_of(st.text(), st.lists(pieces).map("".join)))
@settings(max_examples=300, deadline=None)
def test_no_text_at_all_makes_the_reader_fall_over(text: str) -> None:
    assert isinstance(read(text), Spec | Rejected)


words = st.text(st.characters(codec="ascii"), max_size=8)
keys = st.sampled_from(["name", "share", "chat", "x"])
plain_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), words),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3),
    max_leaves=6,
)


@given(st.data())
@settings(max_examples=200, deadline=None)
def test_a_wrong_value_anywhere_is_answered_at_its_place_without_jargon(data: st.DataObject) -> None:
    document = yaml.safe_load(SMALL + "gateway: {timeouts: {idle: 5m}}\nfairness: {cost: {input: 1}}\nledger: {url: ''}\n")
    at, path = document, []
    while True:
        path.append(data.draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at))))))
        inner = at[path[-1]]
        if not isinstance(inner, dict | list) or not inner or data.draw(st.booleans()):
            break
        at = inner
    at[path[-1]] = data.draw(plain_values)
    answer = read(yaml.safe_dump(document, allow_unicode=True))
    for finding in answer.findings if isinstance(answer, Rejected) else ():
        assert finding.where.startswith("community.yaml:")
        assert finding.sentence.endswith(".")
        assert finding.remedy.endswith((".", "?", "…"))
        assert not any(word in str(finding) for word in ("Input should", "Value error", "valid ", "instance"))


def test_a_kind_of_error_we_have_not_met_still_gets_a_plain_sentence() -> None:
    sentence, remedy = translate(
        {"type": "new_error", "loc": ("gateway", "listen"), "msg": "Input should be odd", "input": []}
    )
    assert (sentence, remedy) == ("This is a list, where text belongs.", "Write text.")


@given(st.lists(st.integers(0, 3), min_size=9, max_size=9))
def test_a_folder_says_what_its_files_say_together(assignment: list[int]) -> None:
    lines = [
        "community: {name: Test}",
        "organisations: {aarhus: {inhabitants: 367095}}",
        "organisations: {aarhus: {name: Aarhus}}",
        "organisations: {viborg: {models: [chat]}}",
        "pools: {here: {devices: [{kind: cpu}]}}",
        "models: {chat: {weights: 'package:pack/chat.gguf'}}",
        "models: {chat: {pool: here}}",
        "gateway: {timeouts: {idle: 1m}}",
        "gateway: {max_body: 1MiB}",
    ]
    files = {
        f"{n}-{file}.yaml": f"samdrift: 1\n{line}\n" for n, (file, line) in enumerate(zip(assignment, lines, strict=True))
    }
    folder = parse_document(dict(sorted(files.items(), key=lambda f: f[0][2:])), environment={})
    whole = read_well(
        SMALL.replace("367095}", "367095, name: Aarhus}") + "gateway: {timeouts: {idle: 1m}, max_body: 1MiB}\n"
    )
    assert folder == whole
