"""The SDK is a guest: it harms no program, whatever happens around it."""

from __future__ import annotations

import itertools
import json
import logging
import multiprocessing
import os
import signal
import subprocess
import sys
import textwrap
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import etlmon
from etlmon.host.endpoint import Endpoint
from etlmon.sdk import process
from etlmon.sdk.bell import Bell
from etlmon.sdk.orphans import look_for_orphan
from etlmon.sdk.reporter import Reporter
from etlmon.sdk.tail import Limits

NOBODY = Endpoint(url="http://127.0.0.1:9", token=None, origin="test")


def run(program: str, *args: object, check: bool = True, **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program of its own, in this environment and ``env``."""
    argv = [sys.executable, "-c", textwrap.dedent(program), *map(str, args)]
    return subprocess.run(
        argv,
        capture_output=True,
        text=True,
        check=check,
        timeout=60,
        env={**os.environ, **env},
        stdin=subprocess.DEVNULL,
    )


def names_in(directory: Path, suffix: str) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.endswith(suffix))


# -- what is imported -----------------------------------------------------------------------------------------------

HEAVY = [
    "aiohttp",
    "asyncio",
    "click",
    "concurrent.futures",
    "email",
    "hashlib",
    "http",
    "http.client",
    "inspect",
    "logging.config",
    "multiprocessing",
    "platformdirs",
    "psutil",
    "random",
    "rich",
    "select",
    "selectors",
    "socket",
    "sqlite3",
    "ssl",
    "subprocess",
    "tempfile",
    "textual",
    "tomlkit",
    "tomllib",
    "traceback",
    "urllib.request",
    "etlmon.core.config",
    "etlmon.core.job",
    "etlmon.core.reports",
    "etlmon.server",
]


def test_importing_the_face_loads_nothing_heavy() -> None:
    done = run("import etlmon, sys; etlmon.job; etlmon.Job; etlmon.JobCancelled; print(*sys.modules)")
    loaded = set(done.stdout.split())
    # What msgspec itself drags in by way of typing_extensions is not ours to avoid.
    by_msgspec = set(run("import msgspec, sys; print(*sys.modules)").stdout.split())
    assert loaded & set(HEAVY) - by_msgspec == set()
    assert "logging" not in loaded - by_msgspec
    assert {name for name in loaded if name.startswith("etlmon.")} <= {
        name for name in loaded if name.startswith(("etlmon.core", "etlmon.host", "etlmon.sdk"))
    }


def test_importing_the_package_alone_loads_nothing_at_all() -> None:
    before = set(run("import sys; print(*sys.modules)").stdout.split())
    after = set(run("import etlmon, sys; print(*sys.modules)").stdout.split())
    assert after - before <= {"etlmon", "__future__"}


def test_http_client_is_loaded_by_the_sender_alone() -> None:
    program = """
        import sys, threading
        import etlmon
        where = []
        class Watch:
            def find_spec(self, name, path=None, target=None):
                if name == "http.client":
                    where.append(threading.current_thread().name)
        sys.meta_path.insert(0, Watch())
        with etlmon.job("x"):
            pass
        from etlmon.sdk import process
        process.reporter().flush(1)
        print(*where)
    """
    assert run(program, ETLMON_URL="http://127.0.0.1:9").stdout.split() == ["etlmon-sender"]


def test_an_unknown_name_is_an_attribute_error_and_the_public_ones_are_listed() -> None:
    assert {"job", "Job", "JobCancelled", "LogHandler", "current_job", "__version__"} <= set(dir(etlmon))
    with pytest.raises(AttributeError, match="no attribute 'jobb'"):
        _ = etlmon.jobb  # type: ignore[attr-defined]
    assert etlmon.__version__


# -- places to write ------------------------------------------------------------------------------------------------


def _missing(directory: Path) -> Path:
    return directory / "not" / "yet" / "there"


def _file(directory: Path) -> Path:
    (directory / "file").write_text("")
    return directory / "file"


def _below_a_file(directory: Path) -> Path:
    return _file(directory) / "spool"


def _link(directory: Path) -> Path:
    (directory / "real").mkdir(mode=0o700)
    (directory / "link").symlink_to(directory / "real")
    return directory / "link"


def _open_to_all(directory: Path) -> Path:
    (directory / "open").mkdir()
    (directory / "open").chmod(0o777)
    return directory / "open"


@pytest.mark.parametrize("make", [_file, _below_a_file, _link, _open_to_all])
def test_a_directory_that_must_not_be_used_means_memory_and_one_warning(
    server: Any, make_reporter: Callable[..., Any], tmp_path: Path, caplog: pytest.LogCaptureFixture, make: Any
) -> None:
    directory = make(tmp_path)
    for _ in range(2):
        reporter = make_reporter(server.endpoint(), spool_dir=directory)
        for n in range(1000):
            reporter.log("j", "info", f"line {n}")
        assert reporter.flush(20)
    assert server.messages() == [f"line {n}" for n in range(1000)] * 2
    assert len([record for record in caplog.records if "memory only" in record.message]) == 1
    assert not directory.is_dir() or list(directory.iterdir()) == []


def test_a_directory_that_is_missing_is_made_private(
    server: Any, make_reporter: Callable[..., Any], tmp_path: Path
) -> None:
    directory = _missing(tmp_path)
    reporter = make_reporter(server.endpoint(), spool_dir=directory)
    reporter.log("j", "info", "one")
    assert reporter.flush(20)
    assert directory.stat().st_mode & 0o777 == 0o700
    assert directory.parent.stat().st_mode & 0o777 == 0o700


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_means_memory(server: Any, make_reporter: Callable[..., Any], tmp_path: Path) -> None:
    (tmp_path / "ro").mkdir(mode=0o500)
    reporter = make_reporter(server.endpoint(), spool_dir=tmp_path / "ro")
    reporter.log("j", "info", "one")
    assert reporter.flush(20)


def test_memory_is_bounded_and_what_it_does_not_hold_is_counted(
    make_server: Callable[..., Any], make_reporter: Callable[..., Any], tmp_path: Path
) -> None:
    server = make_server()
    server.fault = lambda n, body: "reset"
    reporter = make_reporter(server.endpoint(), spool_dir=_file(tmp_path), limits=Limits(memory_bytes=100_000))
    for n in range(5000):
        reporter.log("j", "info", f"line {n}")
    reporter.report({"kind": "completed", "jobId": "j"})
    assert 0 < reporter.dropped < 5000
    server.fault = lambda n, body: None
    assert reporter.flush(30)
    assert sum(gap["dropped"] for gap in server.of("gap")) == reporter.dropped == 5000 - len(server.messages())
    assert [report["kind"] for report in server.reports[-2:]] == ["gap", "completed"]


def test_a_full_spool_gives_up_lines_counts_them_and_keeps_every_state(
    make_server: Callable[..., Any], make_reporter: Callable[..., Any], small: Limits
) -> None:
    server = make_server()
    server.fault = lambda n, body: "reset"
    reporter = make_reporter(server.endpoint(), limits=small)
    for n in range(3000):
        reporter.log("j", "info", f"line {n}")
        if n % 100 == 0:
            reporter.report({"kind": "step_started", "jobId": "j", "step": f"step {n}"})
    reporter.report({"kind": "completed", "jobId": "j"})
    server.fault = lambda n, body: None
    assert reporter.flush(30)
    assert [report["step"] for report in server.of("step_started")] == [f"step {n}" for n in range(0, 3000, 100)]
    assert reporter.dropped == 3000 - len(server.messages()) > 0
    assert sum(gap["dropped"] for gap in server.of("gap")) == reporter.dropped
    assert server.reports[-1]["kind"] == "completed"
    gap = server.of("gap")[0]
    assert gap["jobId"] == "j"
    assert gap["from"] <= gap["to"]


# -- faults of our own ----------------------------------------------------------------------------------------------


class Hostile:
    """A value of somebody's program."""

    def __str__(self) -> str:
        raise RuntimeError("no")

    __repr__ = __str__


def test_no_argument_however_wrong_raises(server: Any, reporter: Any) -> None:
    bad: Any = Hostile()
    with etlmon.job("x", tags=bad, steps=bad, total=bad, expected=bad, timeout="soon", owner=None, config=bad) as job:
        job.progress(current=bad, total=-1, percent=float("nan"))
        job.progress(percent="much")  # type: ignore[arg-type]
        job.metrics(a=bad, b=float("inf"), c=[1], d=2**80, records_failed=-3, good=1)
        job.log.info(bad)
        job.log.info("%d", "not a number")
        job.log.info("\ud800 surrogate", key="\udfff", other={1, 2}, deep={"a": bad})
        job.step(bad)
        job.summary(x=bad)
        job.say("info", bad)
        reporter.report({"kind": "metrics", "jobId": job.id, "metrics": {"x": bad}})
        reporter.report(42)
    assert reporter.flush(20)
    assert server.of("completed")
    assert any("good" in (report.get("metrics") or {}) for report in server.of("metrics"))
    assert "\ufffd surrogate" in server.messages()
    assert "%d (not a number)" in server.messages()


def test_a_handler_of_commands_that_raises_harms_nobody(server: Any, make_reporter: Callable[..., Any]) -> None:
    reporter = make_reporter(server.endpoint())
    seen = threading.Event()

    def obey(command: Any) -> None:
        seen.set()
        raise RuntimeError("no")

    reporter.on_command(obey)
    server.commands.append({"id": "c1", "jobId": "j", "action": "pause"})
    reporter.log("j", "info", "one")
    assert seen.wait(20)
    reporter.log("j", "info", "two")
    assert reporter.flush(20)


def test_a_misconfigured_profile_keeps_reports_on_disk(
    spool_dir: Path,
    make_reporter: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("ETLMON_PROFILE", "nowhere")
    reporter = make_reporter(None)
    reporter.log("j", "info", "one")
    assert not reporter.flush(0.2)
    assert reporter.pending == 1
    assert "kept on disk" in caplog.text


# -- threads, forks, signals, ends ----------------------------------------------------------------------------------


def test_fifty_threads_report_at_once(server: Any, reporter: Any) -> None:
    def work(worker: int) -> None:
        for n in range(100):
            reporter.log(f"j{worker}", "info", f"line {n}")

    threads = [threading.Thread(target=work, args=(worker,)) for worker in range(50)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reporter.flush(30)
    for worker in range(50):
        lines = [report["message"] for report in server.of("log") if report["jobId"] == f"j{worker}"]
        assert lines == [f"line {n}" for n in range(100)]


def test_a_forked_child_is_a_producer_of_its_own_and_ends_no_job_of_its_parent(server: Any, reporter: Any) -> None:
    with etlmon.job("parent") as job:
        job.log.info("before")
        assert reporter.flush(20)
        mine = reporter.producer
        child = os.fork()
        if child == 0:
            try:
                with job:  # an exception that unwinds the parent's blocks in the child
                    job.log.info("in the child")
                    raise SystemExit(3)
            except SystemExit:
                fine = reporter.flush(20) and reporter.producer != mine
            finally:
                os._exit(0 if fine else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        job.log.info("after")
    assert reporter.flush(20)
    assert reporter.producer == mine
    assert server.messages() == ["before", "in the child", "after"]
    assert {report["jobId"] for report in server.reports} == {job.id}
    assert [report["kind"] for report in server.reports if report["kind"] != "log"] == ["job_started", "completed"]
    assert len(server.marks) == 2


def test_a_spool_is_an_orphan_when_its_owner_is_dead_though_a_forked_child_lives(server: Any, spool_dir: Path) -> None:
    program = """
        import os, sys
        from etlmon.host.endpoint import Endpoint
        from etlmon.sdk.reporter import Reporter
        reporter = Reporter(Endpoint(url="http://127.0.0.1:9", token="t0ken", origin="test"), spool_dir=sys.argv[1])
        reporter.log("j", "info", "left behind")
        ready, go = int(sys.argv[2]), int(sys.argv[3])
        if os.fork() == 0:
            os.write(ready, b"r")
            os.read(go, 1)
        os._exit(0)
    """
    hears_ready, ready = os.pipe()
    go, lets_go = os.pipe()
    try:
        argv = [sys.executable, "-c", textwrap.dedent(program), str(spool_dir), str(ready), str(go)]
        subprocess.run(argv, check=True, timeout=60, pass_fds=(ready, go))
        assert os.read(hears_ready, 1) == b"r"
        endpoint = Endpoint(url="http://127.0.0.1:9", token="t0ken", origin="test")
        orphan = look_for_orphan(spool_dir, endpoint, Limits()).spool
        assert orphan is not None
        orphan.close()
    finally:
        for descriptor in (hears_ready, ready, go, lets_go):
            os.close(descriptor)


def _in_a_child(url: str, spool_dir: str) -> None:
    reporter = Reporter(Endpoint(url=url, token="t0ken", origin="test"), spool_dir=spool_dir)
    reporter.log("spawned", "info", "hello")
    reporter.close(20)


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_multiprocessing_children_report_for_themselves(
    server: Any, reporter: Any, spool_dir: Path, method: str
) -> None:
    reporter.log("parent", "info", "before")
    context: Any = multiprocessing.get_context(method)
    child = context.Process(target=_in_a_child, args=(server.url, str(spool_dir)))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    reporter.log("parent", "info", "after")
    assert reporter.flush(20)
    assert sorted(server.messages()) == ["after", "before", "hello"]


def test_a_signal_handler_that_logs_in_the_middle_of_a_line_does_not_deadlock(server: Any, reporter: Any) -> None:
    logger = logging.getLogger("signalled")
    logger.setLevel(logging.INFO)
    handler = etlmon.LogHandler()
    logger.addHandler(handler)
    logger.propagate = False
    numbers = itertools.count()

    def caught(signal_number: int, frame: object) -> None:
        number = next(numbers)
        logger.info("caught %d", number)
        reporter.log("direct", "info", f"caught {number}")

    before = signal.signal(signal.SIGALRM, caught)
    try:
        with etlmon.job("x"):
            signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
            for n in range(5000):
                reporter.log("j", "info", f"line {n}")
            signal.setitimer(signal.ITIMER_REAL, 0)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
        logger.removeHandler(handler)
    n_caught = next(numbers)
    assert n_caught > 0
    assert reporter.flush(30)
    of = {name: [r["message"] for r in server.of("log") if r["jobId"] == name] for name in ("j", "direct")}
    assert of["j"] == [f"line {n}" for n in range(5000)]
    assert sorted(of["direct"]) == sorted(f"caught {n}" for n in range(n_caught))


ENDINGS = {
    "falls off the end": ("", 0, "completed"),
    "sys.exit(0)": ("sys.exit(0)", 0, "completed"),
    "sys.exit(3)": ("sys.exit(3)", 3, "failed"),
    "sys.exit('text')": ("sys.exit('text')", 1, "failed"),
    "an exception": ("raise ValueError('bad row')", 1, "failed"),
    "Ctrl-C": ("os.kill(os.getpid(), signal.SIGINT); time.sleep(60)", -signal.SIGINT, "cancelled"),
}


@pytest.mark.parametrize("ending", list(ENDINGS))
def test_the_end_of_the_process_is_told_and_its_exit_code_untouched(server: Any, spool_dir: Path, ending: str) -> None:
    statement, code, kind = ENDINGS[ending]
    program = f"""
import os, signal, sys, time
import etlmon
with etlmon.job("x") as job:
    print("said")
    {statement or "pass"}
"""
    done = run(program, check=False, ETLMON_URL=server.url, ETLMON_TOKEN="t0ken", ETLMON_SPOOL_DIR=str(spool_dir))
    assert (done.returncode, done.stdout) == (code, "said\n")
    assert server.reports[-1]["kind"] == kind
    assert names_in(spool_dir, ".seg") == []
    if ending == "sys.exit(3)":
        assert server.reports[-1]["failure"]["exitCode"] == 3
    if ending == "an exception":
        assert done.stderr.endswith("ValueError: bad row\n")
        assert "etlmon" not in done.stderr


def test_a_job_that_the_program_never_ended_is_told_as_failed(server: Any, spool_dir: Path) -> None:
    program = """
        import etlmon
        etlmon.job("x").start()
    """
    run(program, ETLMON_URL=server.url, ETLMON_TOKEN="t0ken", ETLMON_SPOOL_DIR=str(spool_dir))
    assert server.reports[-1]["failure"]["message"] == "the process ended without ending the job"


def test_a_program_with_no_server_says_nothing_ends_as_it_would_and_leaves_its_spool(spool_dir: Path) -> None:
    program = """
        import etlmon, logging
        logging.getLogger().addHandler(etlmon.LogHandler())
        with etlmon.job("x") as job:
            for row in job.track(range(10)):
                logging.warning("row %d", row)
    """
    done = run(program, ETLMON_URL="http://127.0.0.1:9", ETLMON_TOKEN="t", ETLMON_SPOOL_DIR=str(spool_dir))
    assert (done.stdout, done.stderr) == ("", "")
    assert len(names_in(spool_dir, ".mark")) == 1


def test_logging_after_the_reporter_is_closed_is_no_fault(server: Any, spool_dir: Path) -> None:
    program = """
        import atexit, logging, threading
        import etlmon
        logging.getLogger().addHandler(etlmon.LogHandler())
        @atexit.register
        def late():
            logging.error("late")
        with etlmon.job("x"):
            atexit.register(lambda: logging.error("later"))
    """
    done = run(program, ETLMON_URL=server.url, ETLMON_TOKEN="t0ken", ETLMON_SPOOL_DIR=str(spool_dir))
    assert done.stderr == ""
    assert server.reports[-1]["kind"] == "completed"


def test_a_local_server_is_found_through_its_data_directory(server: Any, tmp_path: Path) -> None:
    data = tmp_path / "etlmon-data"
    data.mkdir(mode=0o700)
    (data / "server.json").write_text(json.dumps({"url": server.url, "pid": 1, "version": "0", "epoch": "e"}))
    (data / "admin.token").write_text("t0ken\n")
    (data / "admin.token").chmod(0o600)
    run("import etlmon\nwith etlmon.job('x'): pass", ETLMON_DATA_DIR=str(data))
    assert [report["kind"] for report in server.reports] == ["job_started", "completed"]
    assert "t0ken" not in "".join(path.read_text("latin-1") for path in data.rglob("*.mark"))


def test_reports_made_before_the_first_start_of_a_local_server_reach_it(server: Any, tmp_path: Path) -> None:
    data = tmp_path / "etlmon-data"
    program = "import etlmon\nwith etlmon.job('x'): pass"
    with_port = "import etlmon.host.endpoint as e; e.DEFAULT_URL = 'http://127.0.0.1:9'\n"
    run(with_port + program, ETLMON_DATA_DIR=str(data))
    (data / "server.json").write_text(json.dumps({"url": server.url, "pid": 1, "version": "0", "epoch": "e"}))
    (data / "admin.token").write_text("t0ken\n")
    (data / "admin.token").chmod(0o600)
    done = subprocess.run(
        [sys.executable, "-m", "etlmon.sdk.flush", data / "spool"],
        env={**os.environ, "ETLMON_DATA_DIR": str(data)}, timeout=60, capture_output=True, check=True,
    )  # fmt: skip
    assert done.stderr == b"etlmon: 1 spools were delivered, nothing is left\n"
    assert [report["kind"] for report in server.reports] == ["job_started", "completed"]


def test_current_job_is_per_thread_and_else_the_only_one(reporter: Any) -> None:
    seen: list[Any] = []

    def look() -> None:
        seen.append(etlmon.current_job())

    assert etlmon.current_job() is None
    with etlmon.job("one") as one:
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        with etlmon.job("inner") as inner:
            assert etlmon.current_job() is inner
            assert inner.parent is one
        assert etlmon.current_job() is one
        other = etlmon.job("two").start()
        thread = threading.Thread(target=look)
        thread.start()
        thread.join()
        other.complete()
    assert seen[0] is one
    assert process.job_here() is None


def test_a_bell_remembers_one_ring_and_rings_within_a_ring() -> None:
    bell = Bell()
    assert not bell.wait(0)
    bell.ring()
    bell.ring()
    assert bell.wait(0)
    assert not bell.wait(0)
    waiting = threading.Thread(target=bell.wait, args=(60,))
    waiting.start()
    bell.ring()
    waiting.join(20)
    assert not waiting.is_alive()


def test_a_command_that_the_server_repeats_is_handed_on_once(server: Any, make_reporter: Callable[..., Any]) -> None:
    reporter = make_reporter(server.endpoint())
    seen: list[str] = []
    reporter.on_command(lambda command: seen.append(command.id))
    server.commands.append({"id": "c1", "jobId": "j", "action": "pause"})
    reporter.log("j", "info", "one")
    server.wait_for(lambda: len([path for method, path, _ in server.requests if method == "GET"]) >= 3)
    server.commands[:] = [{"id": "c1", "jobId": "j", "action": "pause"}, {"id": "c2", "jobId": "j", "action": "resume"}]
    server.wait_for(lambda: "c2" in seen)
    assert seen == ["c1", "c2"]
