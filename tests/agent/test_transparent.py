"""Whoever starts ``etlmon run -- CMD`` sees what CMD alone would show: bytes, exit status, environment, descriptors."""

import os
import signal
import subprocess
import sys

import pytest

ARGUMENTS = ["", " ", "a b", "--", "--name", "-x", "*", "$HOME", "'\"", "\n", "é", "\udcff\udcfe"]


@pytest.mark.parametrize(
    "words",
    [
        ("true",),
        ("false",),
        ("sh", "-c", "exit 3"),
        ("sh", "-c", "exit 255"),
        ("sh", "-c", "echo out; echo err >&2; exit 124"),
        ("printf", "no newline"),
        ("head", "-c", "300000", "/dev/zero"),
        ("printf", r"\000\001\377\033[31m\r\n"),
    ],
)
def test_output_and_exit_status_are_the_commands_own(wrapped, words):
    alone, through = wrapped.bare(*words), wrapped.run(*words)
    assert (through.returncode, through.stdout, through.stderr) == (alone.returncode, alone.stdout, alone.stderr)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGSEGV, signal.SIGUSR1, signal.SIGINT])
def test_a_child_that_died_of_a_signal_makes_us_die_of_it(wrapped, listener, number):
    words = ("sh", "-c", f"kill -{int(number)} $$; sleep 10")
    assert wrapped.run(*words).returncode == wrapped.bare(*words).returncode == -number
    assert not list(wrapped.cwd.glob("core*"))
    assert listener.final["failure"] | {"message": ""} == {
        "kind": "killed",
        "message": "",
        "errorType": None,
        "exitCode": None,
        "signal": signal.Signals(number).name,
        "step": None,
        "stderrTail": [],
        "traceback": None,
        "fingerprint": None,
        "suggestedActions": [],
    }


def test_the_shell_reports_128_plus_n(wrapped):
    through = subprocess.run(
        ["bash", "-c", '"$@"; echo $?', "-", *wrapped.command("sh", "-c", "kill -9 $$")],
        env=wrapped.env,
        capture_output=True,
        timeout=20,
    )
    assert through.stdout == b"137\n"


def test_a_command_that_is_not_there_or_cannot_be_executed_is_answered_as_env_does(wrapped, listener):
    (wrapped.cwd / "plain").write_text("no program\n")
    (wrapped.cwd / "orphan").write_text("#!/no/such/interpreter\n")
    (wrapped.cwd / "orphan").chmod(0o755)
    (wrapped.cwd / "shell").write_text("echo from the shell: $1\n")
    (wrapped.cwd / "shell").chmod(0o755)
    for words in (
        ("no-such-program",),
        ("./no-such-program",),
        ("./plain",),
        ("/",),
        ("./orphan",),
        ("./plain/x",),
        ("",),
        ("./shell", "one"),
        ("x" * 5000,),
    ):
        alone, through = wrapped.bare(*words), wrapped.run(*words)
        assert (words, through.returncode, through.stdout) == (words, alone.returncode, alone.stdout)
        assert bool(through.stderr) == bool(alone.stderr)
    assert {report["failure"]["exitCode"] for report in listener.of("failed")} == {126, 127}


def test_a_command_is_found_on_the_path_as_env_finds_it(wrapped):
    for name, mode in (("first", 0o644), ("second", 0o755)):
        (wrapped.cwd / name).mkdir()
        (wrapped.cwd / name / "tool").write_text(f"#!/bin/sh\necho {name}\n")
        (wrapped.cwd / name / "tool").chmod(mode)
    path = f"{wrapped.cwd}/first:{wrapped.cwd}/second:/usr/bin:/bin"
    env = wrapped.env | {"PATH": path}
    assert wrapped.run("tool", env=env).stdout == wrapped.bare("tool", env=env).stdout == b"second\n"
    env = wrapped.env | {"PATH": f"{wrapped.cwd}/first:/usr/bin:/bin"}
    assert wrapped.run("tool", env=env).returncode == wrapped.bare("tool", env=env).returncode == 126


