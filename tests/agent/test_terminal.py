"""At a terminal: what the command sees of it, the keyboard, job control, and the state it is left in."""

import os
import signal
import sys
import termios

import pytest

SEEN = (
    "import os, sys, termios\n"
    "print('tty', *(int(os.isatty(fd)) for fd in (0, 1, 2)), flush=True)\n"
    "for fd in (0, 1, 2):\n"
    "    if os.isatty(fd): print('size', *os.get_terminal_size(fd), flush=True); break\n"
)


def modes(screen):
    return termios.tcgetattr(screen.fd)


def shell(wrapped, text):
    """A shell that runs ``text`` with the wrapper's words as its arguments."""
    return ["bash", "-c", text, "-", *wrapped.command()]


def test_a_command_at_a_terminal_sees_a_terminal_of_the_same_size(wrapped, screen, listener):
    one = screen(wrapped.command(sys.executable, "-c", SEEN), size=(33, 99))
    assert one.wait_end() == 0
    assert one.text == b"tty 1 1 1\r\nsize 99 33\r\n"
    assert listener.lines(None) == ["tty 1 1 1", "size 99 33"]


@pytest.mark.parametrize(
    ("redirected", "terminals"),
    [
        ("</dev/null", b"tty 0 1 1"),
        ("2>/dev/null", b"tty 1 1 0"),
        ("</dev/null 2>/dev/null", b"tty 0 1 0"),
        ("| cat", b"tty 1 0 1"),
        ("</dev/null | cat", b"tty 0 0 1"),
        ("2>&1 | cat", b"tty 1 0 0"),
    ],
)
def test_each_descriptor_is_judged_alone(wrapped, screen, redirected, terminals):
    words = [sys.executable, "-c", SEEN]
    one = screen(["bash", "-c", f'"$@" {redirected}', "-", *wrapped.command(*words)])
    assert one.wait_end() == 0
    alone = screen(["bash", "-c", f'"$@" {redirected}', "-", *words])
    assert alone.wait_end() == 0
    assert one.text == alone.text
    assert one.text.startswith(terminals)


@pytest.mark.parametrize("redirected", ["", "</dev/null", "2>/dev/null", "| cat"])
def test_the_bytes_that_reach_the_terminal_are_the_same(wrapped, screen, redirected):
    words = ["printf", r"a\nb\r\nc\td\033[1mx\033[0m\n"]
    texts = []
    for argv in (words, wrapped.command(*words)):
        one = screen(["bash", "-c", f'"$@" {redirected}', "-", *argv])
        assert one.wait_end() == 0
        texts.append(one.text)
    assert texts[0] == texts[1]


def test_the_modes_are_copied_and_put_back(wrapped, screen):
    one = screen(
        [
            "bash",
            "-c",
            'stty -ixon -echo erase "^H"; "$@"; stty -a | md5sum; stty -a',
            "-",
            *wrapped.command("sh", "-c", "stty -a | md5sum; stty raw"),
        ]
    )
    one.wait_end()
    inner, outer = [line.split()[0] for line in one.text.split(b"\r\n") if line.endswith(b"-")]
    assert inner == outer


def test_a_new_size_is_passed_on(wrapped, screen):
    program = "import os, signal\nsignal.signal(signal.SIGWINCH, lambda *_: None)\nprint('ready', flush=True)\n"
    program += (
        "while os.get_terminal_size(2).columns != 120: signal.sigtimedwait([], 0.05)\nprint(*os.get_terminal_size(2))"
    )
    for redirected in ("", "</dev/null", "> out"):
        text = f'"$@" {redirected}'
        program_here = program.replace("print(", "print(", 1).replace(
            "print('ready', flush=True)", "os.write(2, b'ready')"
        )
        one = screen(["bash", "-c", text, "-", *wrapped.command(sys.executable, "-c", program_here)])
        one.read_until(b"ready")
        one.resize(40, 120)
        assert one.wait_end() == 0, redirected


def test_sigwinch_reaches_a_command_that_waits_for_it(wrapped, screen):
    program = (
        "import os, signal\nsignal.signal(signal.SIGWINCH, lambda *_: None)\n"
        "os.write(2, b'ready')\nsignal.pause()\nos.write(2, b'%d x %d' % tuple(os.get_terminal_size(2)))\n"
    )
    for redirected in ("", "</dev/null", "> out"):
        one = screen(["bash", "-c", f'"$@" {redirected}', "-", *wrapped.command(sys.executable, "-c", program)])
        one.read_until(b"ready")
        one.resize(40, 120)
        one.read_until(b"120 x 40")
        assert one.wait_end() == 0, redirected


def test_what_is_typed_arrives_and_is_echoed_once(wrapped, screen):
    one = screen(wrapped.command("sh", "-c", "echo ready; read line; echo got:$line"))
    one.read_until(b"ready")
    one.type(b"hello\n")
    assert one.wait_end() == 0
    assert one.text == b"ready\r\nhello\r\ngot:hello\r\n"


