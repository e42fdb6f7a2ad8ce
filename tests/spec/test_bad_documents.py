"""Every bad document ever seen, beside the sentences it is answered with.

To add one, put it into `bad/` (a file, or a folder for several files), run
`python tests/spec/test_bad_documents.py` to write what it gets now beside it, and read that as its author
would.
"""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from samdrift.reading import DocumentRejected, read_document

BAD = Path(__file__).parent / "bad"
CASES = sorted(p for p in BAD.iterdir() if p.is_dir() or p.suffix == ".yaml")


def _answer(document: Path) -> str:
    try:
        read_document(document, environment={"HOME": "/home/somebody"})
    except DocumentRejected as rejected:
        return "".join(f"{finding}\n" for finding in rejected.findings)
    return ""


@pytest.mark.parametrize("document", CASES, ids=lambda p: p.stem)
def test_a_bad_document_gets_its_sentences(document: Path) -> None:
    expected = BAD / f"{document.stem}.txt"
    assert expected.read_text(encoding="utf-8").strip(), "a bad document without a sentence is a good one"
    assert _answer(document) == expected.read_text(encoding="utf-8")


def test_there_are_many_and_each_sentence_has_its_document() -> None:
    assert len(CASES) >= 45
    assert {p.stem for p in BAD.glob("*.txt")} == {p.stem for p in CASES}


def test_nobody_is_answered_in_the_jargon_of_our_libraries() -> None:
    jargon = (
        "Input should",
        "Value error",
        "pydantic",
        "NoneType",
        "valid dictionary",
        "tuple",
        "instance of",
        "hunter2",
    )
    answers = "".join(p.read_text(encoding="utf-8") for p in BAD.glob("*.txt"))
    assert [word for word in jargon if word in answers] == []


if __name__ == "__main__":
    for case in CASES:
        target = BAD / f"{case.stem}.txt"
        if not target.exists() or "--all" in sys.argv:
            target.write_text(_answer(case), encoding="utf-8")
