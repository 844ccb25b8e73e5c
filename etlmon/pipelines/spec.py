"""What one attempt is started with (JSON on standard input, or in a file named on the command line)."""

from __future__ import annotations

from typing import Any

import msgspec

from etlmon.core.errors import Fault
from etlmon.pipelines.ends import ConfigRefused


class Spec(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One attempt. Without ``allowed_roots`` or ``allowed_hosts`` (run by hand) nothing is forbidden."""

    type: str
    config: dict[str, Any]
    name: str = ""
    attempt: int = 1
    work_dir: str = ""
    allowed_roots: tuple[str, ...] | None = None
    allowed_hosts: tuple[str, ...] | None = None
    cwd: str = "."


def read_spec(raw: bytes) -> Spec:
    """The spec; ConfigRefused when it is none."""
    try:
        return msgspec.json.decode(raw, type=Spec)
    except msgspec.DecodeError as fault:  # ValidationError is one
        raise ConfigRefused(Fault("", f"the spec cannot be read: {fault}")) from None
