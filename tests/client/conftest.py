"""A server that says what a test tells it to, byte by byte, and the endpoint that leads to it."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from etlmon.client.rest import Client
from etlmon.host.endpoint import Endpoint


def make_endpoint(url: str, token: str | None = "good") -> Endpoint:
    """An endpoint as if it had been found."""
    return Endpoint(url=url, token=token, origin="test", token_origin="test")


class RawServer:
    """Answers each connection with the next of ``answers`` (the last one stays); keeps what it was sent."""

    def __init__(self) -> None:
        self.answers: list[bytes] = []
        self.asked: list[bytes] = []
        self.n_connections = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.05)
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="raw server")
        self._thread.start()

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._listener.getsockname()[1]}"

    def _serve(self) -> None:
        while not self._stopping.is_set():
            try:
                peer, _ = self._listener.accept()
            except TimeoutError:
                continue
            self.n_connections += 1
            with peer:
                peer.settimeout(5)
                try:
                    self._answer(peer)
                except OSError:
                    continue

    def _answer(self, peer: socket.socket) -> None:
        """One exchange after another on one connection, until an answer says close or the peer leaves."""
        while not self._stopping.is_set():
            asked = b""
            while b"\r\n\r\n" not in asked and not asked.startswith(b"\x16"):  # 0x16: a TLS hello
                chunk = peer.recv(65536)
                if not chunk:
                    return
                asked += chunk
            self.asked.append(asked)
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            peer.sendall(answer)
            if b"Content-Length" not in answer or b"Connection: close" in answer or answer.endswith(b"!!"):
                return

    def close(self) -> None:
        """Stop listening."""
        self._stopping.set()
        self._thread.join()
        self._listener.close()


@pytest.fixture
def raw() -> Iterator[RawServer]:
    """A scripted server."""
    server = RawServer()
    yield server
    server.close()


@pytest.fixture
def endpoint_of() -> Callable[..., Endpoint]:
    """Makes endpoints."""
    return make_endpoint


@pytest.fixture
def client_of() -> Iterator[Callable[..., Client]]:
    """Makes clients for a URL; closed when the test is over."""
    made: list[Client] = []

    def make(url: str, token: str | None = "good", timeout_s: float = 2.0) -> Client:
        made.append(Client(make_endpoint(url, token), timeout_s=timeout_s))
        return made[-1]

    yield make
    for client in made:
        client.close()
