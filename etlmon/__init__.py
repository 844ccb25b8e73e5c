"""etlmon: what batch and ETL jobs do, live. The SDK's public names, each loaded when first asked for (PEP 562)."""

from __future__ import annotations

TYPE_CHECKING = False  # typing.TYPE_CHECKING, without the import
if TYPE_CHECKING:
    from etlmon.sdk.job import Job as Job
    from etlmon.sdk.job import JobCancelled as JobCancelled
    from etlmon.sdk.job import current_job as current_job
    from etlmon.sdk.job import job as job
    from etlmon.sdk.log_handler import LogHandler as LogHandler

    __version__: str

_ROOM_OF = {
    "Job": "etlmon.sdk.job",
    "JobCancelled": "etlmon.sdk.job",
    "LogHandler": "etlmon.sdk.log_handler",
    "current_job": "etlmon.sdk.job",
    "job": "etlmon.sdk.job",
}
__all__ = ["Job", "JobCancelled", "LogHandler", "__version__", "current_job", "job"]

if not TYPE_CHECKING:  # hidden from type checkers, so that a name that does not exist is still an error there

    def __getattr__(name: str) -> object:
        """The public name, from the room it lives in."""
        if name == "__version__":
            from importlib.metadata import version

            found = version("etlmon")
        elif name in _ROOM_OF:
            from importlib import import_module

            found = getattr(import_module(_ROOM_OF[name]), name)
        else:
            raise AttributeError(f"module 'etlmon' has no attribute {name!r}")
        globals()[name] = found
        return found

    def __dir__() -> list[str]:
        """The public names, loaded or not."""
        return sorted({*globals(), *__all__})