def test_arguments_arrive_untouched(wrapped, listener):
    shown = (sys.executable, "-c", "import os, sys; print([os.fsencode(word) for word in sys.argv[1:]])")
    assert wrapped.run(*shown, *ARGUMENTS).stdout == wrapped.bare(*shown, *ARGUMENTS).stdout
    assert listener.of("job_started")[0]["command"][3:6] == ["", " ", "a b"]


def test_a_command_may_follow_without_the_dashes(wrapped):
    through = subprocess.run(
        [sys.executable, "-m", "etlmon", "run", "--name", "x", "echo", "--name", "y"],
        env=wrapped.env,
        capture_output=True,
        timeout=20,
    )
    assert through.stdout == b"--name y\n"


@pytest.mark.parametrize("locale", [{}, {"LC_ALL": ""}, {"LANG": "C"}])
def test_the_environment_gains_the_job_id_and_nothing_else(wrapped, listener, locale):
    env = {"PATH": os.environ["PATH"], "HOME": "/", "ODD": "\udcff"} | locale
    env |= {key: value for key, value in wrapped.env.items() if key.startswith("ETLMON_")}
    alone = wrapped.bare("env", "-0", env=env).stdout
    through = wrapped.run("env", "-0", env=env).stdout
    gained = f"ETLMON_JOB_ID={listener.job_id}".encode()
    assert through.split(b"\0") == [*alone.split(b"\0")[:-1], gained, b""]


def test_unbuffered_sets_pythonunbuffered(wrapped):
    assert wrapped.run("printenv", "PYTHONUNBUFFERED", options=("--unbuffered",)).stdout == b"1\n"


def test_a_stdin_that_is_no_terminal_is_the_commands_own(wrapped):
    """What the command leaves unread stays for who comes next."""
    (wrapped.cwd / "input").write_bytes(b"one\ntwo\nthree\n")
    script = '{ "$@"; cat; } < input'
    through = subprocess.run(
        ["sh", "-c", script, "-", *wrapped.command("sh", "-c", "read line; echo got $line")],
        env=wrapped.env,
        cwd=wrapped.cwd,
        capture_output=True,
        timeout=20,
    )
    assert through.stdout == b"got one\ntwo\nthree\n"
    link = wrapped.run("readlink", "/proc/self/fd/0", stdin=subprocess.DEVNULL)
    assert link.stdout == b"/dev/null\n"


def test_closed_descriptors_stay_closed(wrapped):
    shown = "for fd in 0 1 2; do [ -e /proc/self/fd/$fd ] && echo $fd >> open; done"
    subprocess.run(
        ["sh", "-c", '"$@" <&- >&-', "-", *wrapped.command("sh", "-c", shown)],
        env=wrapped.env,
        cwd=wrapped.cwd,
        timeout=20,
        check=True,
    )
    assert (wrapped.cwd / "open").read_text() == "2\n"


def test_other_descriptors_are_inherited(wrapped):
    read, write = os.pipe()
    through = wrapped.run("bash", "-c", f"echo through >&{write}", pass_fds=(write,))
    assert through.returncode == 0
    os.close(write)
    assert os.read(read, 100) == b"through\n"
    os.close(read)


def test_nothing_of_ours_is_inherited(wrapped):
    words = ("sh", "-c", "ls /proc/self/fd | wc -l")
    assert wrapped.run(*words).stdout == wrapped.bare(*words).stdout


def test_stdout_and_stderr_that_are_one_file_keep_their_order(wrapped, listener):
    words = (sys.executable, "-c", "import os\nfor n in range(2000): os.write(1 + n % 2, b'%d\\n' % n)")
    through = wrapped.run(*words, stderr=subprocess.STDOUT)
    assert through.stdout == b"".join(b"%d\n" % n for n in range(2000))
    assert listener.lines(None) == [str(n) for n in range(2000)]
    target = wrapped.cwd / "log"
    with target.open("wb") as file:
        wrapped.run(*words, stdout=file, stderr=file)
    assert target.read_bytes() == through.stdout


