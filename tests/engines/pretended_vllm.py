"""A program that takes `vllm serve`'s words and answers as vLLM's server documents it, without any model: `/health`, chat,
adapters, and in development mode `/sleep` and `/wake_up`. What it was told and asked stands in its log."""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
import threading
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingMixIn, UnixStreamServer
from urllib.parse import parse_qs, urlsplit

ASLEEP = threading.Event()
ADAPTERS: dict[str, str] = {}


def say(**what: object) -> None:
    """A line of the log."""
    print(json.dumps(what), flush=True)


class Handler(BaseHTTPRequestHandler):
    """One request."""

    protocol_version = "HTTP/1.1"

    def address_string(self) -> str:
        return "local"

    def log_message(self, *_: object) -> None:
        return

    def _answer(self, status: int, body: object = None) -> None:
        content = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        """Health, which it has in its sleep as well; the model and its adapters."""
        if self.path == "/v1/models":
            self._answer(200, {"object": "list", "data": [{"id": name, "object": "model"} for name in ("chat", *ADAPTERS)]})
            return
        self._answer(200 if self.path == "/health" else 404)

    def do_POST(self) -> None:
        """Chat, sleep, wake."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        split = urlsplit(self.path)
        if split.path == "/sleep":
            refuses = "insomnia" in os.environ.get("LANG", "")
            say(asked="sleep", level=parse_qs(split.query).get("level"))
            if not refuses:
                ASLEEP.set()
            self._answer(500 if refuses else 200)
        elif split.path == "/wake_up":
            say(asked="wake")
            ASLEEP.clear()
            self._answer(200)
        elif split.path.endswith("_lora_adapter"):
            self._adapt(json.loads(body), loads="/load" in split.path)
        elif ASLEEP.is_set():
            say(asked="chat", fault="asleep")
            self._answer(500, {"error": {"message": "the engine sleeps", "type": "InternalServerError", "code": 500}})
        else:
            say(asked="chat", model=json.loads(body).get("model"))
            choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hej"}}
            usage = {"prompt_tokens": 3, "completion_tokens": 1}
            self._answer(200, {"object": "chat.completion", "choices": [choice], "usage": usage})


    def _adapt(self, said: dict[str, str], *, loads: bool) -> None:
        name = said["lora_name"]
        say(asked=("load " if loads else "unload ") + name)
        if loads == (name in ADAPTERS) or "odd" in said.get("lora_path", ""):
            self._answer(400, {"error": {"message": "no", "type": "BadRequestError", "code": 400}})
        elif loads:
            ADAPTERS[name] = said["lora_path"]
            self._answer(200)
        else:
            del ADAPTERS[name]
            self._answer(200)


class Server(ThreadingMixIn, UnixStreamServer):
    """On a Unix socket."""

    daemon_threads = True
    request_queue_size = 64

    def get_request(self) -> tuple[socket.socket, str]:
        """Handlers want an address."""
        connection, _ = super().get_request()
        return connection, "local"


def main(words: list[str]) -> None:
    """Serve until SIGTERM."""
    address = words[words.index("--uds") + 1]
    if "--lora-modules" in words:
        modules = (json.loads(word) for word in words[words.index("--lora-modules") + 1 :] if word.startswith("{"))
        ADAPTERS.update({module["name"]: module["path"] for module in modules})
    say(words=words, devices=os.environ.get("CUDA_VISIBLE_DEVICES"), order=os.environ.get("CUDA_DEVICE_ORDER"), pid=os.getpid())
    with Server(address, Handler) as server:
        signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
        server.serve_forever(poll_interval=0.02)


if __name__ == "__main__":
    main(sys.argv[1:])
