"""What a client may get wrong, and what it is told (facts, reliability §3, W33–W48)."""

from __future__ import annotations

import asyncio
import os
import struct
from typing import Any

import aiohttp
import pytest

from etlmon.core import protocol
from etlmon.core.errors import TooManyRequests


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{nonsense", "malformed"),
        ("5", "malformed"),
        ('"text"', "malformed"),
        ("[]", "malformed"),
        ("null", "malformed"),
        ("[" * 5000, "malformed"),
        ("{}", "invalid"),
        ('{"type": "nonsuch", "id": "x"}', "invalid"),
        ('{"type": "cancel", "data": {"jobId": "a"}}', "invalid"),
        ('{"type": "subscribe", "data": {"topics": ["nonsuch"]}}', "invalid"),
        ('{"type": "subscribe", "data": {"topics": [5]}}', "invalid"),
        ('{"type": "subscribe", "data": {"q": "stat:failed"}}', "invalid"),
        ('{"type": "subscribe", "data": {"q": "("}}', "invalid"),
        ('{"type": "subscribe", "data": {"level": "loud"}}', "invalid"),
        ('{"type": "subscribe", "channel": "everything"}', "invalid"),
        ('{"type": "subscribe", "channel": "job:"}', "invalid"),
        ('{"type": "unsubscribe", "id": "nonsuch"}', "invalid"),
        ('{"type": "auth", "token": "good"}', "invalid"),
    ],
)
async def test_a_wrong_message_gets_an_error_and_the_connection_stays(stage, text: str, code: str) -> None:
    viewer = await stage.connect()
    await viewer.live()
    await viewer.ws.send_str(text)
    error = await viewer.next()
    assert (error["type"], error["seq"], error["data"]["code"]) == ("error", None, code)
    assert error["data"]["message"].endswith(".")
    assert await viewer.ping() == []


async def test_an_error_names_the_request_the_place_and_the_nearest_word(stage) -> None:
    viewer = await stage.connect("topics=none")
    await viewer.next()
    await viewer.say(type="subscribe", id="a", data={"topic": ["jobs"]})
    assert (await viewer.next())["data"]["errors"] == [
        {"path": "data.topic", "message": "unknown key; did you mean topics?"}
    ]
    await viewer.say(type="subscribe", id="b", data={"status": "runing,paused", "level": "loud"})
    error = (await viewer.next())["data"]
    assert error["requestId"] == "b"
    assert {each["path"] for each in error["errors"]} == {"status", "level"}
    await viewer.say(type="subscribe", id=7, data={"q": "name:x duration>10m"})
    error = (await viewer.next())["data"]
    assert error["requestId"] == 7
    assert "duration" in error["message"]
    assert await viewer.ping() == []


async def test_binary_messages_are_refused_and_the_connection_stays(stage) -> None:
    viewer = await stage.connect()
    await viewer.live()
    await viewer.ws.send_bytes(b'{"type": "ping"}')
    assert (await viewer.next())["data"]["code"] == "malformed"
    assert await viewer.ping() == []


async def test_a_message_larger_than_64_KiB_closes_with_1009(stage) -> None:
    viewer = await stage.connect()
    await viewer.live()
    await viewer.ws.send_str('{"type": "ping", "data": "' + "x" * (protocol.MAX_CLIENT_FRAME - 100) + '"}')
    await viewer.until("pong")
    await viewer.ws.send_str("x" * (protocol.MAX_CLIENT_FRAME + 1))
    assert await viewer.end() == 1009


async def test_a_client_that_talks_without_end_is_cut_with_4003_and_others_are_not(stage) -> None:
    other, flood = await stage.connect(), await stage.connect("topics=none")
    await other.live()
    for _ in range(2000):
        if flood.ws.closed:
            break
        await flood.ws.send_str("[]")
    assert await flood.end() == 4003
    stage.journal.start("a")
    assert (await other.next())["data"]["jobId"] == "a"
    assert stage.hub.stats.n_cut_talking == 1


async def test_a_flood_of_pings_and_pongs_is_cut_too(stage) -> None:
    for name in ("ping", "pong"):
        viewer = await stage.connect("topics=none")
        await viewer.next()
        try:
            for _ in range(3000):
                await getattr(viewer.ws, name)()
        except ConnectionError:
            pass  # it was cut while we still talked
        assert await viewer.end() in (4003, 1006)
    assert stage.hub.stats.n_cut_talking == 2


async def test_a_ping_of_the_protocol_is_answered_by_a_pong(stage) -> None:
    viewer = await stage.connect("topics=none", autoping=False)
    await viewer.next()
    await viewer.ws.ping(b"are you there")
    msg = await viewer.ws.receive()
    assert (msg.type, bytes(msg.data)) == (aiohttp.WSMsgType.PONG, b"are you there")


