"""The guest's manners: a fault of etlmon's own never reaches the program that reports, and each kind is told once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

LOGGER = "etlmon.sdk"
_told: set[str] = set()


def warn_once(key: str, message: str, *, exc_info: bool = False) -> None:
    """Log a warning the first time that ``key`` comes up in this process; silent ever after."""
    if key in _told or len(_told) > 1000:  # bounded: a key made of arbitrary text must not grow for ever
        return
    _told.add(key)
    import logging

    logger = logging.getLogger(LOGGER)
    if not logger.handlers:  # a program that has set up no logging is told nothing on its stderr
        logger.addHandler(logging.NullHandler())
    logger.warning("%s", message, exc_info=exc_info, extra={"action": key})


def harmless(function: Callable[P, T]) -> Callable[P, T | None]:
    """Wrap a public function: whatever goes wrong inside is logged once and gives None."""

    @functools.wraps(function)
    def guarded(*args: P.args, **kwargs: P.kwargs) -> T | None:
        try:
            return function(*args, **kwargs)
        except Exception:  # noqa: BLE001 - Law 5: the monitor never harms the job
            warn_once(f"fault.{function.__qualname__}", f"etlmon: {function.__name__} failed", exc_info=True)
            return None

    return guarded
