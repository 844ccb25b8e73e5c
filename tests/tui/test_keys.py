"""Help: every live binding once, under its heading, found by typing, in columns that fit."""

from __future__ import annotations

from etlmon.tui.drawing.spans import line_width, plain
from etlmon.tui.keys import Bound, entries, heading_of, key_name, legend, matching, sheet

BOUND = [
    Bound("down", "down", "jobs.down", 0),
    Bound("j", "down", "jobs.down", 1),
    Bound("slash", "filter", "jobs.filter", 2),
    Bound("p", "pause", "jobs.pause", 3),
    Bound("x", "cancel", "jobs.cancel", 4),
    Bound("y", "copy id", "jobs.copy_id", 5),
    Bound("w", "wide", "jobs.wide", 6),
    Bound("question_mark", "help", "console.help", 7),
    *(Bound(str(n), f"window {n}", f"logs.time_{n}", 10 + n) for n in range(7)),
]


def test_all_keys_of_a_binding_stand_in_one_line_and_a_series_of_digits_too() -> None:
    found = {entry.keys: entry.word for entry in entries(BOUND)}
    assert found["↓ j"] == "down"
    assert found["0-6"] == "time window"
    assert found["?"] == "help"
    assert len(found) == 8


def test_bindings_stand_under_the_heading_of_what_they_do() -> None:
    assert heading_of("jobs.down") == "MOVE"
    assert heading_of("logs.find") == "FIND"
    assert heading_of("job.cancel") == "ACT ON JOBS"
    assert heading_of("logs.save") == "TAKE AWAY"
    assert heading_of("logs.something_new") == "LOOK"
    assert heading_of("console.help") == "CONSOLE"


def test_keys_are_named_as_on_a_keyboard() -> None:
    assert [key_name(key) for key in ("ctrl+backslash", "pagedown", "up", "G")] == ["ctrl+\\", "pgdn", "↑", "G"]
    assert key_name("up", ascii_only=True) == "up"


def test_typing_narrows_by_word_heading_or_key() -> None:
    found = entries(BOUND)
    assert [entry.word for entry in matching(found, "can")] == ["cancel"]
    assert [entry.word for entry in matching(found, "act")] == ["pause", "cancel"]
    assert [entry.word for entry in matching(found, "x")] == ["cancel"]
    assert matching(found, "nothing of the kind") == []
    assert matching(found, " ") == found


def test_there_are_three_columns_and_below_a_hundred_cells_two_and_nothing_is_wider() -> None:
    found = entries(BOUND)
    for width, columns in ((116, 3), (100, 3), (99, 2), (76, 2), (40, 2)):
        made = sheet(found, width)
        assert {x for _, x in made.places} == set(range(columns))
        assert max(line_width(line) for line in made.lines) <= width
        assert made.order == sorted(made.order, key=lambda entry: made.places[made.order.index(entry)][::-1])
        assert len(made.order) == len(found)


def test_the_chosen_line_is_marked() -> None:
    found = entries(BOUND)
    made = sheet(found, 100, chosen=found[1])
    (marked,) = [plain(line) for line in made.lines if "▌" in plain(line)]
    assert "▌ /         filter" in marked


def test_the_last_line_tells_glyphs_and_words_as_far_as_they_fit() -> None:
    assert plain(legend(200)).startswith("▸ running  ✓ completed")
    assert plain(legend(200)).endswith("~ not saved")
    assert line_width(legend(30)) <= 30
    assert plain(legend(200, ascii_only=True)).isascii()
