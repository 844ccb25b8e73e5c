"""Progress from what programs print: bars at once, bare numbers only when they say what they count or rise."""

import io

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tqdm import tqdm

from etlmon.agent.progress import ProgressReader, Reading, read_line


def last_reading(*pieces: str) -> Reading | None:
    reader = ProgressReader()
    newest = None
    for piece in pieces:
        newest = reader.look(piece.encode()) or newest
    return newest


@pytest.mark.parametrize(
    ("line", "reading"),
    [
        ("load:  45%|████▌     | 450/1000 [00:04<00:05, 101.2it/s]", Reading(45.0, 450, 1000, "load")),
        (" 45%|████▌     | 4.50M/10.0M [00:04<00:05, 1.01MB/s]", Reading(45.0)),
        ("  3%|3         | 3/100 [00:00<?, ?it/s]", Reading(3.0, 3, 100)),
        ("Working... ━━━━━━━━━━━━━╸━━━━━━━━━━━━━━━━━━━━━━━━━━  35% 0:00:03", Reading(35.0, step="Working")),
        ("     ━━━━━━━━━━━━━━━━━━━━ 12.5/50.0 MB 5.6 MB/s eta 0:00:06", Reading(25.0)),
        ("sales.csv          45%[========>           ]  4.50M  1.02MB/s", Reading(45.0)),
        ("[ 45%] Building CXX object main.o", Reading(45.0)),
        ("[12/48] Linking", Reading(25.0)),
        ("(3 of 12) copying", Reading(25.0)),
        ("Step 3/12 : RUN make", Reading(25.0)),
        ("Processed 2,500 of 10,000 rows", Reading(25.0, 2500, 10000)),
        ("loaded 2_500/10_000 records", Reading(25.0, 2500, 10000)),
        ("Progress: 12.5 %", Reading(12.5)),
        ("Receiving objects:  25% (250/1000), 1.2 MiB", Reading(25.0)),
        ("downloaded 5/20 MB", Reading(25.0)),
    ],
)
def test_what_programs_print_is_read_at_once(line, reading):
    found, sure = read_line(line)
    assert sure
    assert found is not None
    assert found._replace(step=reading.step if found.step is None or reading.step else None) == reading


@pytest.mark.parametrize(
    "line",
    [
        "memory 45% used",
        "the answer is 3/4",
        "2026/01/31 08:00:00 up",
        "http://host/1/2",
        "450% of normal",
        "ratio 12:30/45",
        "5 of spades",
        "9/3",
        "",
    ],
)
def test_what_only_looks_like_progress_is_not_believed(line):
    assert last_reading(line + "\n", line + "\n", line + "\n") is None


def test_a_bare_number_is_believed_when_it_was_seen_to_rise():
    assert last_reading("at 10%\n") is None
    assert last_reading("at 10%\n", "at 20%\n") == Reading(20.0)
    assert last_reading("1 of 10 START sql model a\n1 of 10 OK created\n2 of 10 START sql model a\n") == Reading(20.0)
    assert last_reading("memory 50% used\nmemory 40% used\nmemory 30% used\n") is None


def test_the_newest_state_of_a_redrawn_line_counts():
    assert last_reading("\r 10%|# | 1/10 [00:01<00:09, 1it/s]\r 20%|## | 2/10 [00:02<00:08, 1it/s]") == Reading(
        20.0, 2, 10
    )


def test_colours_do_not_hide_it():
    assert last_reading("\x1b[1mProgress:\x1b[0m \x1b[32m45%\x1b[0m") == Reading(45.0)


def test_the_terminals_own_progress_sequence_is_read():
    assert last_reading("\x1b]9;4;1;30\x07\x1b]9;4;1;35\x1b\\") == Reading(35.0)


def test_an_inner_bar_does_not_make_the_whole_jump():
    outer = "files:  20%|██        | 2/10 [00:04<00:16, 2.0s/it]"
    inner = "rows: {0}%|█| {0}/100 [00:00<00:00, 99it/s]"
    seen = [last_reading(outer, *(inner.format(n) for n in range(0, 100, 10)), outer.replace("2/10", "3/10"))]
    assert seen == [Reading(30.0, 3, 10, "files")]


def test_a_bar_that_is_gone_gives_way():
    first = "a:  20%|██        | 2/10 [00:04<00:16, 2.0s/it]"
    second = "b: {0}%|█| {0}/100 [00:00<00:00, 99it/s]"
    assert last_reading(first, *(second.format(n) for n in range(60))) == Reading(59.0, 59, 100, "b")


def test_a_real_tqdm_is_read_to_its_end():
    shown = io.StringIO()
    reader = ProgressReader()
    found = []
    for _ in tqdm(range(50), desc="rows", file=shown, mininterval=0, miniters=1, ncols=80):
        found.append(reader.look(shown.getvalue().encode()[-4096:]))
    found.append(reader.look(shown.getvalue().encode()[-4096:]))
    assert found[-1] == Reading(100.0, 50, 50, "rows")
    percents = [reading.percent for reading in found if reading]
    assert percents == sorted(percents)
    assert len(set(percents)) > 40


@given(st.binary(max_size=5000))
def test_any_bytes_are_survived(data):
    reading = ProgressReader().look(data)
    assert reading is None or 0 <= reading.percent <= 100


def test_a_count_whose_words_change_with_each_line_is_one_count() -> None:
    reader = ProgressReader()
    lines = (b"1/16 Endeavor Air: 1 flights\n", b"9/16 United Air Lines: 8 flights\n", b"16/16 Mesa: 94 flights\n")
    readings = [reader.look(line) for line in lines]
    assert [None if each is None else (each.percent, each.done) for each in readings] == [
        None,
        (56.25, None),
        (100.0, None),
    ]
