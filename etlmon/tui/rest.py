"""REST for the console: one client in one thread of its own, so that a slow answer never holds up a key.

Imports no aiohttp: the console paints before it connects.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from etlmon.client.rest import Client
    from etlmon.host.endpoint import Endpoint

T = TypeVar("T")
TIMEOUT_S = 10.0


class Rest:
    """Asks the server that ``find`` names. Faults are core.errors'."""

    def __init__(self, find: Callable[[], Endpoint]) -> None:
        self._find = find
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="etlmon-rest")
        self._client: Client | None = None

    async def ask(self, question: Callable[[Client], T]) -> T:
        """The answer to ``question(client)``, asked in the thread; questions wait their turn."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._ask, question)

    def _ask(self, question: Callable[[Client], T]) -> T:
        from etlmon.client.rest import Client

        if self._client is None:
            self._client = Client(self._find, timeout_s=TIMEOUT_S)
        return question(self._client)

    def close(self) -> None:
        """Let the thread and its connection go; a question under way is given up."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        if self._client is not None:
            self._client.close()