async def test_a_connection_holds_so_many_subscriptions_and_an_id_is_used_again(stage) -> None:
    viewer = await stage.connect("topics=none")
    await viewer.next()
    for number in range(protocol.MAX_SUBSCRIPTIONS):
        await viewer.say(type="subscribe", id=f"s{number}", data={"jobIds": [f"j{number}"]})
        await viewer.until("live")
    await viewer.say(type="subscribe", id="more", data={"jobIds": ["x"]})
    assert (await viewer.next())["data"]["code"] == "too_many"
    await viewer.say(type="subscribe", id="s0", data={"jobIds": ["new"]})
    assert (await viewer.until("live"))[-1]["data"]["id"] == "s0"
    assert len(stage.hub.groups) == protocol.MAX_SUBSCRIPTIONS
    stage.journal.start("j0")
    stage.journal.start("new")
    assert (await viewer.next())["data"]["jobId"] == "new"


async def test_more_ids_than_may_be_listed_are_refused(stage) -> None:
    viewer = await stage.connect("topics=none")
    await viewer.next()
    for key in ("jobIds", "name"):
        await viewer.say(type="subscribe", data={key: [f"j{n}" for n in range(1001)]})
        assert (await viewer.next())["data"]["code"] == "invalid"


async def test_the_first_frame_may_carry_the_token(stage) -> None:
    viewer = await stage.connect("topics=jobs", token_id=None)
    await viewer.say(type="auth", token="good")
    opened = await viewer.live()
    assert opened[0]["data"]["role"] == "viewer"
    assert [each.name for each in stage.hub.connections()] == ["framed"]


@pytest.mark.parametrize(
    ("first", "code"),
    [
        ('{"type": "auth", "token": "bad"}', 4501),
        ('{"type": "ping"}', 4508),
        ('{"type": "subscribe", "data": {"topics": ["jobs"]}}', 4508),
        ("{nonsense", 4508),
    ],
)
async def test_another_first_frame_is_told_and_closed(stage, first: str, code: int) -> None:
    viewer = await stage.connect(token_id=None)
    await viewer.ws.send_str(first)
    assert (await viewer.next())["type"] == "error"
    assert await viewer.end() == code


async def test_no_first_frame_closes_with_4508(stage) -> None:
    stage.hub.auth_deadline_s = 0.05
    viewer = await stage.connect(token_id=None)
    assert await viewer.end() == 4508
    assert viewer.ws.close_code == 4508


async def test_a_first_frame_as_bytes_or_a_leaving_client_ends_quietly(stage) -> None:
    viewer = await stage.connect(token_id=None)
    await viewer.ws.close()
    stage.hub.auth_deadline_s = 0.1
    viewer = await stage.connect(token_id=None)
    await viewer.ws.send_bytes(b"x")
    assert await viewer.end() == 4508


async def test_a_revoked_token_ends_its_connections_at_once(stage) -> None:
    revoked, other = await stage.connect(token_id="t1"), await stage.connect(token_id="t2")
    await revoked.live()
    await other.live()
    stage.hub.drop_token("t1")
    assert await revoked.end() == 4501
    stage.journal.start("a")
    assert (await other.next())["data"]["jobId"] == "a"


async def test_beyond_max_connections_there_is_no_room(stage_with) -> None:
    stage = await stage_with(max_connections=2)
    first, _ = await stage.connect("topics=none"), await stage.connect("topics=none")
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await stage.connect()
    assert caught.value.status == 503
    await first.ws.close()
    await stage.wait(lambda: stage.hub.n_connections == 1)
    await (await stage.connect()).live()


async def test_a_token_holds_so_many_connections_but_on_loopback_as_many_as_it_likes(stage_with, monkeypatch) -> None:
    from etlmon.server.stream import hub

    stage = await stage_with(per_token=2)
    held = [await stage.connect("topics=none") for _ in range(4)]
    monkeypatch.setattr(hub, "is_loopback", lambda address: False)
    with pytest.raises(aiohttp.WSServerHandshakeError) as caught:
        await stage.connect()
    assert caught.value.status == TooManyRequests.status
    await (await stage.connect(token_id="t2")).live()
    framed = [await stage.connect(token_id=None) for _ in range(3)]
    for each in framed:
        await each.say(type="auth", token="good")
    assert (await framed[2].next())["data"]["code"] == "too_many"
    assert await framed[2].end() == 4003
    assert not any(each.ws.closed for each in held)


async def test_log_lines_are_refused_where_they_are_not_streamed(stage_with) -> None:
    stage = await stage_with(log_streaming=False)
    viewer = await stage.connect()
    await viewer.live()
    await viewer.say(type="subscribe", data={"topics": ["jobs", "logs"]})
    assert "log_streaming_enabled" in (await viewer.next())["data"]["message"]


