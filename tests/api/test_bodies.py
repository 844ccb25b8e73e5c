"""Request bodies: parsed without a surprise, inflated within a bound."""

from __future__ import annotations

import gzip
import json
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.errors import EtlmonError, Invalid, Malformed, TooLarge, UnsupportedMedia
from etlmon.server.api.bodies import MAX_INFLATED, inflate, parse_body, parse_json
from etlmon.server.api.jobs import AnnotateBody
from etlmon.server.api.tokens import TokenRequest


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b'{"a":' * 100_000,
        b'{"a": NaN}',
        b'{"a": -Infinity}',
        b"\xff\xfe",
        b'{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_what_cannot_be_read_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        parse_json(body)


@pytest.mark.parametrize("body", [b'{"a": 1, "a": 2}', b'{"a": 1e400}', b'{"x": {"a": 1, "a": 1}}'])
def test_what_reads_but_is_wrong_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse_json(body)


def test_lone_surrogates_become_replacement_characters() -> None:
    assert parse_json(rb'{"\ud800": ["a\udfffb", "\ud83d\ude00"]}') == {"�": ["a�b", "😀"]}


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(Invalid, match="did you mean priority"):
        parse_body(b'{"prioritty": 3}', AnnotateBody)


def test_a_wrong_value_names_its_place() -> None:
    with pytest.raises(Invalid) as caught:
        parse_body(b'{"priority": "high"}', AnnotateBody)
    assert caught.value.errors[0].path == "priority"


@pytest.mark.parametrize("body", [b"[]", b"3", b'"x"', b"null"])
def test_a_body_that_is_no_object_is_invalid(body: bytes) -> None:
    with pytest.raises(Invalid):
        parse_body(body, AnnotateBody)


def test_fields_that_only_the_server_sets_are_refused() -> None:
    with pytest.raises(Invalid):
        parse_body(b'{"name": "a", "role": "viewer", "id": "x"}', TokenRequest)


@given(
    st.binary(max_size=200)
    | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(lambda v: json.dumps(v).encode())
)
def test_any_bytes_give_a_body_or_a_refusal(body: bytes) -> None:
    status = 200
    try:
        parse_body(body, TokenRequest)
    except EtlmonError as refusal:
        status = refusal.status
    assert status in (200, 400, 422)


@given(st.binary(max_size=2000))
async def test_what_was_packed_is_unpacked(body: bytes) -> None:
    raw = zlib.compressobj(wbits=-15)
    assert await inflate(gzip.compress(body), "gzip") == body
    assert await inflate(zlib.compress(body), "deflate") == body
    assert await inflate(raw.compress(body) + raw.flush(), "deflate") == body


async def test_a_bomb_is_refused_before_it_is_unpacked() -> None:
    with pytest.raises(TooLarge):
        await inflate(gzip.compress(b"\0" * (MAX_INFLATED + 1)), "gzip")


@pytest.mark.parametrize(
    "body",
    [b"", b"junk", gzip.compress(b"x" * 1000)[:-4], gzip.compress(b"a") + b"tail"],
    ids=["nothing", "no gzip", "cut off", "something after the end"],
)
async def test_a_stream_that_is_not_whole_is_malformed(body: bytes) -> None:
    with pytest.raises(Malformed):
        await inflate(body, "gzip")


async def test_other_encodings_are_not_read() -> None:
    with pytest.raises(UnsupportedMedia):
        await inflate(b"x", "br")
