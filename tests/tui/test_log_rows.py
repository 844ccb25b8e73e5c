"""How lines look: the drawing of the log room to the cell, text that must not act, wrapping and panning."""

from __future__ import annotations

from datetime import UTC

from hypothesis import given
from hypothesis import strategies as st
from log_world import make_entry

from etlmon.core.text import shown
from etlmon.tui.drawing.spans import Line, line_width, plain
from etlmon.tui.logs.detail import detail_lines
from etlmon.tui.logs.entry import Entry, Lanes, hole
from etlmon.tui.logs.filter import LogFilter
from etlmon.tui.logs.heads import Settings, Standing, filters_line, lanes_line, status_line
from etlmon.tui.logs.rows import RowState, Shape, hole_row, line_row, n_rows, name_width, plain_line, texts
from etlmon.tui.logs.state import LogLines

AT = 1_763_866_693_733  # 2025-11-23 02:58:13.733 UTC
WIDE = Shape(width=120, name_width=14, zone=UTC)
NARROW = Shape(width=80, name_width=12, zone=UTC)


def looks(line: Line) -> list[tuple[str, str]]:
    """Each span that is not blank, with its look."""
    return [(text.strip(), look) for text, look in line if text.strip()]


def test_a_line_under_the_cursor_is_the_drawing_to_the_cell() -> None:
    entry = Entry(1, AT, 40, 0, '401 Unauthorized: {"code": "key_revoked", "message": "Expired API key"}')
    state = RowState(name="stripe_payouts", with_name=True, cursor=True)
    drawn = (
        '▌▎stripe_payouts  02:58:13.733 ERROR 401 Unauthorized: {"code": "key_revoked", "message": "Expired API key"}'
    )
    assert plain(line_row(entry, 0, WIDE, state)) == drawn


def test_a_further_row_of_the_same_line_is_muted_and_has_no_level() -> None:
    entry = Entry(1, AT, 50, 0, 'job failed\n  File "upload.py", line 212, in send')
    row = line_row(entry, 1, WIDE, RowState(name="stripe_payouts"))
    assert plain(row) == ' ▎                02:58:13.733         File "upload.py", line 212, in send'
    assert looks(row)[-1] == ('File "upload.py", line 212, in send', "muted")


def test_only_warnings_and_worse_are_coloured_and_debug_is_muted() -> None:
    def look_of(level: int) -> list[tuple[str, str]]:
        return looks(line_row(Entry(1, AT, level, 0, "text"), 0, WIDE, RowState()))[-2:]

    assert look_of(10) == [("debug", "muted"), ("text", "muted")]
    assert look_of(20) == [("info", "text"), ("text", "text")]
    assert look_of(30) == [("WARN", "warn bold"), ("text", "text")]
    assert look_of(40) == [("ERROR", "fail bold"), ("text", "text")]
    assert look_of(50) == [("CRIT", "fail bold"), ("text", "text")]


def test_at_80_columns_times_have_seconds_levels_a_letter_and_names_twelve_cells() -> None:
    row = line_row(Entry(1, AT, 30, 0, "row 2"), 0, NARROW, RowState(name="web_clickstream_03", with_name=True))
    assert plain(row) == " ▎web_clic…_03  02:58:13 W row 2"


def test_one_job_alone_has_neither_bar_nor_name() -> None:
    row = line_row(Entry(1, AT, 20, 0, "chunk"), 0, Shape(width=120, zone=UTC), RowState(name="crm_sync"))
    assert plain(row) == " 02:58:13.733 info  chunk"


def test_hits_stand_on_the_accent_in_any_case() -> None:
    shape = Shape(width=120, zone=UTC, term="key")
    row = line_row(Entry(1, AT, 20, 0, "Key and key"), 0, shape, RowState())
    assert looks(row)[2:] == [("Key", "accent reverse"), ("and", "text"), ("key", "accent reverse")]


def test_a_hole_says_how_many_and_when() -> None:
    entry = hole(5, AT, "412 lines removed by retention")
    row = hole_row(entry, WIDE, Entry(4, AT - 2_900_000, 20, 0, ""), Entry(9, AT - 2_640_000, 20, 0, ""), cursor=False)
    assert plain(row) == " ── 412 lines removed by retention, 02:09–02:14 ──"


def test_the_time_can_have_a_date_or_be_left_out() -> None:
    entry = Entry(1, AT, 20, 0, "x")
    assert plain(line_row(entry, 0, Shape(width=120, zone=UTC, time="date"), RowState())) == (
        " 2025-11-23 02:58:13.733 info  x"
    )
    assert plain(line_row(entry, 0, Shape(width=120, zone=UTC, time="off"), RowState())) == " info  x"


def test_a_cut_line_ends_in_an_ellipsis_and_is_seen_further_on_when_panned() -> None:
    shape = Shape(width=80, zone=UTC)
    entry = Entry(1, AT, 20, 0, "x" * 100 + "END")
    row = plain(line_row(entry, 0, shape, RowState()))
    assert len(row) == 79
    assert row.endswith("x…")
    panned = Shape(width=80, zone=UTC, offset=80)
    assert plain(line_row(entry, 0, panned, RowState())).endswith("xEND")


