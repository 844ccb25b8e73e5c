"""The demo's HTTP endpoint: takes flights, each batch once, and is as moody as real ones: now and then 429 or 503."""

from __future__ import annotations

import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec

BUSY_EVERY, DOWN_EVERY = 71, 43
"""Of so many requests one is told to wait (429), one that the service is down (503)."""
MAX_BODY = 8 * 1024 * 1024


class Endpoint:
    """Serves on a free port of the loopback until ``close``."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys: set[str] = set()
        self.n_requests = 0
        self.n_refused = 0
        self.n_records = 0
        endpoint = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                body = self.rfile.read(min(MAX_BODY, int(self.headers.get("Content-Length") or 0)))
                status, answer = endpoint.take(self.headers.get("Idempotency-Key") or "", body)
                self.send_response(status)
                if status == 429:
                    self.send_header("Retry-After", "1")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: object) -> None:
                """The demo's terminal is not this server's log."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, name="demo-endpoint", daemon=True).start()

    def take(self, key: str, body: bytes) -> tuple[int, bytes]:
        """Status and answer for a batch; one that was taken before is not counted again."""
        with self._lock:
            self.n_requests += 1
            status = 429 if self.n_requests % BUSY_EVERY == 0 else 503 if self.n_requests % DOWN_EVERY == 0 else 200
            if status != 200:
                self.n_refused += 1
                return status, b'{"message": "try again"}'
            if key not in self._keys:
                self._keys.add(key)
                self.n_records += len(msgspec.json.decode(body, type=list[msgspec.Raw]))
        return 200, b"{}"

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
