"""Tokens: how they look, how they are made, and who is behind one. Only SHA-256 of a token is ever kept.

The look is GitHub's scheme (2021): a prefix that secret scanners know, 190 random bits, and a checksum that
lets a typing error or a foreign token be refused before any look-up.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import zlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from etlmon.core.access import Identity, Role
from etlmon.core.errors import Malformed, NotAuthenticated

if TYPE_CHECKING:
    from etlmon.server.store.tokens import Token

ALPHABET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
LETTERS = {Role.VIEWER: "v", Role.OPERATOR: "o", Role.ADMIN: "a", Role.REPORTER: "r"}
SECRET_LENGTH = 32
CHECK_LENGTH = 6
MAX_LENGTH = 100
SHAPE = re.compile(rf"etl[voar]_[0-9A-Za-z]{{{SECRET_LENGTH + CHECK_LENGTH}}}")
OPEN_IDENTITY = Identity(token_id=None, name="anyone", role=Role.ADMIN)
"""Who everybody is when ``auth.enabled`` is false."""
NOBODY = Identity(token_id="", name="nobody", role=Role.REPORTER)
"""Who asks without a token where none is needed: sees and may do nothing."""

REFUSED = "This needs a token of this server: send the header 'Authorization: Bearer <token>'."


def _checksum(text: str) -> str:
    number, digits = zlib.crc32(text.encode()), ""
    while len(digits) < CHECK_LENGTH:
        number, rest = divmod(number, 62)
        digits = ALPHABET[rest] + digits
    return digits


def mint_token(role: Role) -> str:
    """A new token's plain text, to be shown once: ``etl<role letter>_`` + 32 base62 + CRC32 as 6 base62."""
    text = f"etl{LETTERS[role]}_" + "".join(secrets.choice(ALPHABET) for _ in range(SECRET_LENGTH))
    return text + _checksum(text)


def is_token(text: str) -> bool:
    """Whether ``text`` has a token's shape and its checksum holds (no secret is compared here)."""
    return SHAPE.fullmatch(text) is not None and _checksum(text[:-CHECK_LENGTH]) == text[-CHECK_LENGTH:]


def hash_token(text: str) -> bytes:
    """What the store keeps of a token: its SHA-256. The token is random, so no slow hash is needed."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


def bearer_of(authorization: str) -> str:
    """The token in an Authorization header; NotAuthenticated when there is none in it."""
    scheme, _, text = authorization.strip().partition(" ")
    if scheme.lower() != "bearer" or not text.strip():
        raise NotAuthenticated(REFUSED)
    return text.strip()


class Tokens:
    """Every live token by its hash, in memory, so that a request costs one hash and one look-up."""

    def __init__(self, tokens: Iterable[Token], *, enabled: bool, now: Callable[[], int]) -> None:
        self.enabled = enabled
        self._now = now
        self._by_hash: dict[bytes, Token] = {}
        self._used_at: dict[str, int] = {}
        for token in tokens:
            self.add(token)

    def add(self, token: Token) -> None:
        """Honour ``token`` from now on (a revoked one is not)."""
        if token.revoked_at is None:
            self._by_hash[bytes(token.hash)] = token

    def drop(self, token_id: str) -> None:
        """Honour the token no more."""
        self._by_hash = {key: token for key, token in self._by_hash.items() if token.id != token_id}
        self._used_at.pop(token_id, None)

    def expired(self, now: int) -> list[Token]:
        """The tokens whose time has run out and that are still held."""
        return [token for token in self._by_hash.values() if token.expires_at is not None and token.expires_at <= now]

    def uses(self) -> dict[str, int]:
        """When each token was last presented since the server started."""
        return dict(self._used_at)

    def used_at(self, token_id: str) -> int | None:
        """When the token was last presented since the server started."""
        return self._used_at.get(token_id)

    def holds(self, text: str, role: Role) -> bool:
        """Whether ``text`` is a live token of that role."""
        token = self._by_hash.get(hash_token(text)) if is_token(text) else None
        return token is not None and token.role is role and (token.expires_at is None or token.expires_at > self._now())

    def identify(self, authorization: str | None) -> Identity:
        """Who sent this Authorization header. Every refusal says the same, so that it tells nothing."""
        if not self.enabled:
            return OPEN_IDENTITY
        if authorization is None:
            raise NotAuthenticated(REFUSED)
        return self.identify_token(bearer_of(authorization))

    def identify_token(self, text: str) -> Identity:
        """Who is behind the token itself (a WebSocket's first frame carries it bare)."""
        if not self.enabled:
            return OPEN_IDENTITY
        token = self._by_hash.get(hash_token(text)) if len(text) <= MAX_LENGTH else None
        now = self._now()
        if token is None or (token.expires_at is not None and token.expires_at <= now):
            raise NotAuthenticated(REFUSED)
        self._used_at[token.id] = now
        return Identity(token_id=token.id, name=token.name, role=token.role, owner=token.owner)


def single_header(values: list[str]) -> str | None:
    """The one Authorization header of a request; Malformed when there are two."""
    if len(values) > 1:
        raise Malformed("The request has more than one Authorization header: send one.")
    return values[0] if values else None
