"""Faults of machines, networks and people against the whole system: real processes and sockets, a real full disk.

Which test proves what holds for each fault (F) and each bad input: of REST (R), the WebSocket (W), intake (I), spool
and agent (S), config (C), command line (L) and storage (D). `folder/file: words` is a test whose name holds the words;
`test_map.py` sees to it that there is one. The slow ones are marked so.

    F1   faults/killed: killed_under_load; e2e/chaos: kills_of_either_side; store/kill: kills_lose_nothing
    F2   faults/network: acknowledgement_lost; sdk/delivery: committed_but_never_answered
    F3   faults/killed: killed_agent_had_in_its_spool; sdk/delivery: producers_killed
    F4   faults/killed: before_it_heard_the_acknowledgement; sdk/spool: heir_sends_the_open_batch
    F5   faults/killed: lost_after_its_silence, wrapper_is_killed, restarted_server_gives_agents_time
    F7   faults/full_disk: nothing_is_acknowledged, cancel_and_state_reports, viewers_go_on, needs_no_help,
         restarted_on_a_full_disk; store/trouble: full_disk; logs/files: full_disk
    F8   faults/full_disk: under_the_spool_drops, wrapped_command_is_untouched; sdk/spool: disk_that_is_full
    F9   faults/store_faults: short_lock, lock_of_ten_seconds; store/trouble: locked_by_another
    F10  faults/store_faults: page_that_goes_bad; store/trouble: damage_found
    F17  faults/slow_peers: stops_reading, takes_nothing; stream/slow_and_silent: falls_behind_alone
    F18  faults/network: viewer_that_vanished, server_vanished_and_misses, vanished_within; sdk/answers: half_open
    F19  faults/network: two_seconds_and_ten_kilobytes, bytes_come_one_by_one
    F20  faults/network: reset_at_any_byte, half_a_request, cut_again_and_again; sdk/delivery: random_faults
    F23  faults/network: same_batch_sent_by_ten; e2e/chaos: kills_of_either_side
    F24  faults/killed: batches_out_of_order, late_and_misplaced; core/lifecycle: final_statuses_absorb
    F25  commands/real_server: followed_log_loses; faults/killed: watching_a_job; stream/nothing_lost: that_restarts
    F26  faults/killed: stop_under_load; api/serving: stop_says_goodbye
    F27  faults/killed: second_signal; api/serving: second_signal

    R1–R4    api/guard: without_a_token, what_is_no_token, two_authorization; api/auth: same_words
    R5       api/guard: token_in_the_url; faults/hostile_requests: no_value_of_any_parameter (no token in the log)
    R6–R9    api/routes: every_role; api/guard: looks_like_an_open_one; faults/hostile_requests: reporter_can_neither
    R10–R13  api/guard: not_said_to_be_json, foreign_page, only_known_hosts, above_the_limit; faults/hostile_requests:
             body_that_is_too_large
    R14–R18  api/guard: compressed_bodies; api/bodies: bomb, malformed; faults/hostile_requests: no_body_of_any_route
    R19      core/text: kept_name; faults/hostile_text: terminal_nothing_that_a_job_says
    R20–R23  api/params: plain_number; api/resources: cursor_of_another_question, means_something_to_sql;
             store/filter_agreement: nothing_in_a_filter; faults/hostile_requests: catastrophic_regex
    R24      there is no idempotency key: a producer's seq does that work (F23)
    R25–R28  api/bodies: only_the_server_sets; api/guard: other_methods, not_http; api/auth: guessing_tokens;
             faults/hostile_requests: bytes_changed_at_random
    R29–R30  faults/slow_peers: half_requests_and_silent, our_own_deadline; api/guard: reader_that_takes_nothing
    R31–R32  api/guard: tells_nothing_of_the_inside; faults/hostile_requests: html_in_a_name

    W33–W35  faults/raw_frames: may_not_be_is_refused, never_says_who; stream/bad_input: first_frame
    W36      faults/raw_frames: cannot_control_by_the_socket
    W37–W42  faults/raw_frames: malformed_frame, makes_no_sense, version_8, handshake_that_is_none, in_fragments,
             talks_too_much; stream/bad_input: compression
    W43–W45  faults/raw_frames: have_a_bound, none_of_ours; stream/selecting: reporter_sees_only
    W46      faults/slow_peers: stops_reading, takes_nothing
    W47–W48  faults/raw_frames: talks_too_much; stream/slow_and_silent: no_longer_answers; stream/bad_input: so_many

    I49–I52  faults/network: same_batch; faults/killed: batches_out_of_order, cloned_machine; sdk/delivery: a_backup
    I53–I54  faults/hostile_requests: refused_by_its_index, reporter_can_neither; server/intake: refused_by_index
    I55–I56  faults/hostile_requests: numbers_that_make_no_sense; faults/killed: late_and_misplaced, clock_of_the_agent
    I57–I58  faults/hostile_requests: line_of_megabytes; faults/hostile_text: wrapped_command_prints
    I59      faults/hostile_requests: ten_thousand_names (borne rather than refused: interface.md sets no cap)
    I60      secrets in log text are kept as they came: interface.md promises no masking

    S61      sdk/guest: must_not_be_used, read_only; faults/full_disk: under_the_spool_drops
    S62–S64  sdk/spool: cut_at_any_byte, later_version; sdk/guest: forked_child, fifty_threads, signal_handler
    S65–S68  sdk/answers: not_our_acknowledgement, redirect, token_that_is_refused, refused_for_ever, retry_after
    S69–S70  sdk/guest: no_argument_however_wrong; sdk/answers: tls_is_never

    C71, C75  core/config: any_bytes; host/config_file: huge_file, cannot_be_read, secret_or_certificate
    C72–C74   there is no reload yet: the file is read at the start

    L76  faults/hostile_text: on_a_terminal_or_in_a_pipe, live_commands; commands/hostile_text: no_raw_control
    L77  faults/hostile_text: into_head; commands/exit_codes: reader_that_leaves, ctrl_c
    L78–L79  commands/exit_codes: makes_no_sense, no_text, masked, loose_mode, no_option

    D88  faults/store_faults: not_as_it_was_left, moved_away, owner_alone, backup_put_in_its_place;
         store/opening: second_server, empty_file, not_made_anew, no_database, newer_schema, network_file_system
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from faults.proxy import FaultProxy, Line

from etlmon.client.live import Link, Live, Reset, Timing
from etlmon.client.polling import Message
from etlmon.core.protocol import Wanted
from etlmon.host.endpoint import Endpoint
from world import ServerProcess, wait_until

PROGRAM = Path(__file__).with_name("reporting_job.py")


def has_no_traceback(server: ServerProcess) -> None:
    """A traceback in the server's log is a bug, whatever was done to it."""
    assert "Traceback" not in server.log(), server.log()[-4000:]