def test_streams_that_are_two_files_are_told_apart(wrapped, listener):
    wrapped.run("sh", "-c", "echo out; echo err >&2")
    assert (listener.lines("stdout"), listener.lines("stderr")) == (["out"], ["err"])


def test_a_reader_that_goes_away_ends_the_command_as_it_would_alone(wrapped, listener):
    words = ("sh", "-c", 'exec "$@"', "-")
    for command in (("yes",), ("seq", "10000000")):
        process = wrapped.start(*command, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        process.stdout.read(10)
        process.stdout.close()
        assert process.wait(20) == -signal.SIGPIPE, words
    assert {report["failure"]["signal"] for report in listener.of("failed")} == {"SIGPIPE"}


def test_a_reader_that_is_slow_slows_the_command_and_loses_nothing(wrapped, listener, wait):
    counted = (
        "import os\nfd = os.open('n', os.O_CREAT | os.O_WRONLY)\n"
        "for n in range(40000): os.write(1, b'%99d\\n' % n); os.pwrite(fd, b'%8d' % n, 0)"
    )
    process = wrapped.start(sys.executable, "-c", counted)
    listener.wait("job_started")
    path = wrapped.cwd / "n"
    seen = []

    def stuck():
        now = path.read_text() if path.exists() else ""
        seen.append(now)
        return len(seen) > 100 and now and set(seen[-100:]) == {now}

    wait(stuck, "a command that waits for its reader")
    assert int(path.read_text()) < 10_000
    assert process.stdout is not None
    assert process.stdout.read() == b"".join(b"%99d\n" % n for n in range(40000))
    assert process.wait(20) == 0


def test_a_nonblocking_descriptor_loses_nothing(wrapped):
    read, write = os.pipe()
    os.set_blocking(write, False)
    process = wrapped.start("seq", "100000", stdout=write)
    os.close(write)
    with open(read, "rb") as file:
        assert file.read() == b"".join(b"%d\n" % n for n in range(1, 100001))
    assert process.wait(20) == 0


def test_ignored_signals_stay_ignored(wrapped):
    shown = ("sh", "-c", "grep SigIgn /proc/self/status")
    through = subprocess.run(
        ["sh", "-c", 'trap "" HUP USR2 TERM; "$@"', "-", *wrapped.command(*shown)],
        env=wrapped.env,
        capture_output=True,
        timeout=20,
    )
    alone = subprocess.run(["sh", "-c", 'trap "" HUP USR2 TERM; "$@"', "-", *shown], capture_output=True, timeout=20)
    assert through.stdout == alone.stdout


def test_the_signal_mask_and_limits_are_as_before(wrapped):
    shown = ("sh", "-c", "grep -E 'SigBlk|SigIgn|SigCgt' /proc/self/status; ulimit -a; umask; pwd")
    assert wrapped.run(*shown).stdout == wrapped.bare(*shown).stdout


def test_the_command_leads_a_group_of_its_own_in_our_session(wrapped):
    through = wrapped.run(
        sys.executable, "-c", "import os; print(os.getpid() == os.getpgrp(), os.getsid(0))", start_new_session=False
    )
    assert through.stdout.split() == [b"True", str(os.getsid(0)).encode()]


def test_no_capture_hands_the_descriptors_through(wrapped, listener):
    target = wrapped.cwd / "out"
    with target.open("wb") as file:
        wrapped.run("readlink", "/proc/self/fd/1", options=("--no-capture",), stdout=file)
    assert target.read_text() == f"{target}\n"
    assert listener.lines() == []
    assert listener.final["kind"] == "completed"


@pytest.mark.parametrize(
    "words", [[], ["--timeout", "soon", "--", "true"], ["--tag", "x", "--", "true"], ["--nope", "x"]]
)
def test_usage_errors_are_2(wrapped, words):
    through = subprocess.run(
        [sys.executable, "-m", "etlmon", "run", *words], env=wrapped.env, capture_output=True, timeout=20
    )
    assert through.returncode == 2
    assert through.stdout == b""
