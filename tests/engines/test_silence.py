"""No prompt reaches a log: neither of a request that is served nor of one that fails."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from dataclasses import replace

import httpx
import pytest

from samdrift.engines.drivers.llamacpp import LlamaCpp
from samdrift.engines.saying import Sieve

SECRET = "Zebrafinkernes-hemmelighed"


def messages(text):
    return [{"role": "user", "content": text}]


REQUESTS = {
    "one that is served": json.dumps({"messages": messages(SECRET), "max_tokens": 2}),
    "a stream": json.dumps({"messages": messages(SECRET), "max_tokens": 2, "stream": True}),
    "a prompt that is too long": json.dumps({"messages": messages(f"{SECRET} " * 200)}),
    "JSON that is broken off": f'{{"messages": [{{"role": "user", "content": "{SECRET}',
    "JSON that is none": SECRET,
    "messages that are none": json.dumps({"messages": SECRET}),
    "a number that is none": json.dumps({"messages": messages("hi"), "temperature": SECRET}),
    "a schema it cannot use": json.dumps({"messages": messages("hi"), "response_format":
        {"type": "json_schema", "json_schema": {"schema": {"type": SECRET}}}}),
    "a grammar it cannot use": json.dumps({"messages": messages("hi"), "grammar": f"{SECRET} ::="}),
    "a tool it cannot use": json.dumps({"messages": messages("hi"), "tools": [{"type": SECRET}]}),
    "a role it does not know": json.dumps({"messages": [{"role": SECRET, "content": SECRET}], "max_tokens": 1}),
    "text that is not UTF-8": b'{"messages": [{"role": "user", "content": "' + SECRET.encode() + b'\xff\xfe"}]}',
    "lines that look like the engine's": json.dumps({"messages": SECRET, "tools": f"\nsamdrift: {SECRET}\n"}),
}  # fmt: skip


@pytest.fixture
def said(tmp_path, chat, planned_in, until_up):
    """All that an engine of its own says into its log while it gets all those requests, to its very end."""

    def during(before=""):
        planned = replace(planned_in(tmp_path, "generate", chat.planned.weights), context=128)
        return said_by(planned, until_up, before)

    return during


def said_by(planned, until_up, before):
    program = LlamaCpp().program(planned)
    start = f"import sys, samdrift.engines.llamacpp_child as child\n{before}\nsys.exit(child.main(sys.argv[1:]))"
    reading, writing = os.pipe()
    arguments = program.argv[program.argv.index("--weights") :]
    process = subprocess.Popen([sys.executable, "-c", start, *arguments], stdout=writing, stderr=writing)
    os.close(writing)
    try:
        asyncio.run(until_up(planned, process))
        with httpx.Client(transport=httpx.HTTPTransport(uds=planned.address), base_url="http://e", timeout=60) as http:
            for content in REQUESTS.values():
                http.post("/v1/chat/completions", content=content, headers={"connection": "close"})
                http.get(f"/{SECRET}", headers={"connection": "close"})
    finally:
        process.terminate()
        process.wait(timeout=5)
    with os.fdopen(reading) as log:  # ends when the last process that could write has ended
        return log.read()


def test_nothing_of_a_prompt_is_in_the_log(said):
    log = said()
    assert SECRET not in log
    assert "samdrift: the engine is up" in log


def test_the_engine_would_print_parts_of_requests_if_it_were_let(said):
    """The sieve is not there for nothing, and the test above can fail."""
    assert SECRET in said(before="child.say_only_harmless = lambda: None")


def sieved(*blocks, now=lambda: 0.0):
    written = []
    sieve = Sieve(written.append, now)
    for block in blocks:
        sieve.feed(block)
    sieve.close()
    return b"".join(written).decode()


def test_lines_that_are_withheld_are_counted():
    assert sieved(b"a prompt\nanother\n") == "samdrift: 2 lines withheld\n"


def test_a_known_line_passes_whatever_pieces_it_comes_in():
    line = b"0.00.753.130 I srv          init: listening on unix:///a.sock\n"
    assert sieved(*(line[i : i + 1] for i in range(len(line)))) == line.decode()


def test_a_line_without_end_is_not_kept_and_what_follows_is_judged_anew():
    assert sieved(b"x" * 100_000, b"y" * 100_000 + b"\nsamdrift: the engine is up\n") == (
        "samdrift: the engine is up\nsamdrift: 1 lines withheld\n"
    )


def test_an_engine_that_raves_does_not_fill_the_disk():
    flood = b"samdrift: the engine is up\n" * 10_000
    assert len(sieved(flood)) < 10_000


def test_the_last_words_of_a_crash_reach_the_log():
    crash = (
        "import os\nfrom samdrift.engines.saying import say_only_harmless\nsay_only_harmless()\n"
        "os.write(2, b'/src/ggml.c:12: GGML_ASSERT(n > 0) failed\\n')\nos.abort()"
    )
    reading, writing = os.pipe()
    with os.fdopen(reading) as log:
        process = subprocess.Popen([sys.executable, "-c", crash], stderr=writing)
        os.close(writing)
        assert log.read() == "/src/ggml.c:12: GGML_ASSERT(n > 0) failed\n"
    assert process.wait(timeout=5) < 0
