"""The console as a program in a terminal: only its own sequences reach it, in any size and on any kind."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator

import pytest
from console_world import Tty

from world import ServerProcess, log, new_id, started

OWN = re.compile(
    rb"\x1b\[[0-9;:]*m"  # colours
    rb"|\x1b\[\d*;?\d*[HABCDGdJK]"  # cursor moves, erasing
    rb"|\x1b\[\?(?:1049|1000|1002|1003|1006|1015|1016|1004|2004|2026|2048|25|7|12)(?:[hl]|\$p)"  # Textual's modes
    rb"|\x1b\[(?:[<>=]\d*u|\?u|c|>4;\d m|>q|>[0-9;]*[a-zA-Z]|\d+ q|[0-9;]*t|6n)"  # keyboard protocol, reports
    rb"|\x1b[78=>]"
    rb"|\x1b\]22;[a-z-]*\x07"  # the pointer's shape
    rb"|\x1b\]52;c;[A-Za-z0-9+/=]*\x07"  # a copy that was asked for, as base64
)
CONTROL = re.compile(
    rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]"
    rb"|\xe2\x80[\x8b\x8c\x8e\x8f\xa8-\xae]|\xe2\x81[\xa6-\xa9]|\xef\xbb\xbf"
)
COLOUR = re.compile(rb"\x1b\[(?:\d+;)*(?:[349][0-7]|10[0-7]|[34]8;[25](?:;\d+)+)(?:;\d+)*m")
PIECES = [
    "\x1b]52;c;ZXZpbA==\x07", "\x1b[2J\x1b[H", "\x1bc", "\x9b31m", "\x9d0;t\x9c", "\x1bP1;2q\x1b\\", "\x07", "\x08",
    "\x7f", "\r", "\n", "\x0b", "\u202e", "\u2066", "\u200b", "\ufeff", "\u2028", "\x85", "[/foo]", "[link=http://x]",
    "[bold red]", "[@click=app.quit]", "%s{0}", "\\[", "\x1b]0;owned\x07", "\x1b[?1049l", "\x1b[6n", "é", "日本語",
    "👩‍👩‍👧", "a̐éö̲",
]  # fmt: skip
KEYS = [
    "jjj", "w", "w", "/zz[/x]", "\x1b", "\r", *"\t\t\t\t\t", "\x1b", "\x1b", "l", "q", "2", "\r", "q", "?", "\x1b", "n",
    "\x1b", "x", "\x1b", "a", "x", "n",
]  # fmt: skip


@pytest.fixture
def tty(server: ServerProcess) -> Iterator[object]:
    """Makes consoles in terminals; all ended with the test."""
    opened: list[Tty] = []

    def make(*args: str, **more: object) -> Tty:
        opened.append(Tty(server, *args, **more))  # type: ignore[arg-type]
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def hostile(seed: int) -> str:
    dice = random.Random(seed)
    return "x" + "".join(dice.choice(PIECES) for _ in range(dice.randrange(1, 6))) + f"y{seed}"


def strangers(written: bytes) -> list[bytes]:
    """What is left when the console's own sequences are taken away, and may not be there; with what is around it."""
    left = OWN.sub(b"", written)
    return [left[max(0, found.start() - 20) : found.end() + 30] for found in CONTROL.finditer(left)]


def test_two_hundred_hostile_texts_reach_no_terminal(server: ServerProcess, tty: object) -> None:
    evil = [hostile(seed) for seed in range(200)]
    jobs = [new_id() for _ in range(40)]
    for n, job in enumerate(jobs):
        a, b, c, d, e = evil[n * 5 : n * 5 + 5]
        reports = [
            started(job, a, type=b, owner=c, host=d, source=e, tags={a: b}, steps=[c, d], config={e: a}),
            {"kind": "step_started", "jobId": job, "step": c},
            {"kind": "metrics", "jobId": job, "metrics": {d: e, "recordsProcessed": 7}},
            log(job, e, "error", logger=a, fields={b: c}), log(job, d),
        ]  # fmt: skip
        if n % 2:
            failure = {"kind": "error", "message": f"{a}{b}", "step": c}
            reports.append({"kind": "failed", "jobId": job, "failure": failure})
        server.report(*reports)
    seat: Tty = tty(size=(200, 45))  # type: ignore[operator]
    seat.until("40 jobs")
    failing = new_id()
    server.report(started(failing, evil[3]), {"kind": "failed", "jobId": failing, "failure": {"message": evil[4]}})
    seat.until("y3")
    for keys in KEYS:
        seat.press(keys)
        seat.read(0.35)
    assert seat.ended is None, bytes(seat.written[-2000:])
    assert b"MarkupError" not in seat.written
    assert b"Traceback" not in seat.written
    assert strangers(bytes(seat.written)) == []


def test_the_check_finds_a_stranger() -> None:
    assert strangers(b"\x1b[31mred\x1b[0m \x1b]0;owned\x07") != []
    assert strangers("\x1b[1;2H a\u202eb".encode()) != []
    assert strangers(b"\x1b[?1049h\x1b[1;31mfine\x1b[0m\r\n") == []


def test_it_shrinks_to_one_cell_and_grows_again(server: ServerProcess, tty: object) -> None:
    server.report(started(new_id(), "orders_nightly"))
    seat: Tty = tty()  # type: ignore[operator]
    seat.until("orders_nightly")
    for size in ((1, 1), (3, 2), (39, 7), (20, 50), (500, 3), (1, 1)):
        seat.resize(*size)
        seat.read(0.2)
        assert seat.ended is None
    before = len(seat.written)
    seat.resize(100, 30)
    seat.until("orders_nightly", after=before)


@pytest.mark.parametrize("env", [{"TERM": "dumb"}, {"LANG": "C", "LC_ALL": "C"}, {"NO_COLOR": "1"}, {"TERM": "linux"}])
def test_it_works_on_any_kind_of_terminal(server: ServerProcess, tty: object, env: dict[str, str]) -> None:
    server.report(started(new_id(), "orders_nightly"))
    seat: Tty = tty(**env)  # type: ignore[operator]
    seat.until("orders_nightly")
    seat.press("q")
    assert seat.wait() == 0
    if "NO_COLOR" in env:
        assert not COLOUR.search(bytes(seat.written))


def test_leaving_restores_the_terminal(server: ServerProcess, tty: object) -> None:
    seat: Tty = tty()  # type: ignore[operator]
    seat.until("No jobs yet")
    seat.press("q")
    seat.until(r"\x1b\[\?1049l")
    assert seat.wait() == 0


def test_without_a_terminal_it_says_what_to_use_instead(server: ServerProcess) -> None:
    done = server.cli("tui")
    assert done.returncode == 2
    assert b"needs a terminal" in done.stderr
    assert b"etlmon jobs list" in done.stderr
