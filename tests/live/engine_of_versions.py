"""A program that starts and speaks as `vllm serve` does, as far as one is needed whose version with `--max-model-len 96` comes
up, answers the request with which it is tried, and fails all others. Standard library only: it runs wherever it is put."""

from __future__ import annotations

import json
import sys
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingUnixStreamServer
from typing import Any

BAD = "96"


def _option(name: str) -> str:
    return sys.argv[sys.argv.index(name) + 1]


class _Server(ThreadingUnixStreamServer):
    daemon_threads = True
    request_queue_size = 128


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._say(200 if self.path == "/health" else 404, {})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        version = _option("--max-model-len")
        if version == BAD and body["messages"][-1]["content"] != "Hello":
            self._say(500, {"error": {"message": "CUDA error: an illegal memory access was encountered", "code": 500}})
            return
        choice = {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": f"version {version}"}}
        self._say(200, {"choices": [choice], "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}})

    def _say(self, status: int, answer: dict[str, Any]) -> None:
        text = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def log_message(self, *_: object) -> None:
        """Nothing."""


if __name__ == "__main__":
    with _Server(_option("--uds"), _Handler) as server:
        server.serve_forever()
