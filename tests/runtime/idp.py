"""An issuer's web server: HTTPS with a certificate of its own authority, answering what a test says."""

from __future__ import annotations

import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from tests.gateway.certified import Authority


class IdentityProvider:
    """Use it as a context. `body` is what it publishes, `status` and `headers` how; it counts who `asked`."""

    def __init__(self, folder: Path) -> None:
        self.authority = Authority(folder, "Authority of the identity provider")
        self.body, self.status, self.headers = b"", 200, {}
        self.asked: list[tuple[str, dict[str, str]]] = []
        self.slow = threading.Event()
        """Set it, and no answer ends before it is cleared or the provider is closed."""
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        files = self.authority.server("DNS:localhost")
        context.load_cert_chain(files["certificate"], files["key"])
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True, do_handshake_on_connect=False)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), name="identity provider")

    @property
    def url(self) -> str:
        return f"https://localhost:{self._server.server_port}/keys"

    def __enter__(self) -> IdentityProvider:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.asked.append((self.path, dict(self.headers)))
                self.send_response(provider.status)
                for name, value in provider.headers.items():
                    self.send_header(name, value)
                if "transfer-encoding" not in provider.headers:
                    self.send_header("content-length", str(len(provider.body)))
                self.end_headers()
                if provider.slow.is_set():
                    provider._closing.wait(30)
                    return
                self.wfile.write(provider.body)

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        return Handler
