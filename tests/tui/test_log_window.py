"""Where the reader stands: following never lags, and otherwise no row of the screen moves by itself."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from log_world import make_entry

from etlmon.tui.logs.filter import LogFilter
from etlmon.tui.logs.state import LogLines
from etlmon.tui.logs.window import LogWindow, Row


def window_over(n: int, *, cap: int = 1000, rows: int = 1, height: int = 5) -> tuple[LogLines, LogWindow]:
    """A window of ``height`` over ``n`` lines of ``rows`` rows each."""
    lines = LogLines(cap)
    lines.append([make_entry(seq) for seq in range(1, n + 1)])
    window = LogWindow(lines, lambda number: rows)
    window.height = height
    return lines, window


def seqs(lines: LogLines, rows: list[Row | None]) -> list[int | None]:
    """The seq of the line in each row."""
    return [None if row is None else lines.entry(row[0]).seq for row in rows]


def test_following_shows_the_last_rows_with_the_cursor_on_the_last_line() -> None:
    lines, window = window_over(20)
    assert seqs(lines, window.rows()) == [16, 17, 18, 19, 20]
    lines.append([make_entry(21)])
    assert seqs(lines, window.rows()) == [17, 18, 19, 20, 21]
    assert lines.entry(window.cursor).seq == 21


def test_fewer_lines_than_rows_stand_at_the_top() -> None:
    lines, window = window_over(2)
    assert seqs(lines, window.rows()) == [1, 2]


def test_scrolling_up_stops_following_and_counts_what_waits_until_it_is_seen() -> None:
    lines, window = window_over(20)
    window.rows()
    window.scroll(-3)
    assert not window.following
    assert seqs(lines, window.rows()) == [13, 14, 15, 16, 17]
    lines.append([make_entry(seq) for seq in range(21, 31)])
    assert seqs(lines, window.rows()) == [13, 14, 15, 16, 17]
    assert window.n_waiting == 10
    window.scroll(9)
    window.rows()
    assert window.n_waiting == 4
    window.scroll(100)
    assert (window.following, window.n_waiting) == (True, 0)


def test_rows_whose_lines_are_let_go_turn_blank_and_the_others_stay() -> None:
    lines, window = window_over(10, cap=10)
    window.rows()
    window.home()
    assert seqs(lines, window.rows()) == [1, 2, 3, 4, 5]
    lines.append([make_entry(11), make_entry(12)])
    assert seqs(lines, window.rows()) == [None, None, 3, 4, 5]
    lines.append([make_entry(13)])
    assert seqs(lines, window.rows()) == [None, None, None, 4, 5]
    assert lines.entry(window.cursor).seq == 4
    lines.append([make_entry(seq) for seq in range(14, 30)])
    assert seqs(lines, window.rows()) == [20, 21, 22, 23, 24]


def test_older_lines_put_before_move_nothing() -> None:
    lines, window = window_over(0)
    lines.append([make_entry(seq) for seq in range(100, 110)])
    window.rows()
    window.home()
    before = seqs(lines, window.rows())
    lines.prepend([make_entry(seq) for seq in range(50, 100)])
    assert seqs(lines, window.rows()) == before
    window.move(-1)
    assert seqs(lines, window.rows()) == [99, 100, 101, 102, 103]


def test_the_cursor_keeps_its_row_when_other_lines_are_chosen() -> None:
    lines, window = window_over(100)
    window.rows()
    window.go(49, centre=True)
    y = window.rows().index((49, 0))
    lines.choose(LogFilter(words=("0",)))
    window.rechosen()
    rows = window.rows()
    assert seqs(lines, rows)[y] == 50
    lines.choose(LogFilter())
    window.rechosen()
    assert seqs(lines, window.rows())[y] == 50


def test_the_cursor_past_the_last_line_follows_again() -> None:
    _, window = window_over(10)
    window.rows()
    window.move(-1)
    assert not window.following
    window.move(1)
    assert not window.following
    window.move(1)
    assert window.following


def test_a_line_of_many_rows_is_scrolled_row_by_row() -> None:
    lines, window = window_over(3, rows=4)
    window.rows()
    window.scroll(-1)
    assert window.rows()[0] == (1, 2)
    window.scroll(-100)
    assert window.rows() == [(0, 0), (0, 1), (0, 2), (0, 3), (1, 0)]
    window.go(2)
    assert window.rows()[-1] == (2, 3)
    assert lines.n_shown == 3


def test_pages_overlap_by_a_row_and_end_at_both_ends() -> None:
    lines, window = window_over(20)
    window.rows()
    window.page(-1)
    assert seqs(lines, window.rows()) == [12, 13, 14, 15, 16]
    for _ in range(6):
        window.page(-1)
        window.rows()
    assert (seqs(lines, window.rows())[0], window.cursor) == (1, 0)
    for _ in range(9):
        window.page(1)
        window.rows()
    assert window.following


def test_a_click_chooses_the_line_of_its_row() -> None:
    lines, window = window_over(20)
    assert window.click(1)
    assert lines.entry(window.cursor).seq == 17
    assert not window_over(2)[1].click(4)


moves = st.one_of(
    st.tuples(st.just("append"), st.integers(1, 30)),
    st.tuples(st.just("prepend"), st.integers(1, 30)),
)
goes = st.one_of(
    st.tuples(st.just("scroll"), st.integers(-20, 20)),
    st.tuples(st.just("move"), st.integers(-20, 20)),
    st.tuples(st.just("page"), st.sampled_from((-1, 1))),
    st.tuples(st.just("go"), st.integers(-50, 150)),
    st.tuples(st.just("filter"), st.integers(0, 3)),
    st.tuples(st.just("home"), st.just(0)),
    st.tuples(st.just("hold"), st.just(0)),
    st.tuples(st.just("follow"), st.just(0)),
)


@settings(max_examples=300, deadline=None)
@given(
    steps=st.lists(moves | goes, max_size=25),
    cap=st.integers(10, 120),
    sizes=st.lists(st.integers(1, 7), min_size=5, max_size=5),
)
def test_no_row_moves_but_by_a_key(steps: list[tuple[str, int]], cap: int, sizes: list[int]) -> None:
    lines = LogLines(cap)
    window = LogWindow(lines, lambda number: sizes[lines.entry(number).seq % 5])
    window.height = 8
    newest, oldest = 1000, 1000
    for kind, n in steps:
        was = window.rows()
        before = [None if row is None else (lines.entry(row[0]).seq, row[1]) for row in was]
        match kind:
            case "append":
                lines.append([make_entry(seq) for seq in range(newest, newest + n)])
                newest += n
            case "prepend":
                lines.prepend([make_entry(seq) for seq in range(oldest - n, oldest)])
                oldest -= n
            case "filter":
                lines.choose(LogFilter(words=(str(n),) if n else ()))
                window.rechosen()
            case "go":
                window.go(n)
            case "scroll" | "move" | "page":
                getattr(window, kind)(n)
            case _:
                getattr(window, kind)()
        rows = window.rows()
        assert len(rows) <= 8
        drawn = [row for row in rows if row is not None]
        assert drawn == sorted(set(drawn))
        if not lines.n_shown:
            assert not drawn
            continue
        assert drawn
        assert lines.is_shown(window.cursor)
        if window.following:
            assert drawn[-1][0] == lines.number(lines.n_shown - 1)
        elif kind in ("append", "prepend"):
            kept = [row for row in was if row is not None and lines.holds(row[0])]
            after = [None if row is None else (lines.entry(row[0]).seq, row[1]) for row in rows]
            if kept:
                for y, seen in enumerate(before):
                    if was[y] in kept:
                        assert after[y] == seen
