"""The map at the head of conftest.py names tests that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

TESTS = Path(__file__).parent.parent
PLACE = re.compile(r"\b([a-z0-9]+)/([a-z_]+): ((?:[a-z0-9_A-Z]+(?:,\s+)?)+)")


def test_every_test_that_the_map_names_is_there() -> None:
    text = ast.get_docstring(ast.parse(Path(__file__).with_name("conftest.py").read_text())) or ""
    places = PLACE.findall(text.partition("\n    F1 ")[2])
    assert len(places) > 60
    missing = []
    for folder, file, words in places:
        source = (TESTS / folder / f"test_{file}.py").read_text()
        names = re.findall(r"def (test_\w+)", source)
        missing += [
            f"{folder}/{file}: {word}" for word in re.split(r",\s+", words) if not any(word in n for n in names)
        ]
    assert missing == []
