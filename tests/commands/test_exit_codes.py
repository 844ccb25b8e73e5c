"""How a command ends: the exit code, one sentence on stderr, and never a traceback."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from etlmon.cli import COMMANDS, main


def refuse(status, detail, **more):
    """An override that answers with a problem."""

    def answer(request):
        body = {"title": "t", "status": status, "detail": detail, **more}
        return status, body, {"Content-Type": "application/problem+json", "Retry-After": "7"}

    return answer


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (400, 1),
        (401, 4),
        (403, 4),
        (404, 5),
        (409, 6),
        (413, 1),
        (415, 1),
        (422, 2),
        (429, 1),
        (500, 1),
        (503, 1),
        (504, 1),
    ],
)
def test_a_refusal_is_one_sentence_and_its_own_exit_code(cast, etlmon, status, code):
    cast.overrides["GET", "/api/jobs"] = refuse(status, "This is what is wrong.")
    result = etlmon("jobs", "list")
    assert (result.code, result.out, result.err) == (code, "", "etlmon: This is what is wrong.\n")


@pytest.mark.parametrize("words", [(), ("jobs",), ("history",), ("tokens",), ("config",)])
def test_a_group_without_a_command_prints_its_help_and_is_no_failure(etlmon, words):
    result = etlmon(*words)
    assert (result.code, result.err) == (0, "")
    assert "Commands:" in result.out


def test_a_guess_ends_the_sentence_with_one_mark(cast, etlmon):
    said = [
        etlmon("jobs", "wait", cast.jobs[0]["id"], "--status", "compl"),
        etlmon("jobs", "list", "--json", "nam"),
        etlmon("jobs", "list", "--profile", "prd", "--config", os.devnull),
    ]
    assert [result.code for result in said] == [2, 2, 2]
    for result in said:
        assert "?." not in result.err
        assert ".." not in result.err


def test_the_doctor_says_once_how_to_start_a_server(etlmon):
    result = etlmon("--url", "http://127.0.0.1:9", "doctor")
    assert result.code == 1
    assert result.out.count("etlmon server`, or") == 1


def test_several_faults_are_told_one_per_line(cast, etlmon):
    faults = [{"path": "q", "message": "no key 'stat'"}, {"path": "sort", "message": "no key 'x'"}]
    cast.overrides["GET", "/api/jobs"] = refuse(422, "Two things are wrong.", errors=faults)
    assert etlmon("jobs", "list").err.splitlines() == [
        "etlmon: Two things are wrong.",
        "  q: no key 'stat'",
        "  sort: no key 'x'",
    ]


def test_a_server_that_is_not_there_is_named_with_how_to_start_one(cast, etlmon):
    result = etlmon("--url", "http://127.0.0.1:9", "jobs", "list")
    assert result.code == 3
    assert result.err == (
        "etlmon: No server answers at http://127.0.0.1:9: "
        "start one with `etlmon server`, or give --url or ETLMON_URL.\n"
    )


@pytest.mark.parametrize(
    "words",
    [
        ("jobs", "list", "--statuss", "x"),
        ("jobs", "list", "-o", "xml"),
        ("jobs", "list", "--limit", "0"),
        ("jobs", "list", "--limit", "many"),
        ("jobs", "show"),
        ("jobs", "show", "--", "-x", "-y"),
        ("jobs", "lst"),
        ("nonsense",),
        ("jobs", "logs", "0a", "-f", "--until", "1h"),
        ("jobs", "logs", "0a", "--since", "yesterday"),
        ("jobs", "list", "--watch", "--until", "1h"),
        ("jobs", "wait", "0a", "--timeout", "soon"),
        ("jobs", "wait", "0a", "--status", "finished"),
        ("jobs", "pause", "0a", "--timeout", "5m"),
        ("tokens", "create", "--name", "x"),
        ("tokens", "create", "--name", "x", "--role", "god"),
        ("tokens", "create", "--name", "x", "--role", "viewer", "--expires", "whenever"),
        ("jobs", "list", "-q", "x" * 20_000),
        ("completion", "tcsh"),
        ("--url", "ftp://x", "jobs", "list"),
        ("--url", "http://ana:secret@127.0.0.1:1", "jobs", "list"),
        ("--url", "http://[::1", "jobs", "list"),
        ("--url", "http://x:99999", "jobs", "list"),
        ("--token-file", "/nonexistent", "jobs", "list"),
        ("--profile", "nonexistent", "jobs", "list"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_a_command_line_that_makes_no_sense_is_2(cast, etlmon, words):
    result = etlmon(*words)
    assert result.code == 2, result.err
    assert result.err.startswith("etlmon: ")
    assert result.out == ""


def test_a_password_in_the_url_is_masked(cast, etlmon):
    result = etlmon("--url", "http://ana:secret@127.0.0.1:1", "jobs", "list")
    assert "secret" not in result.err
    assert "***@127.0.0.1:1" in result.err


def test_a_typing_error_is_answered_with_the_nearest_word(cast, etlmon):
    assert "Did you mean 'list'?" in etlmon("jobs", "lst").err
    assert "Did you mean 'jobs'?" in etlmon("job").err


def test_a_token_has_no_option_on_the_command_line(cast, etlmon):
    assert etlmon("--token", "x", "jobs", "list").code == 2


def test_a_refused_token_says_so(cast, etlmon, monkeypatch):
    monkeypatch.setenv("ETLMON_TOKEN", "bad")
    assert etlmon("jobs", "list").code == 4
    monkeypatch.setenv("ETLMON_TOKEN", "tökén")
    result = etlmon("jobs", "list")
    assert result.code == 4
    assert "characters that no token has" in result.err


def test_a_token_file_is_read_and_a_loose_mode_is_told(cast, etlmon, tmp_path, monkeypatch):
    monkeypatch.delenv("ETLMON_TOKEN")
    file = tmp_path / "token"
    file.write_text("from-file\n")
    file.chmod(0o644)
    result = etlmon("jobs", "list", "--token-file", str(file))
    assert result.code == 0
    assert cast.asked[-1].headers["authorization"] == "Bearer from-file"
    assert "can be read by others" in result.err
    file.chmod(0o600)
    assert etlmon("jobs", "list", "--token-file", str(file)).err == ""


def test_the_last_of_a_doubled_option_wins(cast, etlmon):
    assert etlmon("--url", "http://127.0.0.1:9", "jobs", "list", "--url", cast.url).code == 0
    assert etlmon("-o", "json", "jobs", "list", "-o", "name").out.startswith("0190f6a2")


def test_alone_it_prints_the_help(cast, etlmon):
    result = etlmon()
    assert result.code == 0
    assert "Commands:" in result.out
    assert all(name in result.out for name in COMMANDS)


def test_an_unfinished_command_prints_what_could_follow(cast, etlmon):
    result = etlmon("jobs")
    assert (result.code, result.err) == (0, "")
    assert "wait" in result.out


def test_a_watch_without_a_socket_polls_and_still_ends_with_the_job(cast, etlmon):
    ended = {**cast.jobs[0], "status": "failed", "seq": 99}
    calls = []

    def answer(request):
        calls.append(request)
        return 200, cast.jobs[0] if len(calls) < 3 else ended, {}

    cast.overrides["GET", f"/api/jobs/{cast.jobs[0]['id']}"] = answer
    cast.overrides["GET", "/api/jobs"] = lambda request: (
        200,
        {"items": [cast.jobs[0] if len(calls) < 2 else ended], "nextCursor": None},
        {},
    )
    result = etlmon("jobs", "watch", cast.jobs[0]["id"], "--exit-status", "--json", "status", "-o", "jsonl")
    assert (result.code, result.out) == (1, '{"status":"running"}\n{"status":"failed"}\n')
    assert any(request.path == "/ws" for request in cast.asked)


def test_an_inner_fault_is_a_sentence_and_with_debug_a_traceback(cast, etlmon, monkeypatch):
    monkeypatch.setattr("etlmon.commands.job_list.list_params", lambda options: 1 / 0)
    result = etlmon("jobs", "list")
    assert result.code == 1
    assert result.err.startswith("etlmon: this is a fault of etlmon itself: ")
    assert "Traceback" not in result.err
    assert "Traceback" in etlmon("jobs", "list", "--debug").err


def test_pause_tells_the_state_after(cast, etlmon):
    result = etlmon("jobs", "pause", "0a", "--reason", "disk on etl-2", "-o", "json")
    assert result.code == 0
    assert '"reason": "disk on etl-2"' in result.out
    assert cast.asked[-1].body == {"reason": "disk on etl-2"}


def test_a_conflict_is_6_with_why(cast, etlmon):
    result = etlmon("jobs", "cancel", "0c")
    assert (result.code, result.err) == (6, "etlmon: The job has completed already.\n")


def test_of_several_jobs_the_possible_ones_are_done_and_the_others_told(cast, etlmon):
    result = etlmon("jobs", "cancel", "0a", "0c", "-o", "name")
    assert result.code == 6
    assert result.out.splitlines() == [cast.jobs[0]["id"]]
    assert result.err == f"etlmon: {cast.jobs[2]['id']}: The job has completed already.\n"


def test_wait_for_jobs_that_have_ended_returns_at_once(cast, etlmon):
    assert etlmon("jobs", "wait", "0c").code == 0
    assert etlmon("jobs", "wait", "0b").code == 1
    assert etlmon("jobs", "wait", "0b", "--status", "failed").code == 0
    assert etlmon("jobs", "wait", "0b", "0c", "--status", "failed,completed").code == 0


def test_wait_gives_up_with_124(cast, etlmon):
    result = etlmon("jobs", "wait", "0a", "0c", "--timeout", "300ms")
    assert result.code == 124
    assert result.err == "etlmon: 300ms have passed and 1 of 2 jobs are still on their way.\n"


def test_watch_of_an_ended_job_may_carry_its_status(cast, etlmon):
    assert etlmon("jobs", "watch", "0b").code == 0
    assert etlmon("jobs", "watch", "0b", "--exit-status").code == 1
    assert etlmon("jobs", "watch", "0c", "--exit-status").code == 0


def start(cast, *words, **more):
    """The real program in a process of its own."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("ETLMON")}
    return subprocess.Popen(
        [sys.executable, "-m", "etlmon", *words],
        env=env | {"ETLMON_URL": cast.url, "ETLMON_TOKEN": "good"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        **more,
    )


def test_a_reader_that_leaves_ends_it_quietly(cast):
    cast.lines = [dict(cast.lines[0], seq=n, message="x" * 100) for n in range(1, 20_000)]
    process = start(cast, "logs", "--all")
    process.stdout.read(10)
    process.stdout.close()
    assert process.wait(timeout=30) in (0, 141)
    assert process.stderr.read() == b""
    process.stderr.close()


def test_ctrl_c_is_130_without_a_traceback(cast):
    process = start(cast, "jobs", "watch", "0a", "-o", "jsonl")
    assert process.stdout.readline().startswith(b'{"id":')
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=30) == 130
    assert b"Traceback" not in process.stderr.read()
    process.stdout.close()
    process.stderr.close()


def test_bytes_that_are_no_text_as_an_argument_are_2(cast):
    process = start(cast, "jobs", "show", b"\xff\xfe")
    _, err = process.communicate(timeout=30)
    assert (process.returncode, err) == (2, b"etlmon: An argument is not valid UTF-8.\n")


def test_main_leaves_the_exit_to_its_caller(cast, etlmon):
    assert callable(main)
    assert etlmon("--version").code == 0
    assert etlmon("jobs", "list", "--help").code == 0
