"""The REST client: every kind of answer becomes a value or one of core's errors."""

from __future__ import annotations

import socket
import ssl

import pytest

from etlmon.client.rest import MAX_ANSWER_BYTES, parse_address
from etlmon.core import errors


def answer(body: bytes, *, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


@pytest.fixture
def client(raw, client_of):
    return client_of(raw.url)


def test_one_connection_serves_many_requests(raw, client):
    raw.answers = [answer(b'{"n": 1}')]
    assert [client.get("/api/health")["n"] for _ in range(5)] == [1] * 5
    assert raw.n_connections == 1


def test_the_token_goes_in_the_header_and_nowhere_else(raw, client):
    raw.answers = [answer(b"{}")]
    client.get(
        "/api/jobs", {"q": "status:failed a&b=ä", "limit": 3, "status": ["a", "b"], "none": None, "stream": True}
    )
    head = raw.asked[0].decode()
    assert head.startswith(
        "GET /api/jobs?q=status%3Afailed+a%26b%3D%C3%A4&limit=3&status=a&status=b&stream=true HTTP/1.1"
    )
    assert "\r\nAuthorization: Bearer good\r\n" in head
    assert head.count("good") == 1


def test_a_kept_connection_that_the_server_closed_is_made_anew_for_a_get(raw, client):
    raw.answers = [answer(b'{"n": 1}'), answer(b'{"n": 2}')]
    assert client.get("/a") == {"n": 1}
    client._connection.sock.shutdown(socket.SHUT_RDWR)
    assert client.get("/a") == {"n": 2}
    assert raw.n_connections == 2


def test_a_post_is_never_sent_twice(raw, client):
    raw.answers = [b""]
    with pytest.raises(errors.Unreachable):
        client.post("/api/jobs/x/cancel", body={"reason": "r"})
    assert len(raw.asked) == 1


@pytest.mark.parametrize(
    ("status", "cls"),
    [
        (400, errors.Malformed),
        (401, errors.NotAuthenticated),
        (403, errors.Forbidden),
        (404, errors.NotFound),
        (409, errors.Conflict),
        (413, errors.TooLarge),
        (415, errors.UnsupportedMedia),
        (422, errors.Invalid),
        (429, errors.TooManyRequests),
        (500, errors.EtlmonError),
        (503, errors.Unavailable),
        (504, errors.DeadlineExceeded),
    ],
)
def test_a_problem_becomes_the_error_it_stands_for(raw, client, status, cls):
    body = b'{"title":"t","detail":"Why.","errors":[{"path":"p","message":"m"},3],"ack":7}'
    raw.answers = [answer(body, status=f"{status} X", kind="application/problem+json", more="Retry-After: 1.5\r\n")]
    with pytest.raises(errors.EtlmonError) as caught:
        client.get("/api/jobs")
    error = caught.value
    assert type(error) is cls
    assert (error.detail, error.retry_after_s, error.extra) == ("Why.", 1.5, {"ack": 7})
    assert error.errors == (errors.Fault("p", "m"),)


def test_without_a_token_a_401_says_how_to_give_one(raw, client_of):
    raw.answers = [answer(b'{"detail":"No token."}', status="401 X")]
    with pytest.raises(errors.NotAuthenticated, match="none was found: use --token-file or ETLMON_TOKEN"):
        client_of(raw.url, None).get("/api/jobs")


@pytest.mark.parametrize(
    ("sent", "said"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n", "no HTTP"),
        (b"", "broke off"),
        (b"\x00" * 100, "no HTTP"),
        (answer(b"<html>nginx</html>", kind="text/html"), "no JSON"),
        (answer(b"<html>502</html>", status="502 Bad Gateway", kind="text/html; charset=x"), "HTTP 502 with text/html"),
        (answer(b'{"items": '), "no JSON"),
        (answer(b'{"a": "\xff"}'), "no JSON"),
        (answer(b"[" * 100_000), "no JSON"),
        (answer(b"[1]"), "no JSON object"),
        (answer(b"null"), "no JSON object"),
        (answer(b"", status="302 Found", more="Location: http://evil/\r\n"), "a redirect to http://evil/"),
        (answer(b"{}", status="200 OK").replace(b"Content-Length: 2", b"Content-Length: 20"), "within 2 s"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n", "failed"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 100_000 + b"\r\n\r\n", "no HTTP"),
    ],
)
def test_garbage_is_unreachable_with_the_url_and_what_came(raw, client, sent, said):
    raw.answers = [sent]
    with pytest.raises(errors.Unreachable) as caught:
        client.get("/api/jobs")
    assert raw.url in caught.value.detail
    assert said in caught.value.detail


def test_an_answer_without_end_is_cut_off(raw, client, monkeypatch):
    monkeypatch.setattr("etlmon.client.rest.MAX_ANSWER_BYTES", 1000)
    raw.answers = [answer(b'"' + b"x" * 5000 + b'"')]
    with pytest.raises(errors.Unreachable, match="more than"):
        client.get("/api/jobs")
    assert MAX_ANSWER_BYTES > 1000


@pytest.mark.parametrize("body", [b'{"jobs": []}', b'{"items": {}}', b'{"items": [3]}'])
def test_a_list_without_items_is_garbage(raw, client, body):
    raw.answers = [answer(body)]
    with pytest.raises(errors.Unreachable, match="a list without items"):
        list(client.items("/api/jobs"))


def test_pages_are_followed_up_to_the_limit(raw, client):
    raw.answers = [
        answer(b'{"items":[{"n":1},{"n":2}],"nextCursor":"a"}'),
        answer(b'{"items":[{"n":3},{"n":4}],"nextCursor":"b"}'),
        b"",
    ]
    assert list(client.items("/x", {"q": "z"}, limit=3)) == [{"n": 1}, {"n": 2}, {"n": 3}]
    assert [asked.split(b" ")[1] for asked in raw.asked] == [b"/x?q=z&limit=3", b"/x?q=z&limit=1&cursor=a"]


def test_a_cursor_that_does_not_move_ends_the_list(raw, client):
    raw.answers = [answer(b'{"items":[{}],"nextCursor":"a"}')]
    assert list(client.items("/x")) == [{}, {}]


def test_silence_is_unreachable_after_the_timeout(client_of):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = client_of(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(errors.Unreachable, match=r"did not answer within 0\.2 s"):
            client.get("/api/jobs")


def test_ipv6_is_spoken(client_of):
    with socket.create_server(("::1", 0), family=socket.AF_INET6) as listener:
        client = client_of(f"http://[::1]:{listener.getsockname()[1]}", timeout_s=0.2)
        with pytest.raises(errors.Unreachable, match=r"http://\[::1\]:\d+ did not answer"):
            client.get("/api/jobs")


def test_plain_http_where_tls_is_meant_sends_nothing(raw, client_of):
    raw.answers = [answer(b"{}")]
    with pytest.raises(errors.Unreachable, match="TLS"):
        client_of(raw.url.replace("http", "https"), timeout_s=1).get("/api/jobs")
    assert all(b"good" not in asked for asked in raw.asked)


def test_certificates_are_checked_by_default(client_of):
    connection = client_of("https://127.0.0.1:1")._connect(1.0)
    assert connection._context.verify_mode is ssl.CERT_REQUIRED
    assert connection._context.check_hostname


def test_a_stream_gives_lines_as_they_come(raw, client):
    raw.answers = [
        b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n4\r\n\n{"a\r\n6\r\n":1}\n\n\r\n0\r\n\r\n'
    ]
    assert list(client.stream("/x")) == [b"{}", b'{"a":1}']


@pytest.mark.parametrize("tail", [b"", b"5\r\n{}", b"3\r\n{}\n\r\n2\r\n{}\r\n0\r\n\r\n"])
def test_a_stream_that_breaks_off_is_unreachable_after_the_whole_lines(raw, client, tail):
    raw.answers = [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n" + tail]
    lines = client.stream("/x")
    assert next(lines) == b"{}"
    with pytest.raises(errors.Unreachable):
        list(lines)


def test_a_quiet_stream_says_so(client_of):
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = client_of(f"http://127.0.0.1:{listener.getsockname()[1]}", timeout_s=5)
        lines = client.stream("/x", quiet_s=0.1)
        import threading

        def serve() -> None:
            peer, _ = listener.accept()
            peer.recv(10_000)
            peer.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{}\n\r\n")
            peer.recv(1)
            peer.close()

        thread = threading.Thread(target=serve)
        thread.start()
        assert next(lines) == b"{}"
        with pytest.raises(errors.TimedOut):
            next(lines)
        thread.join()


def test_a_line_that_is_no_record_is_garbage(raw, client):
    raw.answers = [answer(b'{"a":1}\n[]\n')]
    records = client.records("/x")
    assert next(records) == {"a": 1}
    with pytest.raises(errors.Unreachable, match="no JSON object"):
        next(records)


def test_a_refused_stream_is_the_error_it_stands_for(raw, client):
    raw.answers = [answer(b'{"detail":"No such job."}', status="404 X")]
    with pytest.raises(errors.NotFound, match=r"No such job\."):
        next(client.stream("/x"))


@pytest.mark.parametrize(
    ("url", "whole"),
    [
        ("127.0.0.1:8081", "http://127.0.0.1:8081"),
        ("http://h", "http://h:80"),
        ("https://h/etl/", "https://h:443/etl"),
        ("HTTP://[::1]:1", "http://[::1]:1"),
    ],
)
def test_an_address_is_read_as_people_write_it(url, whole):
    assert parse_address(url).url == whole


@pytest.mark.parametrize(
    "url",
    [
        "ftp://h",
        "http://",
        "",
        "http://h:x",
        "http://h:99999",
        "http://a:b@h",
        "http://ok\\@evil/",
        "http://h\n.x",
        "http://h /",
    ],
)
def test_what_is_no_address_is_a_usage_error(url):
    with pytest.raises(errors.Usage):
        parse_address(url)
