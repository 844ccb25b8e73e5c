"""The way to the server: what ``find`` says, with a token that was typed here. The token stays in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from msgspec.structs import replace

if TYPE_CHECKING:
    from etlmon.host.endpoint import Endpoint

TYPED = "typed in the console"


class Door:
    """Called for the server's place whenever it has to be found."""

    def __init__(self, find: Callable[[], Endpoint]) -> None:
        self._find = find
        self._token: str | None = None
        self._origin = ""

    def __call__(self) -> Endpoint:
        """The endpoint; a typed token goes only to the server that it was typed for."""
        found = self._find()
        if self._token is None or found.origin != self._origin:
            return found
        return replace(found, token=self._token, token_origin=TYPED)

    def use_token(self, token: str) -> None:
        """Take this token from now on."""
        self._origin = self._find().origin
        self._token = token
