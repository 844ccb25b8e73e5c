"""The demo's screen, drawn without colours."""

import io

import pytest
from rich.console import Console

from etlmon.demo.screen import Bar


@pytest.mark.parametrize(
    ("percent", "shown"), [(None, "." * 20), (0, "." * 20), (60, "#" * 12 + "." * 8), (100, "#" * 20)]
)
def test_a_bar_without_colour_is_only_as_full_as_the_job(percent, shown):
    out = io.StringIO()
    Console(file=out, width=20, color_system=None).print(Bar(percent, "red"))
    assert out.getvalue().replace("█", "#").replace("·", ".") == shown + "\n"