def test_wrapped_rows_break_at_blanks_and_lose_nothing_but_them() -> None:
    shape = Shape(width=80, zone=UTC, wrap=True)
    entry = Entry(1, AT, 20, 0, "word " * 40)
    rows = texts(entry, shape)
    assert len(rows) == n_rows(entry, shape) > 2
    assert " ".join(" ".join(rows).split()) == ("word " * 40).strip()
    assert all(len(row) <= shape.room for row in rows)


@given(text=st.text(alphabet="ab界 ", max_size=300), width=st.integers(40, 120))
def test_wrapped_rows_hold_every_character_that_is_no_blank(text: str, width: int) -> None:
    rows = texts(make_entry(1, text or "-"), Shape(width=width, zone=UTC, wrap=True))
    assert "".join(rows).replace(" ", "") == (text or "-").replace(" ", "")


def test_a_name_takes_what_the_longest_takes_up_to_a_bound() -> None:
    assert [name_width(longest, width) for longest, width in ((14, 120), (40, 120), (14, 80), (5, 80))] == [
        14,
        20,
        12,
        5,
    ]


@given(text=st.text(max_size=200), width=st.integers(40, 160), offset=st.integers(0, 30), wrap=st.booleans())
def test_no_text_acts_on_the_terminal_or_is_wider_than_its_row(text: str, width: int, offset: int, wrap: bool) -> None:
    shape = Shape(width=width, zone=UTC, wrap=wrap, offset=0 if wrap else offset, term="a")
    entry = make_entry(1, text.rstrip("\r\n") or "-")
    for sub in range(n_rows(entry, shape)):
        row = line_row(entry, sub, shape, RowState())
        assert line_width(row) <= width
        assert plain(row) == shown(plain(row))


def drawn_store() -> tuple[LogLines, Lanes]:
    """What the drawing shows."""
    lanes = Lanes({"a": "stripe_payouts", "b": "orders_nightly", "c": "crm_sync"})
    lines = LogLines()
    levels = {1: 40, 2: 50, 3: 40, 4: 30, 5: 30, 6: 30}
    lines.append([make_entry(seq, "key_revoked" if seq < 3 else "", levels.get(seq, 20)) for seq in range(1, 48_211)])
    lines.choose(LogFilter(without=("heartbeat",)))
    lines.search("key_revoked")
    return lines, lanes


def test_the_heads_and_the_status_are_the_drawing_to_the_cell() -> None:
    lines, lanes = drawn_store()
    left, right = " ▌stripe_payouts  ▌orders_nightly  ▌crm_sync", "level debug+  time 15m  wrap off "
    told = plain(lanes_line(lanes, lines.filter, Settings(window="15m"), 120))
    assert (told, len(told)) == (left + " " * (120 - len(left) - len(right)) + right, 120)
    left, right = (
        " & none   | heartbeat   / key_revoked",
        "hit 1 of 2 · 3 errors · 3 warnings · 48,210 lines ",
    )
    told = plain(filters_line(lines, 0, Settings(), 120))
    assert told == left + " " * (120 - len(left) - len(right)) + right
    standing = Standing(number=46_975, following=False, n_waiting=1234)
    left, right = " line 46,976 of 48,210 · seq 46,976", "▼ 1,234 new lines  f follow "
    assert plain(status_line(lines, standing, Settings(), 120)) == left + " " * (120 - len(left) - len(right)) + right
    following = status_line(lines, Standing(number=0, following=True), Settings(), 80)
    assert looks(following)[-1] == ("FOLLOWING", "accent bold reverse")


@given(n=st.integers(0, 400), width=st.integers(40, 200))
def test_the_heads_fit_however_many_jobs_there_are(n: int, width: int) -> None:
    lanes = Lanes({str(i): f"job_with_a_name_{i}" for i in range(n)})
    for line in (
        lanes_line(lanes, LogFilter(), Settings(), width),
        filters_line(LogLines(), 0, Settings(), width),
    ):
        assert line_width(line) == width
    if n == 400 and width > 60:
        assert "more" in plain(lanes_line(lanes, LogFilter(), Settings(), width))


def test_the_panel_tells_the_whole_line_with_its_fields_as_json() -> None:
    entry = Entry(7, AT, 40, 0, "first\nsecond " + "x" * 90, "load.csv", "Upload", b'{"n":1,"bad":"\\u202e"}')
    told = [plain(line) for line in detail_lines(entry, "crm_sync", "0190", 60, zone=UTC)]
    assert told[0] == " time     2025-11-23 02:58:13.733 +0000"
    assert any(line == " {" for line in told)
    assert any(line.startswith('   "n": 1') for line in told)
    assert all(len(line) <= 60 for line in told)
    assert not any("\u202e" in line for line in told)
    assert "".join(told).count("x") >= 90


def test_a_copied_line_holds_time_level_job_and_all_rows() -> None:
    told = plain_line(Entry(7, AT, 40, 0, "first\nsecond\x1b[31m"), "crm_sync", str)
    assert told == f"{AT} error crm_sync first\nsecond␛[31m"
