"""Bytes → lines → level: pure, so arbitrary bytes in arbitrary pieces."""

import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console
from rich.progress import Progress
from tqdm import tqdm

from etlmon.agent.levels import Levels, level_of
from etlmon.agent.output import MAX_LINE_BYTES, SEEN_BYTES, Lines


def lines_of(*pieces: bytes) -> list[str]:
    lines = Lines()
    found = [line for piece in pieces for line in lines.feed(piece)]
    return found + lines.flush(final=True)


def cut(data: bytes, places: list[int]) -> list[bytes]:
    marks = sorted({place % (len(data) + 1) for place in places} | {0, len(data)})
    return [data[a:b] for a, b in itertools.pairwise(marks)]


@given(
    st.lists(st.text(st.characters(exclude_characters="\n\r\x00\x1b\x9b", codec="utf-8"))),
    st.lists(st.integers(0, 999)),
)
def test_lines_are_the_same_however_the_bytes_are_cut(texts, places):
    data = "".join(f"{text}\n" for text in texts).encode()
    assert lines_of(*cut(data, places)) == texts


@given(st.binary(), st.lists(st.integers(0, 999)))
def test_any_bytes_become_text_without_nul_or_surrogates_and_without_a_fault(data, places):
    for line in lines_of(*cut(data, places)):
        assert "\n" not in line
        assert "\x00" not in line
        line.encode()


def test_both_ends_of_line_are_one():
    assert lines_of(b"one\r\ntwo\nthree\r\r\n\r\nlast\r") == ["one", "two", "three", "", "last"]


def test_an_end_of_line_may_fall_between_two_reads():
    assert lines_of(b"one\r", b"\ntwo", b"\r\n") == ["one", "two"]


def test_of_a_line_that_redraws_itself_only_the_last_state_counts():
    assert lines_of(b"10%\r 20%", b"\r100%\ndone\n") == ["100%", "done"]
    assert lines_of(b"working\r       \rdone\n") == ["done"]
    assert lines_of(b"spinning\r        \r\n") == []


def test_escape_sequences_are_left_out():
    assert lines_of(b"\x1b[1;31merror\x1b[0m: \x1b]8;;http://x\x07link\x1b]8;;\x07\n") == ["error: link"]


def test_bytes_that_are_no_utf8_are_replaced():
    assert lines_of(b"caf\xe9\n") == ["caf\ufffd"]


def test_a_line_is_cut_where_it_is_too_long_and_says_so():
    (line,) = lines_of(*[b"x" * 50_000] * 40)
    assert len(line.encode()) <= MAX_LINE_BYTES
    head, mark = line.split(" … ")
    assert mark == f"[cut {2_000_000 - len(head)} bytes]"


def test_what_is_held_of_an_endless_line_is_bounded():
    lines = Lines()
    for _ in range(1000):
        assert lines.feed(b"\r" + b"x" * 10_000) == []
    assert len(lines._open) <= 4 * MAX_LINE_BYTES
    assert len(lines.seen) <= SEEN_BYTES


def test_an_open_line_is_flushed_when_it_is_quiet_unless_it_redraws_itself():
    lines = Lines()
    lines.feed(b"Password: ")
    assert lines.flush(final=False) == ["Password: "]
    lines.feed(b"\r10%")
    assert lines.flush(final=False) == []
    assert lines.flush(final=True) == ["10%"]


def test_frames_that_are_drawn_over_leave_only_the_last():
    shown = io.StringIO()
    console = Console(file=shown, force_terminal=True, width=80, _environ={})
    with Progress(console=console, auto_refresh=False) as progress:
        copying, loading = progress.add_task("Copying", total=10), progress.add_task("Loading", total=20)
        for step in range(1, 21):
            progress.update(copying, completed=min(10, step))
            progress.update(loading, completed=step)
            progress.refresh()
            if step == 5:
                progress.console.print("half of Copying")
    console.print("bye")
    found = [line.rstrip() for line in lines_of(shown.getvalue().encode())]
    assert found[-4] == "half of Copying"
    assert [(line.split()[0], "100%" in line) for line in found[-3:-1]] == [("Copying", True), ("Loading", True)]
    assert found[-1] == "bye"
    assert len(found) <= 6


def test_bars_one_below_the_other_leave_only_the_last_state_of_each():
    shown = io.StringIO()
    for _ in tqdm(range(3), desc="outer", file=shown, mininterval=0, ncols=60):
        for _ in tqdm(range(5), desc="inner", file=shown, mininterval=0, ncols=60, position=1, leave=False):
            pass
    found = [line for line in lines_of(shown.getvalue().encode()) if line.strip()]
    assert [line[:12] for line in found] == ["outer: 100%|"]


@pytest.mark.parametrize(
    ("line", "level"),
    [
        ("2026-01-31 08:00:00,123 ERROR loader: no such table", "error"),
        ("2026-01-31 08:00:00,123 INFO loader: 0 errors", "info"),
        ("INFO no ERROR was found", "info"),
        ("WARNING:root:disk nearly full", "warning"),
        ("warning: unused variable", "warning"),
        ("main.c:12:5: error: expected ';'", "error"),
        ("[warn] slow query", "warning"),
        ("npm ERR! code ENOENT", "error"),
        ("CRITICAL out of memory", "critical"),
        ("FATAL:  password authentication failed", "critical"),
        ("DEBUG sql", "debug"),
        ('{"level": "error", "msg": "x"}', "error"),
        ("ts=1 level=warn msg=slow", "warning"),
        ("level=nonsense", "info"),
        ("ValueError: bad row", "error"),
        ("json.decoder.JSONDecodeError: Expecting value", "error"),
        ("/x.py:3: UserWarning: careful", "warning"),
        ("Caused by: java.io.IOException: x", "error"),
        ("transferred 12 files, 0 errors", "info"),
        ("a terror of a line", "info"),
        ("no level at all", "info"),
        ("", "info"),
    ],
)
def test_a_level_is_guessed_from_the_words_programs_use(line, level):
    assert level_of(line) == level
    assert (Levels().guess([line]) or ["info"]) == [level]


def test_a_traceback_is_an_error_as_a_whole():
    lines = [
        "start",
        "Traceback (most recent call last):",
        '  File "x.py", line 1, in <module>',
        "    load()",
        "",
        "During handling of the above exception, another exception occurred:",
        "",
        "Traceback (most recent call last):",
        "  …",
        "KeyError: 'x'",
        "after",
    ]
    one_by_one = Levels()
    whole = Levels().guess(lines)
    assert whole == ["info"] + ["error"] * 9 + ["info"]
    assert [(one_by_one.guess([line]) or ["info"])[0] for line in lines] == whole


@given(st.lists(st.text()))
def test_every_line_gets_a_level(lines):
    levels = Levels().guess(lines)
    assert levels is None or len(levels) == len(lines)
