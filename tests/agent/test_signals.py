"""Signals to the wrapper reach the command as if it stood there alone; ``--timeout`` ends it."""

import signal
import sys

import pytest

NOTES = """
import os, signal, sys
def note(number, frame):
    print(signal.Signals(number).name, flush=True)
    if number == signal.SIGTERM:
        sys.exit(7)
for name in ("INT", "HUP", "QUIT", "USR1", "USR2", "TERM"):
    signal.signal(getattr(signal, "SIG" + name), note)
print("ready", flush=True)
while True:
    signal.pause()
"""


def test_signals_are_passed_on_once_and_the_answer_is_the_commands_own(wrapped):
    process = wrapped.start(sys.executable, wrapped.script("notes.py", NOTES))
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for name in ("SIGINT", "SIGHUP", "SIGQUIT", "SIGUSR1", "SIGUSR2", "SIGTERM"):
        process.send_signal(getattr(signal, name))
        assert process.stdout.readline() == f"{name}\n".encode()
    assert process.stdout.read() == b""
    assert process.wait(20) == 7


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1])
def test_a_command_that_dies_of_what_was_sent_to_us_makes_us_die_of_it(wrapped, listener, number):
    process = wrapped.start("sleep", "60")
    listener.wait("job_started")
    process.send_signal(number)
    assert process.wait(20) == -number
    assert listener.final["failure"]["signal"] == number.name


def test_a_signal_to_end_reaches_the_whole_group_and_one_to_tell_the_command_alone(wrapped):
    script = (
        "import os, signal, subprocess, sys\n"
        "signal.signal(signal.SIGUSR1, lambda *_: None)\n"
        "child = subprocess.Popen(['sleep', '60'])\n"
        "print(child.pid, flush=True)\n"
        "signal.signal(signal.SIGTERM, lambda *_: None)\n"
        "signal.pause()\n"
        "print(child.poll(), flush=True)\n"
        "print(child.wait(), flush=True)\n"
    )
    process = wrapped.start(sys.executable, "-c", script)
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGUSR1)
    assert process.stdout.readline() == b"None\n"
    process.send_signal(signal.SIGTERM)
    assert process.stdout.readline() == b"%d\n" % -signal.SIGTERM
    assert process.wait(20) == 0


def test_a_signal_that_comes_before_the_command_is_not_lost(wrapped, gone):
    """Sent at once, again and again: the wrapper dies of it or passes it on, and nothing is left running."""
    for _ in range(5):
        process = wrapped.start("sh", "-c", "echo $$; exec sleep 60")
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=20)
        assert process.returncode == -signal.SIGTERM
        if out:
            assert gone(int(out))


def test_timeout_ends_the_tree_with_124(wrapped, listener, gone):
    through = wrapped.run("sh", "-c", "sleep 60 & echo $!; wait", options=("--timeout", "300ms"))
    assert through.returncode == 124
    assert gone(int(through.stdout))
    assert listener.of("job_started")[0]["timeoutMs"] == 300
    assert listener.final["failure"] | {"stderrTail": []} == {
        "kind": "timeout",
        "message": "ran longer than its limit of 300ms",
        "errorType": None,
        "exitCode": None,
        "signal": "SIGTERM",
        "step": None,
        "stderrTail": [],
        "traceback": None,
        "fingerprint": None,
        "suggestedActions": [],
    }


def test_what_does_not_obey_the_timeout_is_killed_after_the_grace(wrapped, listener):
    through = wrapped.run("sh", "-c", 'trap "" TERM; sleep 60', options=("--timeout", "300ms", "--grace", "200ms"))
    assert through.returncode == 124
    assert listener.final["failure"]["signal"] == "SIGKILL"


def test_a_command_that_ends_in_time_is_not_timed_out(wrapped, listener):
    assert wrapped.run("sh", "-c", "exit 5", options=("--timeout", "1h")).returncode == 5
    assert listener.final["failure"]["kind"] == "error"