def test_the_end_of_input_can_be_typed(wrapped, screen):
    one = screen(wrapped.command("sh", "-c", "echo ready; cat; echo over"))
    one.read_until(b"ready")
    one.type(b"\x04")
    assert one.wait_end() == 0
    assert b"over" in one.text


@pytest.mark.parametrize("redirected", ["", "</dev/null", "> out", "2>&1 | cat"])
def test_the_interrupt_key_reaches_the_command(wrapped, screen, listener, redirected):
    words = ("sh", "-c", 'trap "exit 9" INT; echo ready >&2; while :; do sleep 0.05; done')
    one = screen(["bash", "-c", f'set -o pipefail; "$@" {redirected}; exit $?', "-", *wrapped.command(*words)])
    one.read_until(b"ready")
    one.type(b"\x03")
    one.wait_end()
    assert listener.wait("failed")["failure"]["exitCode"] == 9


@pytest.mark.parametrize("redirected", ["", "</dev/null", "> out", "2>&1 | cat"])
def test_a_command_that_the_interrupt_key_ends_ends_the_script_around_it(wrapped, screen, redirected):
    """As it does without etlmon: the keyboard's signal is for the whole job."""
    words = ("sh", "-c", "echo ready >&2; exec sleep 60")
    for argv in (words, wrapped.command(*words)):
        one = screen(["bash", "-c", f'"$@" {redirected}; echo not reached', "-", *argv])
        one.read_until(b"ready")
        one.type(b"\x03")
        assert one.wait_end() == -signal.SIGINT
        assert b"not reached" not in one.text