@pytest.fixture
def server(data_dir: Path) -> Iterator[ServerProcess]:
    """A server that serves; whatever a test did to it, its log holds no traceback."""
    running = ServerProcess(data_dir).start()
    yield running
    if running.process is not None and running.process.poll() is None:
        running.kill()
    has_no_traceback(running)


@pytest.fixture
def make_proxy() -> Iterator[Callable[..., FaultProxy]]:
    """Puts a proxy before a server: ``make_proxy(server, line_of)``."""
    made: list[FaultProxy] = []

    def make(server: ServerProcess, line_of: Callable[[int], Line] | None = None) -> FaultProxy:
        made.append(FaultProxy(server.port))
        if line_of is not None:
            made[-1].line_of = line_of
        return made[-1]

    yield make
    for proxy in made:
        proxy.close()


class SmallDisk:
    """A file system of its own that can be filled to the last byte, and emptied again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._filler = path / "filler"

    def fill(self) -> None:
        """Take every free byte."""
        with open(self._filler, "ab", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                with suppress(OSError):
                    while file.write(bytes(size)):
                        pass
        assert self.n_free == 0

    def free(self) -> None:
        """Give back what ``fill`` took."""
        self._filler.unlink()

    @property
    def n_free(self) -> int:
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize


@pytest.fixture
def make_disk(tmp_path: Path) -> Iterator[Callable[[str], SmallDisk]]:
    """Mounts a small tmpfs; where that is not allowed the test is skipped."""
    made: list[SmallDisk] = []

    def make(size: str) -> SmallDisk:
        path = tmp_path / f"disk-{len(made)}"
        path.mkdir()
        argv = ["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(path)]
        try:
            outcome = subprocess.run(argv, capture_output=True, check=False)
        except FileNotFoundError:
            pytest.skip("there is no mount command here")
        if outcome.returncode != 0:
            pytest.skip(f"a small file system cannot be mounted here: {outcome.stderr.decode().strip()}")
        made.append(SmallDisk(path))
        return made[-1]

    yield make
    for disk in made:
        subprocess.run(["umount", "--lazy", str(disk.path)], check=True)


@pytest.fixture
def make_server(tmp_path: Path, make_disk: Any) -> Iterator[Callable[..., ServerProcess]]:
    """Makes servers that are not yet started, with a config of their own; no log of theirs holds a traceback.

    They end before the small disks that they may lie on.
    """
    made: list[ServerProcess] = []

    def make(data_dir: Path | None = None, *, config: str = "") -> ServerProcess:
        directory = data_dir or tmp_path / f"data-{len(made)}"
        directory.mkdir(mode=0o700, exist_ok=True)
        file = tmp_path / f"config-{len(made)}.toml"
        file.write_text(config)
        file.chmod(0o600)
        made.append(ServerProcess(directory, args=("--config", str(file))))
        return made[-1]

    yield make
    for server in made:
        if server.process is not None and server.process.poll() is None:
            server.kill()
        if server.process is not None:
            has_no_traceback(server)


class Viewer:
    """The live reader that the CLI uses, in a thread: everything it was told, in order."""

    def __init__(self, url: str, token: str, wanted: Wanted) -> None:
        self.messages: list[Message] = []
        self.resets: list[str] = []
        self.links: list[str] = []
        self.fault: Exception | None = None
        self._live = Live(Endpoint(url=url, token=token, origin="test"), wanted, timing=Timing(longest_retry_s=1.0))
        self._loop = asyncio.new_event_loop()
        self._task: asyncio.Task[None] | None = None
        self._thread = threading.Thread(target=self._run, name="viewer", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._task = self._loop.create_task(self._read())
        with suppress(asyncio.CancelledError):
            self._loop.run_until_complete(self._task)
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()

    async def _read(self) -> None:
        try:
            async for item in self._live:
                if isinstance(item, Message):
                    self.messages.append(item)
                elif isinstance(item, Reset):
                    self.resets.append(item.reason)
                elif isinstance(item, Link):
                    self.links.append(str(item.state))
        except Exception as fault:  # noqa: BLE001 - shown by the test that waits
            self.fault = fault

    @property
    def is_live(self) -> bool:
        assert self.fault is None, self.fault
        return bool(self.links) and self.links[-1] == "live"

    def lines(self, job_id: str | None = None) -> list[str]:
        """The log lines told so far."""
        return [
            m.data["message"]
            for m in list(self.messages)
            if m.type == "log_message" and job_id in (None, m.data["jobId"])
        ]

    def of(self, job_id: str) -> list[dict[str, Any]]:
        """The data of all job messages about a job."""
        return [m.data for m in list(self.messages) if m.type.startswith("job_") and m.data["jobId"] == job_id]

    def close(self) -> None:
        if self._task is not None and not self._loop.is_closed():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._task.cancel)
        self._thread.join(10)


@pytest.fixture
def view() -> Iterator[Callable[..., Viewer]]:
    """Opens live readers: ``view(server, topics="logs", url=proxy.url)``; waits until they are live."""
    made: list[Viewer] = []

    def open_viewer(server: ServerProcess, *, url: str | None = None, **wanted: Any) -> Viewer:
        made.append(Viewer(url or server.url, server.token, Wanted(**wanted)))
        wait_until(lambda: made[-1].is_live, "the viewer is live")
        return made[-1]

    yield open_viewer
    for viewer in made:
        viewer.close()


class ReportingJob:
    """A program with the SDK inside, reporting from its own process."""

    def __init__(self, server: ServerProcess, directory: Path, *, env: dict[str, str], pause_s: float) -> None:
        number = len(list(directory.glob("ledger-*")))
        self.ledger, self.stop_file = directory / f"ledger-{number}", directory / f"stop-{number}"
        self.ledger.touch()
        argv = [sys.executable, str(PROGRAM), str(self.ledger), str(self.stop_file), str(pause_s)]
        self.errors = directory / f"errors-{number}"
        with open(self.errors, "wb") as err:
            self.process = subprocess.Popen(
                argv, env=server.env | env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=err
            )
        assert self.process.stdout is not None
        self.id = self.process.stdout.readline().decode().strip()

    @property
    def n_said(self) -> int:
        """How many lines reached the SDK."""
        return self.ledger.stat().st_size

    def say(self, n: int) -> None:
        """Wait until it has said ``n`` more."""
        until = self.n_said + n
        wait_until(lambda: self.n_said >= until, f"the job has said {until} lines")

    def stop(self) -> int:
        """Let it end as it wants to; its exit code."""
        self.stop_file.touch()
        return self.end()

    def end(self) -> int:
        code = self.process.wait(60)
        assert self.process.stdout is not None
        self.process.stdout.close()
        return code

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.end()


@pytest.fixture
def spawn_job(tmp_path: Path) -> Iterator[Callable[..., ReportingJob]]:
    """Starts reporting jobs: ``spawn_job(server, url=proxy.url, spool_dir=…)``."""
    made: list[ReportingJob] = []

    def spawn(
        server: ServerProcess, *, url: str | None = None, spool_dir: Path | None = None, pause_s: float = 0.005
    ) -> ReportingJob:
        env = {} if url is None else {"ETLMON_URL": url, "ETLMON_TOKEN": server.token}
        if spool_dir is not None:
            env["ETLMON_SPOOL_DIR"] = str(spool_dir)
        made.append(ReportingJob(server, tmp_path, env=env, pause_s=pause_s))
        return made[-1]

    yield spawn
    for job in made:
        if job.process.poll() is None:
            job.kill()
        elif job.process.stdout is not None:
            job.process.stdout.close()


@pytest.fixture
def stored_lines() -> Callable[[ServerProcess, str], list[str]]:
    """Every stored line of a job, page by page."""

    def read(server: ServerProcess, job_id: str) -> list[str]:
        lines: list[str] = []
        cursor = ""
        while True:
            page = server.api("GET", f"/api/jobs/{job_id}/logs?limit=1000{cursor}")
            lines += [entry["message"] for entry in page["items"]]
            if page["nextCursor"] is None:
                return lines
            cursor = f"&cursor={page['nextCursor']}"

    return read


@pytest.fixture
def stored_events() -> Callable[[ServerProcess, str], list[dict[str, Any]]]:
    """A job's part of the journal, page by page."""

    def read(server: ServerProcess, job_id: str) -> list[dict[str, Any]]:
        events: list[dict[str, Any]] = []
        cursor = ""
        while True:
            page = server.api("GET", f"/api/jobs/{job_id}/events?limit=1000{cursor}")
            events += page["items"]
            if page["nextCursor"] is None:
                return events
            cursor = f"&cursor={page['nextCursor']}"

    return read


@pytest.fixture
def numbered() -> Callable[[int], list[str]]:
    """What a reporting job says, in order."""
    return lambda n: [f"line {k}" for k in range(n)]


@pytest.fixture
def dial() -> Iterator[Callable[..., socket.socket]]:
    """Opens raw TCP connections to a server: ``dial(server, b"GET …")``."""
    made: list[socket.socket] = []

    def connect(server: ServerProcess, data: bytes = b"", *, timeout_s: float = 15.0) -> socket.socket:
        made.append(socket.create_connection(("127.0.0.1", server.port), timeout=timeout_s))
        if data:
            made[-1].sendall(data)
        return made[-1]

    yield connect
    for sock in made:
        sock.close()
