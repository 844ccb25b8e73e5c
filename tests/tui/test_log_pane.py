"""The log room as a person uses it: a real server behind, keys in front, what the terminal shows."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from log_world import LogApp, until
from textual.pilot import Pilot

from etlmon.host.endpoint import Endpoint
from etlmon.tui.widgets.log_prompt import LogPrompt
from world import ServerProcess, log, new_id, started

STEPS = [("info", "chunk 1"), ("error", "401 Unauthorized"), ("warning", "row 7 rejected"), ("debug", "heartbeat")]


class Room:
    """The app under a pilot."""

    def __init__(self, app: LogApp, pilot: Pilot[None]) -> None:
        self.app, self.pilot = app, pilot

    @property
    def text(self) -> str:
        """The terminal."""
        return "\n".join(self.app.screen_text())

    async def shows(self, *texts: str) -> None:
        """Wait until all of these are to be seen."""
        await until(lambda: all(text in self.text for text in texts), lambda: f"{texts} in\n{self.text}")

    async def hides(self, text: str) -> None:
        """Wait until this is not to be seen."""
        await until(lambda: text not in self.text, lambda: f"no {text!r} in\n{self.text}")

    async def press(self, *keys: str) -> None:
        """Keys."""
        await self.pilot.press(*keys)

    async def types(self, text: str) -> None:
        """Text into the prompt, then enter."""
        await self.pilot.press(*("space" if char == " " else char for char in text), "enter")


@contextlib.asynccontextmanager
async def room(
    server: ServerProcess, *job_ids: str, size: tuple[int, int] = (120, 20), **more: object
) -> AsyncIterator[Room]:
    """The room of some jobs."""
    endpoint = Endpoint(url=server.url, token=server.token, origin="test")
    app = LogApp(lambda: endpoint, job_ids, **more)  # type: ignore[arg-type]
    async with app.run_test(size=size) as pilot:
        yield Room(app, pilot)


def job(server: ServerProcess, name: str, n: int = 40) -> str:
    """A job whose lines go round through the steps."""
    job_id = new_id()
    reports = (log(job_id, f"{STEPS[i % 4][1]} #{i}", STEPS[i % 4][0], fields={"n": i}) for i in range(n))
    server.report(started(job_id, name), *reports)
    return job_id


async def test_lines_are_followed_and_scrolled_up_nothing_moves_and_what_waits_is_counted(
    server: ServerProcess,
) -> None:
    job_id = job(server, "orders_nightly")
    async with room(server, job_id) as here:
        await here.shows("heartbeat #39", "FOLLOWING", "40 lines", "10 errors")
        server.report(log(job_id, "a new one"))
        await here.shows("a new one")
        await here.press("pageup")
        await here.hides("FOLLOWING")
        before = here.app.screen_text()[2:-1]
        server.report(*(log(job_id, f"unseen {i}") for i in range(1234)))
        await here.shows("▼ 1,234 new lines  f follow")
        assert here.app.screen_text()[2:-1] == before
        await here.press("f")
        await here.shows("unseen 1233", "FOLLOWING")


async def test_two_jobs_have_lanes_and_one_alone_has_none(server: ServerProcess) -> None:
    first, second = job(server, "orders_nightly", 4), job(server, "crm_sync", 4)
    async with room(server, first, second, names={first: "orders_nightly", second: "crm_sync"}) as here:
        await here.shows("▌orders_nightly  ▌crm_sync", " ▎orders_nightly  ", " ▎crm_sync        ", "8 lines")
        here.app.pane.follow_jobs((second,), {second: "crm_sync"})
        await here.shows("4 lines")
        await here.hides("▎")


async def test_filters_hide_lines_and_ctrl_f_shows_them_again(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("40 lines")
        await here.press("|")
        await here.types("heartbeat")
        await here.shows("| heartbeat", "30 of 40 lines")
        await here.press("&")
        await here.types('"row 7" ')
        await here.shows("10 of 40 lines")
        await here.press("&", *["backspace"] * 9)
        await here.types("zzz")
        await here.shows("No line matches; 40 are hidden. ctrl+f shows them.")
        await here.press("ctrl+f")
        await here.shows("heartbeat #39", "off")
        await here.press("ctrl+f")
        await here.shows("No line matches")


async def test_escape_takes_back_what_was_being_typed(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("40 lines")
        await here.press("&", "z", "z")
        await here.shows("No line matches")
        await here.press("escape")
        await here.shows("heartbeat #39", "& none")
        assert here.app.focused is here.app.pane.view


async def test_search_goes_to_the_last_hit_and_n_goes_round(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("40 lines")
        await here.press("/")
        await here.types("rejected")
        await here.shows("hit 10 of 10")
        await here.press("n")
        await here.shows("hit 1 of 10", "line 3 of 40")
        await here.press("N")
        await here.shows("hit 10 of 10")


async def test_errors_and_warnings_are_hopped_to(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("40 lines")
        await here.press("E")
        await here.shows("line 38 of 40")
        await here.press("E")
        await here.shows("line 34 of 40")
        await here.press("w")
        await here.shows("line 35 of 40")
        await here.press("W")
        await here.shows("line 34 of 40")
        await here.press("home", "e", "E")
        await until(lambda: here.app.toasts, "a toast")
        assert here.app.toasts[-1][0] == "No error before this line"


async def test_an_error_far_back_is_found_by_reading_older_lines(server: ServerProcess) -> None:
    job_id = new_id()
    server.report(started(job_id), log(job_id, "the one", "error"), *(log(job_id, f"x {i}") for i in range(2500)))
    async with room(server, job_id) as here:
        await here.shows("1,000+ lines")
        await here.press("E")
        await here.shows("the one", "1 error")


async def test_older_lines_come_when_the_reader_is_at_the_top_and_nothing_moves(server: ServerProcess) -> None:
    job_id = new_id()
    server.report(started(job_id), *(log(job_id, f"x {i}.") for i in range(1500)))
    async with room(server, job_id) as here:
        await here.shows("x 1499.", "1,000+ lines")
        await here.press("home")
        await here.shows("1,500 lines", "x 500.")
        assert "x 500." in here.app.screen_text()[2]


async def test_the_panel_tells_the_line_under_the_cursor_and_escape_closes_it(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly", 3)) as here:
        await here.shows("3 lines")
        await here.press("enter")
        await here.shows("MESSAGE", '"n": 2', "level    warning")
        await here.press("k")
        await here.shows('"n": 1', "level    error")
        await here.press("escape")
        await here.hides("MESSAGE")


async def test_the_shown_lines_are_saved_and_nothing_is_written_over(
    server: ServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("40 lines")
        await here.press("v", "v", "v")
        await here.shows("level error+", "10 of 40 lines")
        await here.press("s")
        await here.shows("save to ./orders_nightly-")
        await here.press("enter")
        await until(lambda: here.app.toasts, "a toast")
        assert here.app.toasts[-1][0] == "10 lines saved"
        (written,) = tmp_path.glob("orders_nightly-*.log")
        rows = written.read_text().splitlines()
        assert len(rows) == 10
        assert rows[0].endswith("error orders_nightly 401 Unauthorized #1")
        await here.press("s")
        here.app.pane.query_one(LogPrompt).query_one("Input").value = written.name  # type: ignore[attr-defined]
        await here.press("enter")
        await until(lambda: len(here.app.toasts) == 2, "another toast")
        assert here.app.toasts[-1][0] == "There is such a file"


async def test_the_last_minutes_are_chosen_and_older_lines_hidden(server: ServerProcess) -> None:
    job_id = new_id()
    server.report(started(job_id), log(job_id, "long ago", at="2026-01-01T00:00:00Z"), log(job_id, "just now"))
    async with room(server, job_id) as here:
        await here.shows("long ago", "just now")
        await here.press("2")
        await here.shows("time 1m", "just now", "1 of 2 lines")
        await here.hides("long ago")
        await here.press("0")
        await here.shows("long ago", "time all", "FOLLOWING")


async def test_marks_context_time_wrap_and_panning_do_what_their_keys_say(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly")
    server.report(log(job_id, "long " + "y" * 300 + "END"))
    async with room(server, job_id) as here:
        await here.shows("41 lines", "…")
        await here.press("ctrl+w")
        await here.shows("wrap on", "END")
        await here.press("ctrl+w", *["l"] * 6)
        await here.shows("END")
        await here.press(*["h"] * 6, "t", "t")
        await here.shows("\n info  chunk 1 #36")
        await here.press("m", "home", "u")
        await here.shows("line 41 of 41", "◆")
        await here.press("&")
        await here.types("long")
        await here.shows("1 of 41 lines")
        await here.press("z")
        await here.shows("2 of 41 lines", "heartbeat #39")


async def test_nothing_yet_and_a_fault_are_said_in_place(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly", 0)
    async with room(server, job_id, size=(80, 24)) as here:
        await here.shows("No lines yet.")
        server.report(log(job_id, "first"))
        await here.shows("first")
    async with room(server, "no-such-job") as here:
        await here.shows("no-such-job")


async def test_hostile_text_is_shown_and_does_nothing(server: ServerProcess) -> None:
    job_id = new_id()
    server.report(started(job_id, "a[red]b"), log(job_id, "[bold]x[/bold] \x1b[31m \u202e [link=http://x]"))
    async with room(server) as here:
        await here.shows("a[red]b", "[bold]x[/bold] ␛[31m \ufffd [link=http://x]")
        await here.press("enter")
        await here.shows("MESSAGE")


async def test_mouse_wheel_and_click_move_and_choose(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("40 lines")
        view = here.app.pane.view
        view.post_message(_wheel(view))
        await here.hides("FOLLOWING")
        await here.pilot.click(view, offset=(30, 2))
        await here.shows("line 23 of 40")


def _wheel(view: object) -> object:
    from textual.events import MouseScrollUp

    return MouseScrollUp(view, 1, 1, 0, -1, 0, False, False, False)  # type: ignore[arg-type]


async def test_a_pane_that_is_not_shown_begins_when_it_is(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly", 2)
    endpoint = Endpoint(url=server.url, token=server.token, origin="test")
    app = LogApp(lambda: endpoint, (job_id,))
    app.pane.display = False
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.pause()
        app.pane.tick()
        assert app.pane._feed is None
        app.pane.display = True
        await until(lambda: app.pane.lines.n_lines == 2, "the lines come")


async def test_the_panel_holds_the_line_that_is_read(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly", 3)
    async with room(server, job_id) as here:
        await here.shows("3 lines")
        await here.press("enter")
        server.report(log(job_id, "another"))
        await here.shows("4 lines", '"n": 2')


async def test_what_was_filtered_in_one_log_hides_nothing_of_another_and_stays_where_the_jobs_are_the_same(
    server: ServerProcess,
) -> None:
    first, second = job(server, "orders_nightly", 8), job(server, "crm_sync", 4)
    async with room(server, first) as here:
        await here.shows("8 lines")
        await here.press("v", "v", "/")
        await here.types("row 7")
        await here.shows("level warning+", "hit 2 of 2", "4 of 8 lines")
        here.app.pane.follow_jobs((first,), {})
        await here.shows("level warning+", "hit 2 of 2", "4 of 8 lines")
        here.app.pane.follow_jobs((second,), {})
        await here.shows("level debug+", "/ none", "401 Unauthorized", "heartbeat", "4 lines")


async def test_lines_that_fit_are_not_moved_sideways(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("heartbeat #39")
        await here.press("l", "L", "right")
        assert here.app.pane.view.shape.offset == 0


async def test_every_theme_draws_the_room(server: ServerProcess) -> None:
    async with room(server, job(server, "orders_nightly")) as here:
        await here.shows("40 lines")
        for theme in ("etlmon-light", "nord", "ansi-dark"):
            here.app.set_theme(theme)
            await here.press("enter")
            await here.shows("heartbeat #39", "MESSAGE")
            await here.press("escape")


async def test_a_server_that_goes_away_is_told_below_and_the_lines_stay(server: ServerProcess) -> None:
    job_id = job(server, "orders_nightly")
    async with room(server, job_id) as here:
        await here.shows("FOLLOWING", "40 lines")
        server.kill()
        await here.shows("▲ No new lines", "heartbeat #39")
        await asyncio.to_thread(server.start)
        server.report(log(job_id, "back again"))
        await here.shows("back again", "FOLLOWING")
