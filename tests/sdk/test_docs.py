"""The SDK's page says what is so: its examples run, and what they tell arrives."""

from __future__ import annotations

import logging
import re
from pathlib import Path
from typing import Any

import pytest

PAGE = Path(__file__).parents[2] / "docs" / "sdk.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("number", range(len(EXAMPLES)))
def test_each_example_runs(server: Any, reporter: Any, number: int) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    try:
        exec(compile(EXAMPLES[number], f"{PAGE}:{number}", "exec"), {"__name__": "example"})
    finally:
        root.handlers[:] = before
    assert reporter.flush(10)
    if "etlmon.job(" in EXAMPLES[number]:
        assert server.reports[0]["kind"] == "job_started"
        assert server.reports[-1]["kind"] == "completed"
