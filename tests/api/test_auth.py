"""Tokens: how they look, and who is behind one."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from etlmon.core.access import Role
from etlmon.core.errors import Malformed, NotAuthenticated, TooManyRequests
from etlmon.server.auth import Tokens, hash_token, is_token, mint_token, single_header
from etlmon.server.limits import Limits, is_loopback
from etlmon.server.store.tokens import Token


def make_token(plain: str, role: Role = Role.VIEWER, **more: Any) -> Token:
    values = {"id": "t1", "name": "ana's", "owner": "ana", "created_at": 0, "created_by": "x"}
    return Token(**{**values, "role": role, "hash": hash_token(plain), **more})


def make_tokens(clock: Any, *tokens: Token, enabled: bool = True) -> Tokens:
    return Tokens(tokens, enabled=enabled, now=clock.now)


@pytest.mark.parametrize("role", list(Role))
def test_a_minted_token_has_the_shape_that_scanners_know(role: Role) -> None:
    plain = mint_token(role)
    assert plain.startswith(f"etl{role.value[0]}_")
    assert len(plain) == 5 + 32 + 6
    assert is_token(plain)


@given(st.text(max_size=60))
def test_no_other_text_is_a_token(text: str) -> None:
    assert not is_token(text)


@given(st.integers(0, 42), st.sampled_from("0aZ"))
def test_one_wrong_character_is_noticed(at: int, other: str) -> None:
    plain = mint_token(Role.ADMIN)
    if plain[at] != other:
        assert not is_token(plain[:at] + other + plain[at + 1 :])


def test_a_known_token_says_who_it_is(clock: Any) -> None:
    plain = mint_token(Role.VIEWER)
    identity = make_tokens(clock, make_token(plain)).identify(f"bearer {plain}")
    assert (identity.token_id, identity.role, identity.owner) == ("t1", Role.VIEWER, "ana")


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Basic abc", "Bearer nonsense", "Bearer é", "Bearer " + "x" * 10_000]
)
def test_anything_else_is_refused_with_the_same_words(clock: Any, header: str | None) -> None:
    with pytest.raises(NotAuthenticated) as caught:
        make_tokens(clock, make_token(mint_token(Role.VIEWER))).identify(header)
    assert "Authorization: Bearer" in caught.value.detail


def test_a_token_of_another_server_is_refused(clock: Any) -> None:
    with pytest.raises(NotAuthenticated):
        make_tokens(clock, make_token(mint_token(Role.VIEWER))).identify(f"Bearer {mint_token(Role.VIEWER)}")


def test_a_dropped_token_is_refused_at_once(clock: Any) -> None:
    plain = mint_token(Role.VIEWER)
    tokens = make_tokens(clock, make_token(plain))
    tokens.drop("t1")
    with pytest.raises(NotAuthenticated):
        tokens.identify(f"Bearer {plain}")


def test_a_revoked_token_is_not_honoured_after_a_restart(clock: Any) -> None:
    plain = mint_token(Role.VIEWER)
    with pytest.raises(NotAuthenticated):
        make_tokens(clock, make_token(plain, revoked_at=5)).identify(f"Bearer {plain}")


def test_a_token_runs_out_at_its_instant(clock: Any) -> None:
    plain = mint_token(Role.VIEWER)
    tokens = make_tokens(clock, make_token(plain, expires_at=clock.now() + 1000))
    assert tokens.identify(f"Bearer {plain}").token_id == "t1"
    assert tokens.expired(clock.now()) == []
    clock.advance(1)
    assert [token.id for token in tokens.expired(clock.now())] == ["t1"]
    with pytest.raises(NotAuthenticated):
        tokens.identify(f"Bearer {plain}")


def test_with_auth_off_everybody_is_admin(clock: Any) -> None:
    assert make_tokens(clock, enabled=False).identify(None).role is Role.ADMIN


def test_two_authorization_headers_are_refused() -> None:
    with pytest.raises(Malformed):
        single_header(["Bearer a", "Bearer b"])


def make_limits(clock: Any) -> Limits:
    return Limits(per_token_s=10, burst=20, failures_per_minute=10, monotonic=clock.monotonic)


def test_a_token_that_asks_too_fast_is_told_when_to_come_back(clock: Any) -> None:
    limits = make_limits(clock)
    for _ in range(20):
        limits.admit("t1", "192.0.2.1")
    with pytest.raises(TooManyRequests) as caught:
        limits.admit("t1", "192.0.2.1")
    assert caught.value.retry_after_s
    limits.admit("t2", "192.0.2.1")
    clock.advance(0.1)
    limits.admit("t1", "192.0.2.1")


def test_guessing_tokens_is_limited_by_address_and_the_limit_passes(clock: Any) -> None:
    limits = make_limits(clock)
    for _ in range(10):
        limits.check_failures("192.0.2.1")
    with pytest.raises(TooManyRequests):
        limits.check_failures("192.0.2.1")
    limits.check_failures("192.0.2.2")
    clock.advance(6)
    limits.check_failures("192.0.2.1")


def test_loopback_is_not_limited(clock: Any) -> None:
    limits = make_limits(clock)
    for _ in range(1000):
        limits.admit("t1", "127.0.0.1")
        limits.check_failures("::1")


@pytest.mark.parametrize(
    ("address", "local"),
    [
        ("127.0.0.1", True),
        ("127.8.8.8", True),
        ("::1", True),
        ("::ffff:127.0.0.1", True),
        ("", True),
        ("192.0.2.1", False),
        ("fe80::1%eth0", False),
        ("nonsense", False),
    ],
)
def test_what_loopback_is(address: str, local: bool) -> None:
    assert is_loopback(address) is local
