"""What a client may send, and what a cursor is."""

from __future__ import annotations

import json
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core import protocol
from etlmon.core.errors import EtlmonError, Invalid, Malformed
from etlmon.core.protocol import Cursor, Ping, Subscribe, Unsubscribe, parse_frame, split, wanted_from_query


@given(st.from_regex(r"\A[A-Za-z0-9_-]{1,20}\Z"), st.integers(min_value=0, max_value=2**62))
def test_a_cursor_survives_its_text(epoch: str, seq: int) -> None:
    assert Cursor.parse(Cursor(epoch, seq).format()) == Cursor(epoch, seq)


@pytest.mark.parametrize(
    "text", ["", "k3", "k3:", ":5", "k3:-1", "k3:1.5", "k3:٣", "a b:1", "k3:1:2", "k3:" + "9" * 40]
)
def test_what_is_not_a_cursor_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        Cursor.parse(text)


def test_each_kind_of_frame_is_read() -> None:
    frame = parse_frame(
        '{"type": "subscribe", "id": "a", "data": {"topics": ["logs"], "jobIds": ["x"], "level": "warning"}}'
    )
    assert isinstance(frame, Subscribe)
    assert frame.data is not None
    assert (frame.id, frame.data.topics, frame.data.job_ids, frame.data.level) == ("a", ["logs"], ["x"], "warning")
    assert parse_frame('{"type": "subscribe", "channel": "job:ana"}') == Subscribe(channel="job:ana")
    assert parse_frame('{"type": "unsubscribe", "id": "a"}') == Unsubscribe(id="a")
    assert parse_frame('{"type": "ping"}') == Ping()


@pytest.mark.parametrize(
    "text", ["", "{nonsense", "[]", "[1", "5", "null", '"subscribe"', "[" * 60_000, '{"a": 1}x', "NaN"]
)
def test_what_is_no_json_object_is_malformed(text: str) -> None:
    with pytest.raises(Malformed):
        parse_frame(text)


@pytest.mark.parametrize(
    ("text", "path", "hint"),
    [
        ('{"type": "subscrib"}', "type", "subscribe"),
        ('{"type": null}', "type", "subscribe"),
        ('{"id": "a"}', "type", "subscribe"),
        ('{"type": "subscribe", "data": {"topic": ["jobs"]}}', "data.topic", "topics"),
        ('{"type": "subscribe", "dta": {}}', "dta", "data"),
        ('{"type": "subscribe", "data": {"level": 3}}', "data.level", "str"),
        ('{"type": "subscribe", "data": [1]}', "data", "object"),
        ('{"type": "auth"}', "", "token"),
    ],
)
def test_a_wrong_frame_is_told_where_and_what(text: str, path: str, hint: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_frame(text)
    assert caught.value.errors[0].path == path
    assert hint in caught.value.errors[0].message


@given(st.text(max_size=200) | st.binary(max_size=200))
def test_no_message_at_all_escapes_the_error_tree(text: str | bytes) -> None:
    with suppress(EtlmonError):
        parse_frame(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=8),
        lambda x: (
            st.lists(x, max_size=3)
            | st.dictionaries(st.sampled_from(["type", "id", "data", "since", "channel", "token", "x"]), x, max_size=4)
        ),
        max_leaves=8,
    ),
    st.sampled_from(["subscribe", "ping", "auth", "unsubscribe"]),
)
def test_no_object_at_all_escapes_the_error_tree(inner: object, kind: str) -> None:
    raw = {**inner, "type": kind} if isinstance(inner, dict) else {"type": kind, "data": inner}
    with suppress(EtlmonError):
        parse_frame(json.dumps(raw))


def test_the_query_string_uses_the_same_words() -> None:
    wanted = wanted_from_query({"topics": ["jobs,logs"], "status": ["running", "!failed"], "since": ["e:5"]})
    assert split(wanted.topics) == ("jobs", "logs")
    assert split(wanted.status) == ("running", "!failed")
    assert wanted.since == "e:5"
    with pytest.raises(Invalid, match="status"):
        wanted_from_query({"statuss": ["running"]})


def test_only_the_lower_half_of_the_close_codes_invites_a_reconnect() -> None:
    assert [code for code in protocol.CloseCode if not code.invites_reconnect] == [4501, 4503, 4508]
