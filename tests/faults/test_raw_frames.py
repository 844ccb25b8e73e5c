"""Raw bytes at the WebSocket's door and inside it: whatever is sent, the server goes on, without a traceback (W)."""

from __future__ import annotations

import json
import os
import socket
import struct
import time
from contextlib import suppress
from typing import Any

import pytest

from world import ServerProcess, new_id, started, wait_until

KEY = "dGhlIHNhbXBsZSBub25jZQ=="


def frame(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bool = True, rsv: int = 0) -> bytes:
    """One frame by RFC 6455 §5.2."""
    head = bytes([(0x80 if fin else 0) | rsv << 4 | opcode])
    size, bit = len(payload), 0x80 if mask else 0
    if size < 126:
        head += bytes([bit | size])
    elif size < 65536:
        head += struct.pack(">BH", bit | 126, size)
    else:
        head += struct.pack(">BQ", bit | 127, size)
    if not mask:
        return head + payload
    key = os.urandom(4)
    return head + key + bytes(byte ^ key[i % 4] for i, byte in enumerate(payload))


TEXT, BINARY, CONT, CLOSE, PING, PONG = 1, 2, 0, 8, 9, 10

CASES: dict[str, tuple[list[bytes], set[int]]] = {
    "reserved opcode 3": ([frame(3, b"x")], {1002}),
    "reserved opcode 11": ([frame(11, b"x")], {1002}),
    "RSV1 without compression": ([frame(TEXT, b"x", rsv=4)], {1002}),
    "RSV2": ([frame(TEXT, b"x", rsv=2)], {1002}),
    "RSV3": ([frame(TEXT, b"x", rsv=1)], {1002}),
    "invalid UTF-8": ([frame(TEXT, b"\xff\xfe\x80")], {1007}),
    "UTF-8 of a surrogate": ([frame(TEXT, b"\xed\xa0\x80")], {1007}),
    "UTF-8 cut between fragments": ([frame(TEXT, b"\xce", fin=False), frame(CONT, b"\xff")], {1007}),
    "continuation of nothing": ([frame(CONT, b"x")], {1002}),
    "a new message inside a fragmented one": ([frame(TEXT, b"a", fin=False), frame(TEXT, b"b")], {1002}),
    "fragmented ping": ([frame(PING, b"x", fin=False)], {1002}),
    "ping of 126 bytes": ([frame(PING, b"x" * 126)], {1002}),
    "close with one byte": ([frame(CLOSE, b"\x03")], {1002}),
    "close with code 999": ([frame(CLOSE, struct.pack(">H", 999))], {1002}),
    "close with code 1005": ([frame(CLOSE, struct.pack(">H", 1005))], {1002}),
    "close with invalid UTF-8": ([frame(CLOSE, struct.pack(">H", 1000) + b"\xff")], {1002, 1007}),
    "64 KiB and one": ([frame(TEXT, b" " * (64 * 1024 + 1))], {1009}),
    "fragments that add up": ([frame(TEXT, b" " * 40_000, fin=False), frame(CONT, b" " * 40_000)], {1009}),
    "a length of 2^63": ([b"\x81\xff" + struct.pack(">Q", 1 << 63) + b"\0\0\0\0"], {1002, 1009}),
    "a length of 2^40": ([b"\x81\xff" + struct.pack(">Q", 1 << 40) + b"\0\0\0\0"], {1009}),
    "HTTP again": ([b"GET / HTTP/1.1\r\n\r\n"], {1002}),
    "noise": ([bytes(range(256)) * 20], {1002, 1007, 1009}),
}
"""Frames that end the conversation, and with which codes."""

SURVIVED: dict[str, tuple[bytes, str]] = {
    "binary": (frame(BINARY, b"\x00\xff"), "malformed"),
    "no JSON": (frame(TEXT, b"{"), "malformed"),
    "a number": (frame(TEXT, b"3"), "malformed"),
    "an array": (frame(TEXT, b"[]"), "malformed"),
    "brackets": (frame(TEXT, b"[" * 60_000), "malformed"),
    "no type": (frame(TEXT, b"{}"), "invalid"),
    "an unknown type": (frame(TEXT, b'{"type": "cancel"}'), "invalid"),
    "a wrong field": (frame(TEXT, b'{"type": "subscribe", "data": {"topics": 3}}'), "invalid"),
    "an unknown field": (frame(TEXT, b'{"type": "subscribe", "data": {"topcs": ["logs"]}}'), "invalid"),
    "a filter that is none": (frame(TEXT, b'{"type": "subscribe", "data": {"q": "status:("}}'), "invalid"),
    "no such subscription": (frame(TEXT, b'{"type": "unsubscribe", "id": "nope"}'), "invalid"),
    "auth twice": (frame(TEXT, b'{"type": "auth", "token": "x"}'), "invalid"),
    "an empty message": (frame(TEXT, b""), "malformed"),
    "an unmasked message": (frame(TEXT, b"{", mask=False), "malformed"),
}
"""Frames that are answered with an error, and the connection stays."""


