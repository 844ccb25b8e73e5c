"""What is too much is dropped, counted and told; what goes wrong on our side stays on our side."""

import subprocess
import sys
import threading

import pytest

from etlmon.agent.copying import Tap
from etlmon.agent.scribe import Scribe
from etlmon.core import reports as r


class Told:
    """Keeps what a scribe reports."""

    pending = 0
    reached = True

    def __init__(self):
        self.lines = []
        self.reports = []
        self.broken = False

    def report(self, report):
        self.reports.append(report)

    def log_lines(self, job_id, lines, levels, *, at, logger):
        if self.broken:
            self.broken = False
            raise OSError("no")
        self.lines += lines

    def flush(self, timeout_s):
        return True

    def close(self, timeout_s):
        return True


@pytest.fixture
def instants():
    """A clock that goes on by a second at each look."""
    now = iter(range(1000, 10_000_000, 1000))
    return lambda: next(now)


def test_a_full_tap_drops_and_counts_and_takes_again_once_it_was_emptied(instants):
    tap = Tap(instants, limit=100)
    for _ in range(3):
        tap.put(0, b"x" * 39 + b"\n")
    tap.put(0, b"one\ntwo\nthree" * 10)
    pieces, dropped = tap.take(0)
    assert [len(piece.data) for piece in pieces] == [40, 40]
    assert dropped == (1 + 20, 3000, 4000)
    tap.put(0, b"again\n")
    assert [piece.data for piece in tap.take(0)[0]] == [b"again\n"]
    assert tap.take(0) == ([], None)


def test_single_bytes_are_bounded_too(instants, monkeypatch):
    monkeypatch.setattr("etlmon.agent.copying._TAP_CHUNKS", 10)
    tap = Tap(instants)
    for _ in range(15):
        tap.put(0, b".")
    pieces, dropped = tap.take(0)
    assert (len(pieces), dropped.lines) == (10, 5)


def test_what_was_dropped_is_told_as_a_gap(instants):
    tap, told = Tap(instants, limit=10), Told()
    tap.put(0, b"kept\n")
    tap.put(0, b"dropped\n" * 7)
    scribe = Scribe("job", [None], tap, told, instants)
    scribe.start()
    scribe.finish(20)
    assert told.lines == ["kept"]
    (gap,) = told.reports
    assert isinstance(gap, r.Gap)
    assert gap.dropped == 7


def test_what_cannot_be_read_in_time_is_told_as_a_gap(instants, wait):
    tap, told, go_on = Tap(instants), Told(), threading.Event()
    told.log_lines = lambda *_, **__: go_on.wait(20)
    scribe = Scribe("job", [None, None], tap, told, instants)
    tap.put(0, b"slow\n")
    tap.put(1, b"never\nread\n")
    scribe.start()
    wait(lambda: not tap._held)
    tap.put(0, b"too late\n")
    ending = threading.Thread(target=scribe.finish, args=(0.01,))
    ending.start()
    wait(scribe._give_up.is_set)
    go_on.set()
    ending.join()
    (gap,) = told.reports
    assert gap.dropped == 3


def test_a_scribe_that_breaks_says_so_in_the_log(instants):
    tap, told = Tap(instants), Told()
    told.broken = True
    tap.put(0, b"one\n")
    scribe = Scribe("job", [None], tap, told, instants)
    scribe.start()
    scribe.finish(20)
    assert told.lines == ["etlmon: lines are not kept any more: OSError('no')"]


def test_neighbouring_pieces_of_one_channel_are_read_as_one_and_channels_keep_apart(instants):
    tap, told = Tap(instants), Told()
    for channel, data in ((0, b"on"), (0, b"e\n"), (1, b"er"), (0, b"two\n"), (1, b"ror\n")):
        tap.put(channel, data)
    scribe = Scribe("job", ["stdout", "stderr"], tap, told, instants)
    scribe.start()
    scribe.finish(20)
    assert told.lines == ["one", "two", "error"]
    assert scribe.tail == ("error",)


def with_changes(changes, *words):
    """``etlmon run`` with some constants of its own changed."""
    program = f"import etlmon.agent.wrapper, sys\n{changes}\nfrom etlmon.cli import main\nmain(sys.argv[1:])"
    return [sys.executable, "-c", program, "run", "--", *words]


def test_heartbeats_come_while_the_command_runs_also_while_it_is_paused(wrapped, listener):
    argv = with_changes("etlmon.agent.wrapper.HEARTBEAT_S = 0.1", "sleep", "60")
    process = subprocess.Popen(argv, env=wrapped.env, stdin=subprocess.DEVNULL)
    listener.wait("heartbeat")
    listener.ask("pause")
    paused = listener.wait("paused")
    listener.wait("heartbeat", lambda beat: beat["at"] > paused["at"])
    process.terminate()
    process.wait(20)


def test_a_fault_of_our_own_does_not_end_the_command(wrapped):
    """Law 5: not even when the main loop breaks."""
    changes = "def broken(*_): raise ValueError('broken')\netlmon.agent.wrapper.Wrapper._keep_time = broken"
    argv = with_changes(changes, "sh", "-c", "echo one; sleep 0.3; echo two; exit 6")
    through = subprocess.run(argv, env=wrapped.env, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    assert (through.returncode, through.stdout) == (6, b"one\ntwo\n")


def test_without_a_teller_the_command_runs_unreported(wrapped, listener):
    changes = "import etlmon.agent.teller\netlmon.agent.teller.Teller.open = None"
    argv = with_changes(changes, "seq", "100000")
    through = subprocess.run(argv, env=wrapped.env, capture_output=True, timeout=20, stdin=subprocess.DEVNULL)
    assert (through.returncode, len(through.stdout)) == (0, 588_895)
    assert listener.reports == []


def test_a_command_that_became_another_users_refuses_what_cannot_be_done(wrapped, listener):
    changes = (
        "import etlmon.agent.tree\n"
        "def denied(*_): raise PermissionError(1, 'Operation not permitted')\n"
        "etlmon.agent.tree.Tree.stop = etlmon.agent.tree.Tree.terminate = denied"
    )
    process = subprocess.Popen(with_changes(changes, "sleep", "60"), env=wrapped.env, stdin=subprocess.DEVNULL)
    for action in ("pause", "cancel"):
        asked = listener.ask(action)
        assert (
            "another user"
            in listener.wait("control_refused", lambda said, asked=asked: said["commandId"] == asked)["reason"]
        )
    process.terminate()
    process.wait(20)
    assert listener.final["kind"] == "failed"