# Raw frames: what no honest client sends.


async def raw(stage: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A socket after the handshake and the welcome."""
    port = int(stage.url.rsplit(":", 1)[1])
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(
        b"GET /ws?topics=none HTTP/1.1\r\nHost: x\r\nX-Role: viewer\r\nX-Token-Id: t\r\nUpgrade: websocket\r\n"
        b"Connection: Upgrade\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
    )
    await reader.readuntil(b"\r\n\r\n")
    await read_frame(reader)
    return reader, writer


async def read_frame(reader: asyncio.StreamReader) -> tuple[int, bytes]:
    head = await reader.readexactly(2)
    size = head[1]
    if size == 126:
        size = struct.unpack(">H", await reader.readexactly(2))[0]
    return head[0] & 0x0F, await reader.readexactly(size)


def masked(first: int, payload: bytes, *, size: int | None = None) -> bytes:
    """A client's frame with this first byte."""
    size = len(payload) if size is None else size
    mask = os.urandom(4)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + struct.pack(">H", size)
    return bytes([first]) + length + mask + bytes(byte ^ mask[n % 4] for n, byte in enumerate(payload))


@pytest.mark.parametrize(
    ("frame", "code"),
    [
        pytest.param(masked(0x83, b"x"), 1002, id="reserved opcode 3"),
        pytest.param(masked(0x8B, b"x"), 1002, id="reserved control opcode 11"),
        pytest.param(masked(0xC1, b"x"), 1002, id="RSV1 without compression"),
        pytest.param(masked(0xA1, b"x"), 1002, id="RSV2"),
        pytest.param(masked(0x09, b"x"), 1002, id="fragmented ping"),
        pytest.param(masked(0x89, b"x" * 126), 1002, id="ping of 126 bytes"),
        pytest.param(masked(0x80, b"x"), 1002, id="continuation of nothing"),
        pytest.param(masked(0x01, b"x") + masked(0x81, b"y"), 1002, id="text within a fragmented text"),
        pytest.param(masked(0x88, b"x"), 1002, id="close with one byte"),
        pytest.param(masked(0x88, struct.pack(">H", 999)), 1002, id="close code 999"),
        pytest.param(masked(0x88, struct.pack(">H", 1005)), 1002, id="close code 1005"),
        pytest.param(masked(0x81, b"\xff\xfe"), 1007, id="text that is not UTF-8"),
        pytest.param(masked(0x88, struct.pack(">H", 1000) + b"\xff"), 1007, id="close reason that is not UTF-8"),
        pytest.param(b"\x81\xff" + struct.pack(">Q", 2**62) + b"mask", 1009, id="a frame of 4 EiB"),
        pytest.param(masked(0x01, b"x" * 60_000) + masked(0x80, b"x" * 6000), 1009, id="fragments beyond the limit"),
        pytest.param(masked(0x88, struct.pack(">H", 1000)), 1000, id="an honest close"),
    ],
)
async def test_a_frame_against_the_protocol_closes_with_its_code(stage, frame: bytes, code: int, caplog) -> None:
    reader, writer = await raw(stage)
    writer.write(frame)
    opcode, payload = await asyncio.wait_for(read_frame(reader), 10)
    assert (opcode, struct.unpack(">H", payload[:2])[0]) == (8, code)
    writer.close()
    await stage.wait(lambda: stage.hub.n_connections == 0)
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.parametrize("cut_at", [1, 3, 7])
async def test_a_socket_that_is_cut_in_the_middle_of_a_frame_ends_quietly(stage, cut_at: int, caplog) -> None:
    _, writer = await raw(stage)
    writer.write(masked(0x81, b'{"type": "ping"}')[:cut_at])
    await writer.drain()
    writer.transport.abort()
    await stage.wait(lambda: stage.hub.n_connections == 0)
    assert not [record for record in caplog.records if record.exc_info]


async def test_compression_is_never_agreed_on(stage) -> None:
    viewer = await stage.connect(compress=15)
    assert viewer.ws.compress == 0


async def test_fragments_and_single_bytes_make_one_message(stage) -> None:
    reader, writer = await raw(stage)
    for byte in masked(0x01, b'{"type":') + masked(0x89, b"hi") + masked(0x80, b' "ping"}'):
        writer.write(bytes([byte]))
        await writer.drain()
        await asyncio.sleep(0)
    frames = [await asyncio.wait_for(read_frame(reader), 10) for _ in range(2)]
    assert frames[0] == (10, b"hi")
    assert b'"pong"' in frames[1][1]
    writer.close()