def upgrade(server: Any, *more: str, query: str = "?topics=none", token: bool = True, version: str = "13") -> bytes:
    head = [
        f"GET /ws{query} HTTP/1.1", "Host: 127.0.0.1", "Upgrade: websocket", "Connection: Upgrade",
        f"Sec-WebSocket-Key: {KEY}", f"Sec-WebSocket-Version: {version}", *more,
    ]  # fmt: skip
    if token:
        head.append(f"Authorization: Bearer {server.token}")
    return "\r\n".join([*head, "", ""]).encode()


class Peer:
    """Our end of one raw connection."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.held = b""
        self.head = self._until(b"\r\n\r\n").decode()

    def _until(self, mark: bytes) -> bytes:
        while mark not in self.held:
            data = self.sock.recv(65536)
            assert data, self.held
            self.held += data
        found, _, self.held = self.held.partition(mark)
        return found

    def _take(self, n: int) -> bytes:
        while len(self.held) < n:
            data = self.sock.recv(65536)
            if not data:
                raise ConnectionResetError
            self.held += data
        found, self.held = self.held[:n], self.held[n:]
        return found

    def frame(self) -> tuple[int, bytes]:
        first, size = self._take(2)
        if size == 126:
            (size,) = struct.unpack(">H", self._take(2))
        elif size == 127:
            (size,) = struct.unpack(">Q", self._take(8))
        return first & 15, self._take(size)

    def message(self, *wanted: str) -> Any:
        """The next message of one of these types."""
        while True:
            opcode, payload = self.frame()
            if opcode == TEXT and (found := json.loads(payload))["type"] in wanted:
                return found
            assert opcode in (TEXT, PING), (opcode, payload)

    def close_code(self) -> int:
        """The code that the server closes with; 0 when it just goes."""
        try:
            while True:
                opcode, payload = self.frame()
                if opcode == CLOSE:
                    return int(struct.unpack(">H", payload[:2])[0]) if payload else 1005
        except ConnectionError:
            return 0


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """One server for every case: what one of them breaks, the next would notice."""
    server = ServerProcess(tmp_path_factory.mktemp("frames")).start()
    try:
        yield server
        assert server.stop() == 0
    finally:
        server.kill()
    assert "Traceback" not in server.log(), server.log()[-4000:]
    assert " ERROR " not in server.log(), server.log()[-4000:]


def meet(server: Any, dial: Any, *more: str, **options: Any) -> Peer:
    return Peer(dial(server, upgrade(server, *more, **options)))


@pytest.mark.parametrize("name", CASES)
def test_a_malformed_frame_ends_its_own_connection_with_the_code_for_it(shared: Any, dial: Any, name: str) -> None:
    sent, codes = CASES[name]
    peer = meet(shared, dial)
    assert peer.head.startswith("HTTP/1.1 101")
    peer.message("welcome")
    for each in sent:
        peer.sock.sendall(each)
    assert peer.close_code() in codes
    assert shared.raw("GET", "/api/health", token="")[0] == 200


@pytest.mark.parametrize("name", SURVIVED)
def test_a_message_that_makes_no_sense_is_answered_and_the_connection_stays(shared: Any, dial: Any, name: str) -> None:
    sent, code = SURVIVED[name]
    peer = meet(shared, dial)
    peer.message("welcome")
    peer.sock.sendall(sent)
    assert peer.message("error")["data"]["code"] == code
    peer.sock.sendall(frame(TEXT, b'{"type": "ping", "id": "still here"}'))
    assert peer.message("pong")["data"]["requestId"] == "still here"


def test_a_message_may_come_in_fragments_with_pings_between(shared: Any, dial: Any) -> None:
    peer = meet(shared, dial)
    peer.message("welcome")
    text = '{"type": "ping", "id": "ż"}'.encode()
    for at in range(len(text)):
        peer.sock.sendall(frame(CONT if at else TEXT, text[at : at + 1], fin=at == len(text) - 1))
        if at == 5:
            peer.sock.sendall(frame(PING, b"between"))
    opcode, payload = peer.frame()
    while opcode != PONG:
        opcode, payload = peer.frame()
    assert payload == b"between"
    assert peer.message("pong")["data"]["requestId"] == "ż"


@pytest.mark.parametrize(
    ("more", "options", "status"),
    [
        ((), {"token": False, "query": "?token=x"}, "400"),
        (("Authorization: Bearer etlv_no",), {"token": False}, "401"),
        (("Authorization: Bearer \u00e9",), {"token": False}, "401"),
        (("Origin: http://evil.example",), {}, "403"),
        (("Origin: null",), {}, "403"),
        ((), {"query": "?q=status:("}, "422"),
        ((), {"query": "?q=duration>5m"}, "422"),
        ((), {"query": "?topics=nope"}, "422"),
        ((), {"query": "?unknown=1"}, "422"),
        (("Host: evil.example",), {}, "400"),
    ],
    ids=["token in url", "bad token", "non-ASCII token", "foreign origin", "null origin", "bad q", "live q",
         "bad topic", "unknown key", "two hosts"],
)  # fmt: skip
def test_a_handshake_that_may_not_be_is_refused_before_the_upgrade(
    shared: Any, dial: Any, more: tuple[str, ...], options: dict[str, Any], status: str
) -> None:
    peer = meet(shared, dial, *more, **options)
    assert peer.head.split()[1] == status


@pytest.mark.parametrize("broken", ["no key", "short key", "no upgrade", "POST", "version 99"])
def test_a_handshake_that_is_none_is_refused(shared: Any, dial: Any, broken: str) -> None:
    sent = upgrade(shared)
    match broken:
        case "no key":
            sent = sent.replace(f"Sec-WebSocket-Key: {KEY}\r\n".encode(), b"")
        case "short key":
            sent = sent.replace(KEY.encode(), b"abc")
        case "no upgrade":
            sent = sent.replace(b"Upgrade: websocket\r\n", b"")
        case "POST":
            sent = sent.replace(b"GET", b"POST", 1).replace(b"\r\n\r\n", b"\r\nContent-Length: 0\r\n\r\n")
        case "version 99":
            sent = sent.replace(b"Version: 13", b"Version: 99")
    peer = Peer(dial(shared, sent))
    assert peer.head.split()[1] in ("400", "403", "405", "415", "426")


def test_the_old_version_8_is_either_spoken_or_refused(shared: Any, dial: Any) -> None:
    peer = meet(shared, dial, version="8")
    assert peer.head.split()[1] in ("101", "400", "426")
    assert shared.raw("GET", "/api/health", token="")[0] == 200


@pytest.mark.parametrize("since", ["future", "negative", "other epoch", "words", "huge"])
def test_a_place_that_is_none_of_ours_is_answered_with_a_fresh_start(shared: Any, dial: Any, since: str) -> None:
    epoch = meet(shared, dial).message("welcome")["data"]["epoch"]
    text = {
        "future": f"{epoch}:999999999", "negative": f"{epoch}:-1", "other epoch": "deadbeef:1", "words": "nonsense",
        "huge": f"{epoch}:{10**18}",
    }[since]  # fmt: skip
    peer = meet(shared, dial, query=f"?topics=jobs&since={text}")
    if peer.head.split()[1] == "101":
        assert peer.message("subscribed")["data"]["recovered"] is False
        peer.message("snapshot")
    else:
        assert peer.head.split()[1] == "422"


def test_subscriptions_have_a_bound(shared: Any, dial: Any) -> None:
    peer = meet(shared, dial)
    peer.message("welcome")
    for n in range(65):
        request = {"type": "subscribe", "id": f"s{n}", "data": {"topics": ["logs"], "words": f"w{n}"}}
        peer.sock.sendall(frame(TEXT, json.dumps(request).encode()))
    refused = peer.message("error")["data"]
    assert (refused["code"], refused["requestId"]) == ("too_many", "s64")


@pytest.mark.parametrize("flood", ["messages", "pings"])
def test_a_client_that_talks_too_much_is_cut_and_another_does_not_notice(shared: Any, dial: Any, flood: str) -> None:
    other, peer = meet(shared, dial), meet(shared, dial)
    for each in (other, peer):
        each.message("welcome")
    one = frame(TEXT, b'{"type": "ping"}') if flood == "messages" else frame(PING, b"x")
    peer.sock.settimeout(10)
    with suppress(ConnectionError):  # cut while it talked
        peer.sock.sendall(one * 2000)
    assert peer.close_code() in (4003, 0)
    other.sock.sendall(frame(TEXT, b'{"type": "ping", "id": 1}'))
    assert other.message("pong")["data"]["requestId"] == 1


def test_a_viewer_cannot_control_by_the_socket(shared: Any, dial: Any) -> None:
    token = shared.api("POST", "/api/tokens", {"role": "viewer", "name": "eyes"})["token"]
    job = new_id()
    shared.report(started(job))
    peer = meet(shared, dial, f"Authorization: Bearer {token}", token=False)
    peer.message("welcome")
    for kind in ("cancel", "pause", "report", "command"):
        peer.sock.sendall(frame(TEXT, json.dumps({"type": kind, "jobId": job}).encode()))
        assert peer.message("error")["data"]["code"] == "invalid"
    assert shared.api("GET", f"/api/jobs/{job}")["status"] == "running"


def test_connections_that_break_off_anywhere_leave_nothing_behind(shared: Any, dial: Any) -> None:
    whole = upgrade(shared, query="?topics=jobs,logs") + frame(TEXT, b'{"type": "ping"}') + frame(CLOSE, b"\x03\xe8")
    for at in range(0, len(whole), 7):
        dial(shared, whole[:at]).close()
    wait_until(lambda: shared.api("GET", "/api/monitor/connections")["items"] == [], "none is left")


@pytest.mark.slow
def test_who_never_says_who_they_are_is_cut_after_ten_seconds(shared: Any, dial: Any) -> None:
    peer, began = meet(shared, dial, token=False), time.monotonic()
    peer.sock.settimeout(30)
    assert peer.close_code() == 4508
    assert 9 < time.monotonic() - began < 20
