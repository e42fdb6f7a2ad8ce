"""Servers on loopback that weights are fetched from: a hub, a store, a registry, each as its documentation says, and each as
bad as a test wants it."""

from __future__ import annotations

import contextlib
import hashlib
import json
import re
import struct
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

from samdrift.engines.weights import Means, Patience
from samdrift.spec.weights import Hub, Registry, Store, WeightsSettings

PIECE = 64 * 1024
COMMIT = "c0ffee" * 6 + "c0ff"


def gguf(words: int = 200_000, licence: str = "apache-2.0", seed: int = 0) -> bytes:
    """A small GGUF file: `words` 32-bit floats in one tensor."""
    def text(value: str) -> bytes:
        return struct.pack("<Q", len(value)) + value.encode()

    def string(key: str, value: str) -> bytes:
        return text(key) + struct.pack("<I", 8) + text(value)

    def number(key: str, value: int) -> bytes:
        return text(key) + struct.pack("<II", 4, value)

    fields = [string("general.architecture", "llama"), number("llama.context_length", 512), number("llama.block_count", 2),
        number("llama.embedding_length", 64), number("llama.attention.head_count", 4), number("llama.attention.head_count_kv", 2),
        *([string("general.license", licence)] if licence else [])]  # fmt: skip
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(fields)) + b"".join(fields)
    head += text("token_embd.weight") + struct.pack("<IQIQ", 1, words, 0, 0)
    data = hashlib.shake_128(bytes([seed])).digest(words * 4)
    return head + b"\0" * (-len(head) % 32) + data


def git_name(content: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()


class Server:
    """One HTTP server. `files` by path of the URL; `faults` are taken one for each request for a file, `always` for each."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.answers: dict[str, Callable[[Handler], None]] = {}
        self.faults: list[Callable[[Handler, bytes], bool]] = []
        self.always: Callable[[Handler, bytes], bool] | None = None
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.lock = threading.Lock()
        self.over = threading.Event()
        server = self

        class Bound(Handler):
            here = server

        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Bound)
        self._http.handle_error = lambda *_: None  # type: ignore[method-assign]  # those who hang up are part of the tests
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()
        self.host = f"127.0.0.1:{self._http.server_port}"
        self.url = f"http://{self.host}"

    def close(self) -> None:
        self.over.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join(10)

    def fetched(self) -> list[str]:
        """The paths of files that were asked for."""
        return [path for path, _ in self.asked if path in self.files]


class Handler(BaseHTTPRequestHandler):
    here: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = unquote(urlsplit(self.path).path)
        with self.here.lock:
            self.here.asked.append((path, {name.lower(): value for name, value in self.headers.items()}))
            fault = self.here.faults.pop(0) if self.here.faults and path in self.here.files else self.here.always
        with contextlib.suppress(ConnectionError):  # of one who hung up
            if path in self.here.answers:
                self.here.answers[path](self)
            elif path not in self.here.files:
                self.say(404, b"nothing here")
            elif fault is None or path not in self.here.files or not fault(self, self.here.files[path]):
                self.ranged(self.here.files[path])

    def ranged(self, content: bytes, etag: str = "") -> None:
        match = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("range", ""))
        tag = etag or f'"{hashlib.sha256(content).hexdigest()[:32]}"'
        if match is None or self.headers.get("if-range", tag) != tag:
            self.say(200, content, etag=tag)
            return
        begin, end = int(match[1]), min(int(match[2]) + 1, len(content))
        self.say(206, content[begin:end], etag=tag, **{"content-range": f"bytes {begin}-{end - 1}/{len(content)}"})

    def say(self, status: int, content: bytes, cut: int | None = None, **headers: str) -> None:
        self.send_response(status)
        self.send_header("content-length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content if cut is None else content[:cut])
        if cut is not None:
            self.close_connection = True

    def say_json(self, value: object, **headers: str) -> None:
        self.say(200, json.dumps(value).encode(), **headers)

    def query(self) -> dict[str, str]:
        return {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}

    def log_message(self, *_: object) -> None:
        return


class ModelHub:
    """What `hf:` asks, over a `Server`."""

    def __init__(self, server: Server) -> None:
        self.server = server

    def has(self, name: str, files: dict[str, bytes], *, licence: str = "apache-2.0", commit: str = COMMIT,
        small: tuple[str, ...] = (), token: str = "", revision: str = "main") -> None:  # fmt: skip
        siblings = [
            {"rfilename": path, "size": len(content), "blobId": git_name(content)}
            | ({} if path in small else {"lfs": {"sha256": hashlib.sha256(content).hexdigest(), "size": len(content)}})
            for path, content in files.items()
        ]
        card = {"license": licence} if licence else {}

        def answer(handler: Handler) -> None:
            if token and handler.headers.get("authorization") != f"Bearer {token}":
                handler.say(401, b"{}")
            else:
                handler.say_json({"id": name, "sha": commit, "cardData": card, "siblings": siblings})

        for named in (revision, commit):
            self.server.answers[f"/api/models/{name}/revision/{named}"] = answer
        for path, content in files.items():
            self.server.files[f"/{name}/resolve/{commit}/{path}"] = content


@pytest.fixture
def server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.close()


@pytest.fixture
def other_server() -> Iterator[Server]:
    opened = Server()
    yield opened
    opened.close()


@pytest.fixture
def hub(server: Server) -> ModelHub:
    return ModelHub(server)


@pytest.fixture
def means(server: Server) -> Callable[..., Means]:
    """Means to fetch from the server; settings of the document may be given by name."""

    def made(stop: threading.Event | None = None, piece: int = PIECE, silence: float = 2.0,
        environment: dict[str, str] | None = None, **settings: object) -> Means:  # fmt: skip
        given = {"hf": Hub(endpoint=server.url), "s3": Store(endpoint=server.url), "oci": Registry()} | settings
        return Means(WeightsSettings(**given), secret=lambda text: {"${env:T}": "hemmelig", "${env:K}": "AKID"}.get(text, text),
            environment=environment or {}, patience=Patience(silence=silence, tries=3, pause=0.01, piece=piece),
            stop=stop or threading.Event())  # fmt: skip

    return made


@pytest.fixture
def make_gguf() -> Callable[..., bytes]:
    return gguf


@pytest.fixture
def folders(tmp_path: Path) -> tuple[Path, Path]:
    """The folder of a document, and that of a cache."""
    (tmp_path / "document").mkdir()
    return tmp_path / "document", tmp_path / "cache"
