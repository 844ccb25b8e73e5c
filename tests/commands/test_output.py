"""The ways out: YAML that reads back, cells that stay cells, tables that fit."""

from __future__ import annotations

import re
import unicodedata

import msgspec
import yaml
from hypothesis import example, given
from hypothesis import strategies as st

from etlmon.commands.output import Column, Look, tsv_cell
from etlmon.commands.table import cut, fitted, padded, render, width_of
from etlmon.commands.yaml import to_yaml
from etlmon.core.text import shown

RAW = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff]")
TEXT = st.text(st.characters(exclude_categories=["Cs"]))
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
@example({"a": [{"b": [1, [2, []], {}]}, "no", "null", "1e3", "~", "2026-01-02", "=", "<<", "", " ", "-", "?"]})
@example([1e22, 1.5e-7, 1e-7, -0.0, 5e-324, 1.7976931348623157e308])
@example({"\U000e0041": "\u2028\u0085\x7f\x9b", "on": "off", "y": "N"})
@example([[[]], [{}], [[{"a": [1]}]]])
def test_yaml_says_exactly_what_json_says_and_nothing_raw(value):
    text = to_yaml(value)
    assert yaml.safe_load(text) == value
    assert not RAW.search(text)


@given(st.text())
def test_a_cell_of_tab_separated_text_is_one_cell_of_one_line(text):
    cell = tsv_cell(text)
    assert not RAW.search(cell)
    assert not re.search("[\t\n\ud800-\udfff]", cell)


def test_tabs_and_line_ends_in_a_cell_are_told():
    assert tsv_cell("a\tb\nc\r") == "a\\tb\\nc\\r"


LOOK = Look(terminal=True, redraws=True, colour=False, unicode=True, utc=False, width=80, now=0)


@given(st.text().map(shown), st.integers(1, 40))
def test_what_is_cut_never_takes_more_cells_than_there_are(text, room):
    assert width_of(cut(text, room, LOOK)) <= room
    assert width_of(padded(cut(text, room, LOOK), room)) == room


def test_wide_characters_count_twice_and_combining_marks_not_at_all():
    assert width_of("表e\u0301") == 3
    assert unicodedata.combining("\u0301")
    assert cut("表表表", 4, LOOK) == "表…"


@given(
    st.lists(st.tuples(st.integers(1, 60), st.integers(0, 30), st.integers(0, 9)), min_size=1, max_size=12),
    st.integers(1, 200),
)
def test_columns_are_fitted_into_any_width_and_the_first_rank_stays(shapes, total):
    columns = [Column("C", lambda item, look: "", elastic=elastic, rank=rank) for _, elastic, rank in shapes]
    widths = fitted([width for width, _, _ in shapes], columns, total)
    kept = [width for width in widths if width]
    assert kept
    assert sum(kept) + 2 * (len(kept) - 1) <= total
    assert all(width <= shape[0] for width, shape in zip(widths, shapes, strict=True))


def test_an_empty_table_is_nothing():
    assert render([], [Column("C", lambda item, look: "")], LOOK) == []


def test_a_number_of_the_wire_is_told_in_full():
    assert to_yaml(msgspec.json.decode(b'{"seq": 90412771, "share": 0.0033}')) == "seq: 90412771\nshare: 0.0033\n"
