"""The journal: whole lines only, each once, over every turn of the files."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from samdrift.gateway.journal import Journal, Mark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "receipts.jsonl"


def write(path: Path, *lines: bytes) -> None:
    with path.open("ab") as out:
        out.write(b"".join(lines))


def read(journal: Journal, mark: Mark | None) -> tuple[list[bytes], Mark | None]:
    """What is new since a mark, and the mark behind it."""
    found = list(journal.lines(mark))
    return [line for line, _ in found], found[-1][1] if found else mark


def test_a_journal_that_is_not_there_yet_is_empty(path: Path) -> None:
    assert read(Journal(path), None) == ([], None)
    assert Journal(path).end() == Mark(0, 0)
    assert Journal(path).turn(None) is False


def test_each_line_is_read_once_if_one_goes_on_from_its_mark(path: Path) -> None:
    journal = Journal(path)
    write(path, b"a\n", b"b\n")
    lines, mark = read(journal, None)
    assert lines == [b"a\n", b"b\n"]
    assert mark == journal.end()
    write(path, b"c\n")
    assert read(journal, mark)[0] == [b"c\n"]
    assert read(journal, journal.end()) == ([], journal.end())


def test_each_line_comes_with_the_place_behind_it(path: Path) -> None:
    journal = Journal(path)
    write(path, b"first\n", b"second\n")
    (_, after_first), _ = journal.lines(None)
    assert read(journal, after_first)[0] == [b"second\n"]


def test_a_torn_last_line_is_read_when_it_is_whole(path: Path) -> None:
    journal = Journal(path)
    write(path, b"a\n", b'{"ticket":"t')
    lines, mark = read(journal, None)
    assert lines == [b"a\n"]
    write(path, b'1"}\n')
    assert read(journal, mark)[0] == [b'{"ticket":"t1"}\n']


def test_a_line_without_end_does_not_stop_what_follows(path: Path) -> None:
    journal = Journal(path)
    write(path, b"x" * 200_000 + b"\n", b"a\n")
    lines, mark = read(journal, None)
    assert lines[-1] == b"a\n"
    assert mark == journal.end()


def test_a_large_journal_is_set_aside_and_what_is_still_written_to_it_is_read(path: Path) -> None:
    journal = Journal(path, most=4)
    write(path, b"a\n")
    assert journal.turn(None) is False  # not large yet
    write(path, b"b\n")
    _, mark = read(journal, None)
    with path.open("ab") as envoy:
        assert journal.turn(mark) is True
        assert not path.exists()
        envoy.write(b"c\n")  # until it is told to open the file anew
    write(path, b"d\n")
    lines, mark = read(journal, mark)
    assert lines == [b"c\n", b"d\n"]
    assert mark == journal.end()


def test_what_was_set_aside_goes_when_all_of_it_is_settled_and_not_before(path: Path) -> None:
    journal = Journal(path, most=2)
    write(path, b"a\n")
    _, old = read(journal, None)
    assert journal.turn(old) is True
    aside = path.with_name("receipts.1.jsonl")
    write(path, b"b\n")
    for mark in (None, old):
        assert journal.turn(mark) is False
        assert aside.exists()
    _, new = read(journal, old)
    assert journal.turn(new) is False
    assert not aside.exists()
    assert journal.turn(new) is True  # and then the next may be set aside


def test_nothing_is_set_aside_over_what_is_not_settled(path: Path) -> None:
    journal = Journal(path, most=2)
    write(path, b"a\n")
    assert journal.turn(None) is True
    write(path, b"b\n", b"c\n", b"d\n")
    assert journal.turn(None) is False
    assert read(journal, None)[0] == [b"a\n", b"b\n", b"c\n", b"d\n"]


def test_a_mark_in_a_file_that_is_gone_is_no_mark(path: Path) -> None:
    write(path, b"a\n")
    assert read(Journal(path), Mark(path.stat().st_ino + 1, 99))[0] == [b"a\n"]


def test_a_mark_beyond_the_end_is_of_a_file_that_is_gone(path: Path) -> None:
    """File systems give the number of a deleted file to the next."""
    write(path, b"a\n")
    assert read(Journal(path), Mark(path.stat().st_ino, 3))[0] == [b"a\n"]


@pytest.mark.parametrize("text", [None, "", "x", "1", "1:", ":1", "1:x", "1:2:3"])
def test_a_mark_that_cannot_be_read_is_none(text: str | None) -> None:
    assert Mark.of(text) is None


@given(st.builds(Mark, st.integers(0, 2**64), st.integers(0, 2**64)))
def test_a_mark_comes_back_as_it_went(mark: Mark) -> None:
    assert Mark.of(mark.text()) == mark


@settings(deadline=None)
@given(steps=st.lists(st.sampled_from(["write", "tear", "read", "commit", "turn", "reopen"]), max_size=40))
def test_whatever_happens_each_line_is_read_once_and_none_is_lost(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str]
) -> None:
    path = tmp_path_factory.mktemp("journal") / "receipts.jsonl"
    journal = Journal(path, most=30)
    envoy = path.open("ab", buffering=0)
    written, seen, torn = 0, [], False
    mark: Mark | None = None
    committed: Mark | None = None

    def whole() -> None:
        nonlocal written, torn
        envoy.write(b"\n" if torn else b"%06d\n" % written)
        written, torn = written + 1, False

    for step in [*steps, "reopen", "write", "read"]:
        match step:
            case "write":
                whole()
            case "tear" if not torn:
                envoy.write(b"%06d" % written)
                torn = True
            case "read":
                lines, mark = read(journal, mark)
                seen += lines
            case "commit":
                committed = mark
            case "turn":
                journal.turn(committed)
            case "reopen":
                if torn:  # Envoy writes whole lines to one file
                    whole()
                envoy.close()
                envoy = path.open("ab", buffering=0)
    envoy.close()
    assert seen == [b"%06d\n" % n for n in range(written)]


def test_an_old_journal_is_set_aside_once_it_is_settled_and_deleted_though_nobody_asks_any_more(path: Path) -> None:
    journal = Journal(path)
    write(path, b"a\n", b"b\n")
    assert journal.first() == b"a\n"
    _, mark = read(journal, None)
    assert journal.turn(None, old=True) is False, "what is not settled stays"
    assert journal.turn(mark) is False, "young and small"
    assert journal.turn(mark, old=True) is True
    assert journal.turn(mark) is False
    older = path.with_name("receipts.1.jsonl")
    assert older.exists(), "Envoy still writes there until it has opened the new file"
    write(path)
    assert journal.turn(mark) is False
    assert not older.exists()
    assert journal.first() == b""
    write(path, b"c\n")
    assert read(journal, mark)[0] == [b"c\n"]


def test_an_older_journal_with_a_line_that_is_not_settled_stays(path: Path) -> None:
    journal = Journal(path)
    write(path, b"a\n")
    _, mark = read(journal, None)
    assert journal.turn(mark, old=True) is True
    write(path.with_name("receipts.1.jsonl"), b"late\n")
    write(path)
    journal.turn(mark)
    lines, mark = read(journal, mark)
    assert lines == [b"late\n"]
    journal.turn(mark)
    assert not path.with_name("receipts.1.jsonl").exists()
