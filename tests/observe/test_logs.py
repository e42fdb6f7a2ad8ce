"""Logs: one line of JSON an event, with nothing in it that a client said."""

from __future__ import annotations

import json
import logging
import os
import stat
import threading

import pytest

from samdrift.observe.logs import FIELDS, LogFile

log = logging.getLogger("samdrift.engines.processes")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "samdrift.log"


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()]


def test_an_event_is_a_line_with_its_facts(path):
    with LogFile(path):
        log.info("replica up", extra={"replica": "chat-small-0", "seconds": 3, "generation": 2})
    (line,) = lines(path)
    assert line.pop("at").endswith("+00:00")
    assert line == {
        "level": "info",
        "room": "samdrift.engines.processes",
        "event": "replica up",
        "replica": "chat-small-0",
        "seconds": 3.0,
        "generation": 2,
    }


def test_what_is_no_known_simple_field_is_withheld_and_named(path):
    with LogFile(path):
        log.warning(
            "request odd",
            extra={
                "prompt": "SECRET",
                "replica": {"text": "SECRET"},
                "rows": "SECRET",
                "seconds": float("nan"),
                "status": 400,
            },
        )
        log.warning("said %s", "SECRET")
        log.warning("Content: SECRET!")
        logging.getLogger("some.library").error("body was SECRET")
    assert "SECRET" not in path.read_text()
    first, *others = lines(path)
    assert (first["withheld"], first["status"]) == (["prompt", "replica", "rows", "seconds"], 400)
    assert [(line["event"], line["withheld"]) for line in others] == [("unnamed", ["message"])] * 3
    assert others[2]["room"] == "some.library"
    assert others[2]["where"][0].startswith("test_logs:")


def test_an_exception_says_its_types_and_places_but_not_what_it_choked_on(path):
    def fail():
        try:
            int("SECRET")
        except ValueError as error:
            raise RuntimeError("SECRET") from error

    with LogFile(path):
        try:
            fail()
        except RuntimeError:
            log.exception("replica lost")
    assert "SECRET" not in path.read_text()
    (line,) = lines(path)
    assert line["error"] == ["RuntimeError", "ValueError"]
    assert all(place.startswith("test_logs:") for place in line["where"])


def test_control_characters_and_long_values_cannot_spoil_a_terminal_or_forge_a_line(path):
    with LogFile(path):
        log.info(
            "replica up",
            extra={"path": '/v1\n{"event":"forged"}\x1b[2J\u2028\u202e\x9b', "reason": "x" * 10_000},
        )
    raw = path.read_bytes()
    assert raw.count(b"\n") == 1
    assert not any(byte < 0x20 or byte > 0x7E for byte in raw.rstrip(b"\n"))
    assert len(lines(path)[0]["reason"]) == 200


def test_the_file_is_private_and_set_aside_when_it_has_grown(path):
    before = os.umask(0)
    try:
        with LogFile(path, max_bytes=2_000, keep=2):
            for n in range(200):
                log.info("replica up", extra={"count": n})
    finally:
        os.umask(before)
    files = sorted(path.parent.iterdir())
    assert [file.name for file in files] == ["samdrift.log", "samdrift.log.1", "samdrift.log.2"]
    assert all(file.stat().st_size <= 2_000 for file in files)
    assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
    assert lines(path)[-1]["count"] == 199


def test_a_log_that_cannot_keep_up_drops_lines_and_counts_them(path):
    with LogFile(path, queue_size=10) as file:
        hold = threading.Event()
        file._file.addFilter(lambda _: hold.wait(30))
        for n in range(50):
            log.info("replica up", extra={"count": n})
        assert file.dropped >= 39
        hold.set()
    assert len(lines(path)) + file.dropped == 50


def test_after_closing_nothing_is_written_and_levels_are_as_before(path):
    level = logging.getLogger("samdrift").level
    with LogFile(path, level=logging.WARNING):
        log.info("replica up")
    log.error("replica lost")
    assert path.read_text() == ""
    assert logging.getLogger("samdrift").level == level


def test_fields_do_not_hide_what_a_line_always_has():
    assert not FIELDS.keys() & {"at", "level", "room", "event", "error", "where", "withheld"}
    assert not FIELDS.keys() & set(vars(logging.makeLogRecord({})))
