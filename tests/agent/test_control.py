"""Pause, resume and cancel, as the server's commands ask for them: the whole tree obeys, and it is said who asked."""

import signal
import sys
import time

import psutil

TREE = """
import os, subprocess, sys, time
if len(sys.argv) > 1:
    if sys.argv[1] == "away":
        os.setsid()
    os.write(1, b"%d\\n" % os.getpid())
    time.sleep(60)
children = [subprocess.Popen([sys.executable, __file__, word]) for word in ("near", "away")]
os.write(1, b"%d\\n" % os.getpid())  # one write each: three of them share this pipe
for child in children:
    child.wait()
"""


def start_tree(wrapped, listener, *options):
    """A command with a child in its group and one in a session of its own: the wrapper and the three processes."""
    process = wrapped.start(sys.executable, wrapped.script("tree.py", TREE), options=options)
    assert process.stdout is not None
    pids = [int(process.stdout.readline()) for _ in range(3)]
    listener.wait("job_started")
    return process, [psutil.Process(pid) for pid in pids]


def statuses(processes):
    return {process.status() for process in processes}


def test_pause_stops_the_whole_tree_and_resume_lets_it_go_on(wrapped, listener, wait):
    process, tree = start_tree(wrapped, listener)
    asked = listener.ask("pause")
    assert listener.wait("paused")["commandId"] == asked
    wait(lambda: statuses(tree) == {psutil.STATUS_STOPPED})  # a signal takes its time to a process that runs
    asked = listener.ask("resume")
    assert listener.wait("resumed")["commandId"] == asked
    wait(lambda: psutil.STATUS_STOPPED not in statuses(tree))
    process.send_signal(signal.SIGTERM)
    process.wait(20)
    tree[2].kill()


def test_cancel_ends_the_whole_tree_and_says_why(wrapped, listener, gone):
    process, tree = start_tree(wrapped, listener)
    asked = listener.ask("cancel", reason="wrong file")
    assert process.wait(20) == -signal.SIGTERM
    assert (listener.final["kind"], listener.final["commandId"], listener.final["reason"]) == (
        "cancelled",
        asked,
        "wrong file",
    )
    assert all(gone(one.pid) for one in tree)


def test_cancel_of_a_paused_job_ends_it(wrapped, listener, gone):
    process, tree = start_tree(wrapped, listener)
    listener.ask("pause")
    listener.wait("paused")
    listener.ask("cancel")
    assert process.wait(20) == -signal.SIGTERM
    assert listener.final["kind"] == "cancelled"
    assert all(gone(one.pid) for one in tree)


def test_what_ignores_the_cancel_is_killed_after_the_grace(wrapped, listener):
    words = ("sh", "-c", 'trap "" TERM; echo $$; while :; do sleep 1; done')
    process = wrapped.start(*words, options=("--grace", "200ms"))
    assert process.stdout is not None
    process.stdout.readline()
    listener.wait("job_started")
    listener.ask("cancel")
    assert process.wait(20) == -signal.SIGKILL
    assert listener.final["kind"] == "cancelled"


def test_a_grandchild_that_outlives_a_cancelled_command_is_killed_after_the_grace(wrapped, listener, gone):
    script = (
        "import os, signal, sys, time\n"
        "if os.fork() == 0:\n    signal.signal(signal.SIGTERM, signal.SIG_IGN)\n    print(os.getpid(), flush=True)\n"
        "    time.sleep(60)\n"
        "time.sleep(60)\n"
    )
    process = wrapped.start(sys.executable, "-c", script, options=("--grace", "300ms"))
    assert process.stdout is not None
    pid = int(process.stdout.readline())
    listener.wait("job_started")
    listener.ask("cancel")
    assert process.wait(20) == -signal.SIGTERM
    assert gone(pid)


def test_a_command_that_ends_well_when_cancelled_is_cancelled_with_its_own_exit_code(wrapped, listener):
    words = ("sh", "-c", 'trap "echo tidy; exit 0" TERM; echo up; while :; do sleep 0.05; done')
    process = wrapped.start(*words)
    assert process.stdout is not None
    process.stdout.readline()
    listener.wait("job_started")
    listener.ask("cancel")
    assert process.stdout.read() == b"tidy\n"
    assert process.wait(20) == 0
    assert listener.final["kind"] == "cancelled"


def test_what_cannot_be_done_is_refused_with_why(wrapped, listener):
    process = wrapped.start("sleep", "60")
    asked = listener.ask("explode")
    refused = listener.wait("control_refused")
    assert (refused["commandId"], "paused, resumed and cancelled" in refused["reason"]) == (asked, True)
    process.terminate()
    process.wait(20)


def test_paused_time_does_not_count_toward_the_timeout(wrapped, listener, wait):
    words = (sys.executable, "-c", "import sys; print('up', flush=True); sys.stdin.read()")
    process = wrapped.start(*words, options=("--timeout", "2s"), stdin=-1)
    assert process.stdout is not None
    process.stdout.readline()
    listener.ask("pause")
    listener.wait("paused")
    end = time.monotonic() + 2.5
    wait(lambda: process.poll() is not None or time.monotonic() > end)
    assert process.poll() is None
    listener.ask("resume")
    assert process.wait(20) == 124


def test_a_signal_to_end_a_paused_job_is_obeyed(wrapped, listener):
    process = wrapped.start("sleep", "60")
    listener.ask("pause")
    listener.wait("paused")
    process.terminate()
    assert process.wait(20) == -signal.SIGTERM
