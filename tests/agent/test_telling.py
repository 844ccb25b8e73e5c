"""Why a wrapped command failed, in words."""

from __future__ import annotations

import signal

from etlmon.agent.asked import Ending
from etlmon.agent.telling import failure_of


def test_a_reader_that_left_is_named_and_not_the_line_that_was_printed_last() -> None:
    tail = ("10042", "10043")
    by_shell = failure_of(Ending(code=128 + signal.SIGPIPE), tail)
    assert by_shell.message == "exit code 141: the reader of its output left (SIGPIPE)"
    killed = failure_of(Ending(code=141, signum=signal.SIGPIPE), tail)
    assert (killed.kind, killed.signal) == ("killed", "SIGPIPE")
    assert killed.message == "killed by SIGPIPE: the reader of its output left"


def test_any_other_exit_code_is_told_with_the_last_words() -> None:
    assert failure_of(Ending(code=3), ("copying", "Error: disk full")).message == "exit code 3: Error: disk full"
    assert failure_of(Ending(code=9, signum=signal.SIGKILL), ()).message == "killed by SIGKILL"