@pytest.mark.parametrize("redirected", ["", "</dev/null", "> out", "2>&1 | cat"])
def test_ctrl_z_stops_and_fg_continues(wrapped, screen, listener, redirected):
    one = screen(["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "HISTFILE": ""})
    one.read_until(b"$ ")
    (wrapped.cwd / "job.sh").write_text("echo up >&2; read x < /dev/tty; echo got:$x >&2\n")
    one.type(f"{' '.join(wrapped.command('sh', 'job.sh'))} {redirected}\n".encode())
    one.read_until(b"job.sh", b"up")
    one.type(b"\x1a")
    one.read_until(b"up", b"Stopped", b"$ ")
    listener.wait("paused")
    one.type(b"echo sane\n")
    one.read_until(b"Stopped", b"echo sane", b"\rsane")
    one.type(b"jobs\n")
    one.read_until(b"\rsane", b"jobs", b"Stopped")
    one.type(b"fg\n")
    listener.wait("resumed")
    one.read_until(b"\rsane", b"fg", b"etlmon")
    one.type(b"here\n")
    one.read_until(b"fg", b"got:here", b"$ ")
    one.type(b"exit\n")
    one.wait_end()
    assert listener.final["kind"] == "completed"


def test_a_command_in_the_background_asks_for_the_terminal_as_it_would_alone(wrapped, screen, listener):
    one = screen(["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "HISTFILE": ""})
    one.read_until(b"$ ")
    (wrapped.cwd / "job.sh").write_text("echo up >&2; read x < /dev/tty; echo got:$x >&2\n")
    one.type(f"{' '.join(wrapped.command('sh', 'job.sh'))} > out &\n".encode())
    one.read_until(b"job.sh", b"up")
    listener.wait("paused")
    one.type(b"wait\n")
    one.read_until(b"Stopped")
    one.type(b"fg\n")
    listener.wait("resumed")
    one.type(b"here\n")
    one.read_until(b"fg", b"got:here", b"$ ")
    one.type(b"exit\n")
    one.wait_end()


def test_a_command_sent_to_the_background_comes_back(wrapped, screen, listener):
    one = screen(["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "HISTFILE": ""})
    one.read_until(b"$ ")
    os.mkfifo(wrapped.cwd / "go")
    (wrapped.cwd / "job.sh").write_text("echo up; read go < go; read x; echo got:$x\n")
    one.type(f"{' '.join(wrapped.command('sh', 'job.sh'))}\n".encode())
    one.read_until(b"job.sh", b"up")
    one.type(b"\x1a")
    one.read_until(b"Stopped", b"$ ")
    one.type(b"bg\n")
    listener.wait("resumed")
    one.type(b"echo mine\n")
    one.read_until(b"bg", b"\rmine")
    one.type(b"(echo > go) & fg 1\n")
    one.read_until(b"fg 1", b"etlmon")
    one.type(b"here\n")
    one.read_until(b"fg", b"got:here", b"$ ")
    one.type(b"exit\n")
    one.wait_end()


def test_a_neighbour_in_the_pipeline_can_read_the_keyboard(wrapped, screen):
    """As ``less`` does at the end of one."""
    reader = "import sys\ntext = sys.stdin.read()\nkey = open('/dev/tty').readline()\nprint(text.strip(), key.strip())"
    words = wrapped.command("echo", "piped")
    one = screen(["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "HISTFILE": ""})
    one.read_until(b"$ ")
    (wrapped.cwd / "reader.py").write_text(reader)
    one.type(f"{' '.join(words)} | {sys.executable} reader.py\n".encode())
    one.type(b"typed\n")
    one.read_until(b"piped typed")
    one.type(b"exit\n")
    one.wait_end()


def test_a_command_in_a_pipeline_that_catches_sigttou_can_change_the_terminal(wrapped, screen):
    """As ``top -n1 | cat`` does: its handler would make the change fail with EINTR."""
    (wrapped.cwd / "raw.py").write_text(
        "import os, signal, termios\n"
        "signal.signal(signal.SIGTTOU, lambda *_: print('stopped'))\n"
        "modes = termios.tcgetattr(0)\n"
        "modes[3] &= ~termios.ECHO\n"
        "termios.tcsetattr(0, termios.TCSAFLUSH, modes)\n"
        "os.write(2, b'ready')\n"
        "key = input()\n"
        "modes[3] |= termios.ECHO\n"
        "termios.tcsetattr(0, termios.TCSAFLUSH, modes)\n"
        "print('changed', key)\n"
    )
    one = screen(["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "HISTFILE": ""})
    one.read_until(b"$ ")
    one.type(f"{' '.join(wrapped.command(sys.executable, 'raw.py'))} | cat; echo over\n".encode())
    one.read_until(b"ready")
    one.type(b"typed\n")
    assert b"stopped" not in one.read_until(b"changed typed", b"over")
    one.type(b"exit\n")
    one.wait_end()


def test_the_terminal_is_put_back_when_the_command_is_killed(wrapped, screen):
    one = screen(
        [
            "bash",
            "-c",
            'stty -a > before; "$@"; stty -a > after',
            "-",
            *wrapped.command("sh", "-c", "stty raw -echo; kill -9 $$"),
        ]
    )
    one.wait_end()
    assert (wrapped.cwd / "before").read_text() == (wrapped.cwd / "after").read_text()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT])
def test_the_terminal_is_put_back_when_we_are_told_to_end(wrapped, screen, wait, number):
    one = screen(wrapped.command("sh", "-c", "echo up; sleep 60"))
    before = modes(one)
    one.read_until(b"up")
    wait(lambda: modes(one) != before, "raw modes")
    os.kill(one.pid, number)
    wait(lambda: modes(one) == before, "the modes of before")
    assert one.wait_end() == -number


def test_a_terminal_that_hangs_up_ends_the_command(wrapped, screen, listener):
    one = screen(wrapped.command("sh", "-c", "echo up; sleep 60"))
    one.read_until(b"up")
    listener.wait("job_started")
    os.close(one.fd)
    one.fd = os.open(os.devnull, os.O_RDONLY)
    assert one.wait_end() == -signal.SIGHUP
    assert listener.wait("failed")["failure"]["signal"] == "SIGHUP"


@pytest.mark.parametrize("redirected", ["", "</dev/null", "> out"])
def test_a_stopped_command_whose_terminal_hangs_up_ends(wrapped, screen, listener, wait, redirected):
    one = screen(["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "HISTFILE": ""})
    one.read_until(b"$ ")
    (wrapped.cwd / "job.sh").write_text("echo up >&2; read x < /dev/tty; echo got:$x >&2\n")
    one.type(f"{' '.join(wrapped.command('sh', 'job.sh'))} {redirected}\n".encode())
    one.read_until(b"job.sh", b"up")
    one.type(b"\x1a")
    one.read_until(b"Stopped", b"$ ")
    os.close(one.fd)
    one.fd = os.open(os.devnull, os.O_RDONLY)
    one.wait_end()
    assert listener.wait("failed")["failure"]["signal"] in ("SIGHUP", "SIGTERM")  # bash sends both


def test_a_grandchild_keeps_its_terminal_when_we_are_gone(wrapped, screen):
    script = "(trap '' INT; while [ ! -e go ]; do sleep 0.02; done; echo later) & echo now"
    one = screen(["bash", "--norc", "--noprofile", "-i"], env={"PS1": "$ ", "HISTFILE": ""})
    one.read_until(b"$ ")
    (wrapped.cwd / "job.sh").write_text(script)
    one.type(f"{' '.join(wrapped.command('sh', 'job.sh'))}\n".encode())
    one.read_until(b"now", b"$ ")
    one.type(b"touch go\n")
    one.read_until(b"touch go", b"later")
    one.type(b"exit\n")
    one.wait_end()


def test_much_output_at_a_terminal_arrives_whole(wrapped, screen):
    one = screen(wrapped.command("seq", "20000"))
    assert one.wait_end() == 0
    assert one.text == b"".join(b"%d\r\n" % n for n in range(1, 20001))
