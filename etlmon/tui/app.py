"""The console: tabs over one live feed. It paints first and connects after; what it knows outlives every screen."""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Coroutine, Sequence
from contextlib import suppress
from datetime import tzinfo
from typing import TYPE_CHECKING, Any, ClassVar

from textual.app import App
from textual.binding import Binding, BindingType
from textual.css.query import NoMatches
from textual.screen import ModalScreen

from etlmon.host.clock import now_ms
from etlmon.tui.chrome import Tab
from etlmon.tui.door import Door
from etlmon.tui.drawing.palette import ANSI, DARK, THEMES, Palette
from etlmon.tui.feed import Feed
from etlmon.tui.jobs.cells import Scene
from etlmon.tui.jobs.live import LiveJob
from etlmon.tui.jobs.state import JobsState
from etlmon.tui.link_state import LinkState, Standing
from etlmon.tui.queue.state import QueueState
from etlmon.tui.rest import Rest
from etlmon.tui.screens.frame import FrameScreen
from etlmon.tui.screens.jobs import JobsScreen
from etlmon.tui.toasts import Toasts
from etlmon.tui.widgets.toast_rack import show_toasts

if TYPE_CHECKING:
    import subprocess

    from textual.command import Provider

    from etlmon.host.endpoint import Endpoint
    from etlmon.tui.steering.priority import Priorities
    from etlmon.tui.steering.steering import Steering

FLUSH_S = 0.1
STATE_KEYS = {"start_server": Standing.NO_SERVER, "demo": Standing.NO_SERVER, "enter_token": Standing.REFUSED}
"""Actions that only one state of the connection has."""


def _jobs_screen() -> FrameScreen:
    return JobsScreen()


def _logs_screen() -> FrameScreen:
    from etlmon.tui.screens.logs import LogsScreen  # not before somebody looks: the first paint is early

    return LogsScreen()


def _queue_screen() -> FrameScreen:
    from etlmon.tui.screens.queue import QueueScreen

    return QueueScreen()


def _commands() -> type[Provider]:
    from etlmon.tui.command_provider import CommandProvider

    return CommandProvider


class Console(App[str]):
    """One server, seen live. ``find`` names it, and is asked again whenever the server has to be found.

    ``run`` gives None, or what is to follow: ``demo``, or ``server`` and a URL or the name of a profile.
    """

    TITLE = "etlmon"
    ENABLE_COMMAND_PALETTE = True
    COMMAND_PALETTE_BINDING = "ctrl+p"
    COMMANDS: ClassVar[set[Any]] = {_commands}
    MODES: ClassVar[dict[str, Any]] = {"jobs": _jobs_screen, "logs": _logs_screen, "queue": _queue_screen}
    DEFAULT_MODE = "jobs"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("1", "tab(1)", "Jobs", id="console.jobs", show=False),
        Binding("2", "tab(2)", "Logs", id="console.logs", show=False),
        Binding("3", "tab(3)", "Queue", id="console.queue", show=False),
        Binding("ctrl+r", "reconnect", "reconnect now", id="console.reconnect"),
        Binding("question_mark", "help", "help", id="console.help"),
        Binding("colon", "command", "command", id="console.command"),
        Binding("n", "notices", "notices", id="console.notices"),
        Binding("escape", "dismiss_toasts", "away with the toasts", id="console.toast", show=False, priority=True),
        Binding("s", "start_server", "start a server", id="console.start", priority=True),
        Binding("d", "demo", "show the demo", id="console.demo", priority=True),
        Binding("t", "enter_token", "enter a token", id="console.token", priority=True),
        Binding("q", "leave", "back, quit", id="console.leave"),
        Binding("ctrl+q", "quit", "quit", id="console.quit", show=False, priority=True),
    ]
    TAB_MODES: ClassVar[dict[int, str]] = {1: "jobs", 2: "logs", 3: "queue"}
    CSS = """
    Screen { background: $background; color: $foreground; }
    ModalScreen { background: $background 60%; }
    ModalScreen:ansi { background: transparent; }
    CommandPalette SearchIcon { display: none; }
    """

    def __init__(
        self,
        find: Callable[[], Endpoint],
        *,
        server: str = "",
        read_only: bool = False,
        theme: str | None = None,
        zone: tzinfo | None = None,
        ascii_only: bool = False,
        beside: Callable[[], Coroutine[Any, Any, None]] | None = None,
        data_dir: str | None = None,
        config: str | None = None,
    ) -> None:
        self.colour = "NO_COLOR" not in os.environ
        super().__init__(ansi_color=None if self.colour else True)  # else colours would become greys, the default black
        self.find_endpoint = self.door = Door(find)
        self._beside = beside
        self.data_dir = data_dir
        self.config = config
        self.zone = zone
        self.ascii = ascii_only
        self.jobs = JobsState()
        self.queue = QueueState()
        self.toasts = Toasts()
        self.past_commands: list[str] = []
        self.started_server: subprocess.Popen[bytes] | None = None
        self._steering: Steering | None = None
        self._priorities: Priorities | None = None
        self._knows_definitions = False
        self.link = LinkState(server=server, since=now_ms(), read_only=read_only)
        self.rest = Rest(self.door)
        self.feed = Feed(self.door, self.rest, self.jobs, self.link, self.toast)
        for each in THEMES:
            self.register_theme(each)
        self.theme = theme or (DARK if self.colour else ANSI)
        self._palette: Palette | None = None

    # -- what every part of the console may ask

    @property
    def palette(self) -> Palette:
        """Looks → styles, for the theme in force."""
        if self._palette is None:
            theme = self.current_theme
            self._palette = Palette(
                self.theme_variables,
                dark=theme.dark,
                ansi=self.native_ansi_color,
                colour=self.colour,
                ascii_only=self.ascii,
            )
        return self._palette

    @property
    def scene(self) -> Scene:
        """What every row shares at this instant."""
        return Scene(now=self.now(), zone=self.zone, name_of=self.name_of, ascii=self.ascii)

    @property
    def is_read_only(self) -> bool:
        """Whether keys that change things are hidden."""
        return self.link.may_only_read

    def now(self) -> int:
        """The server's instant; it stands still while the server is away."""
        return self.feed.now()

    def local_now(self) -> int:
        """This machine's instant."""
        return now_ms()

    def name_of(self, job_id: str) -> str | None:
        """The name of a job that is known."""
        live = self.jobs.jobs.get(job_id)
        return None if live is None else live.job.name

    def tabs(self) -> list[Tab]:
        """The tabs there are."""
        return [Tab(1, "Jobs", "Jobs"), Tab(2, "Logs", "Logs"), Tab(3, "Queue", "Queue")]

    # -- life

    def on_mount(self) -> None:
        """Paint, then connect."""
        self.theme_changed_signal.subscribe(self, self._repaint)
        self.set_interval(FLUSH_S, self._flush_screen)
        self.set_interval(1.0, self._tick)
        self.set_interval(0.5, self._pulse)
        self.call_after_refresh(self._connect)

    def _connect(self) -> None:
        gc.freeze()
        gc.enable()
        try:
            self.link.url = self.find_endpoint().shown_url
        except Exception as fault:  # noqa: BLE001 - a config that cannot be read must not end the console
            self.link.fault = str(fault)
        self.run_worker(self.feed.run(), name="feed", exit_on_error=False)
        self.run_worker(self.feed.watch_figures(), name="figures", exit_on_error=False)
        if self._beside is not None:
            self.run_worker(self._beside(), name="beside", exit_on_error=False)

    def _shown(self) -> FrameScreen | None:
        """The uppermost screen that lives: what lies over it is a dialog."""
        return next((screen for screen in reversed(self.screen_stack) if isinstance(screen, FrameScreen)), None)

    def _flush_screen(self) -> None:
        if self.screen_stack and isinstance(self.screen, ModalScreen):
            self.jobs.touch(self.now())  # no row changes place under a dialog
        self._paint(lambda screen: screen.flush(self.now()))
        if failures := self.jobs.take_failures():
            self.toasts.tell_failures(failures, self.local_now())
        self._paint(lambda screen: show_toasts(self))

    def _tick(self) -> None:
        self.feed.listen_for_life()
        if self.feed.has_list and not self._knows_definitions:
            self._knows_definitions = True
            self.run_worker(self.read_definitions(), name="definitions", exit_on_error=False)

        def tick(screen: FrameScreen) -> None:
            screen.tick(self.now())
            screen.redraw_frame()

        self._paint(tick)

    def _pulse(self) -> None:
        self._paint(lambda screen: screen.pulse())

    def _paint(self, work: Callable[[FrameScreen], object]) -> None:
        """Let the shown screen do some work. A fault of ours costs a pane its turn, never the console its life."""
        screen = self._shown()
        if screen is None or not screen.is_ready:
            return
        try:
            work(screen)
        except Exception as fault:
            if self.is_headless and self.is_running and not isinstance(fault, NoMatches):
                raise  # under test a fault must show
            if not isinstance(fault, NoMatches):  # that one: the screen is being taken apart
                self.log.error(fault)
                told = f"{type(fault).__name__}: {fault}"
                self.toasts.tell("This pane failed and was reset", told, "fail", now=self.local_now())

    def _repaint(self, _: object) -> None:
        self._palette = None
        for stack in self._screen_stacks.values():
            for screen in stack:
                if isinstance(screen, FrameScreen) and screen.is_ready:
                    screen.repaint()

    async def on_unmount(self) -> None:
        """Let the connection go."""
        self.rest.close()

    # -- what keys do

    def action_tab(self, digit: int) -> None:
        """Go to a tab."""
        mode = self.TAB_MODES.get(digit)
        if mode == "logs":
            self.call_later(self.show_logs, ())
        elif mode is not None and mode != self.current_mode:
            self.switch_mode(mode)

    def action_reconnect(self) -> None:
        """Try the server now."""
        self.feed.reconnect()

    def action_leave(self) -> None:
        """Back to where we came from; from the first tab out of the console."""
        if len(self.screen_stack) > 1:
            self.pop_screen()
        elif self.current_mode != self.DEFAULT_MODE:
            self.switch_mode(self.DEFAULT_MODE)
        else:
            self.exit()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Keys that belong to one state of the connection, or to toasts, act in no other."""
        wanted = STATE_KEYS.get(action)
        if wanted is None and action != "dismiss_toasts":
            return True
        focused = self.focused
        if self.screen.is_modal or (focused is not None and focused.check_consume_key("a", "a")):
            return False
        if wanted is None:
            return bool(self.toasts.shown(self.local_now())[0])
        return self.link.standing is wanted

    def action_help_quit(self) -> None:
        """Ctrl-C, which a terminal's person tries first."""
        self.toast("ctrl+q leaves the console", "Jobs and server go on. q goes back.")

    def action_help(self) -> None:
        """Every key that works here."""
        from etlmon.tui.screens.help import open_help

        open_help(self)

    def action_command(self) -> None:
        """Type a command."""
        self.run_worker(self.read_definitions(), name="definitions", exit_on_error=False)
        from etlmon.tui.screens.command_line import open_line

        open_line(self)

    def action_notices(self) -> None:
        """All that this console has told."""
        from etlmon.tui.screens.notices import NoticesScreen

        self.push_screen(NoticesScreen())

    def action_dismiss_toasts(self) -> None:
        """Take every toast away."""
        self.toasts.dismiss()
        show_toasts(self)

    def action_start_server(self) -> None:
        """Start a server on this machine."""
        from etlmon.tui.local_server import start

        self.run_worker(start(self), name="start server", exit_on_error=False, exclusive=True, group="start")

    def action_demo(self) -> None:
        """Leave for the demo."""
        self.exit("demo")

    def action_enter_token(self) -> None:
        """Type the token that the server wants."""
        from etlmon.tui.screens.token import enter_token

        enter_token(self)

    def to_jobs(self) -> JobsScreen:
        """Go to the table of jobs, away from what lies over it."""
        self.action_tab(1)
        while len(self.screen_stack) > 1:
            self.pop_screen()
        screen = self.screen
        assert isinstance(screen, JobsScreen)  # noqa: S101 - the first tab is
        return screen

    async def read_definitions(self) -> None:
        """What may be submitted, for those who type a name; what was known stays when the server cannot say."""
        from etlmon.core.errors import EtlmonError
        from etlmon.tui.queue.state import definitions_of

        with suppress(EtlmonError):
            found = await self.rest.ask(lambda client: client.listed("/api/definitions"))
            self.queue.definitions = definitions_of(found)

    def toast(self, title: str, line: str = "", role: str = "text") -> None:
        """Tell something for a few seconds."""
        self.toasts.tell(title, line, role, now=self.local_now())

    def move_priority(self, jobs: Sequence[LiveJob], by: int) -> None:
        """Put queued jobs before or behind others."""
        from etlmon.tui.steering.priority import Priorities

        self._priorities = self._priorities or Priorities(self)
        self._priorities.move(jobs, by)

    def control(self, action: str, jobs: Sequence[LiveJob]) -> None:
        """Pause, resume, cancel or retry jobs."""
        from etlmon.tui.steering.steering import Steering

        self._steering = self._steering or Steering(self)
        self._steering.begin(action, jobs)

    async def show_logs(self, jobs: Sequence[LiveJob]) -> None:
        """The logs of these jobs; of all where there is none."""
        from etlmon.tui.screens.logs import LogsScreen

        await self.switch_mode("logs")
        screen = self.screen_stack[0]
        if isinstance(screen, LogsScreen):
            screen.follow_jobs(tuple(live.id for live in jobs), {live.id: live.job.name for live in jobs})

    def copy_jobs(self, ids: Sequence[str], what: str) -> None:
        """Copy ids, or jobs as JSON."""
        from etlmon.tui.copying import copy_jobs

        copy_jobs(self, ids, what)

    def open_job(self, job_id: str, *, tab: int = 0) -> None:
        """The job's own screen."""
        from etlmon.tui.screens.job import JobScreen

        self.push_screen(JobScreen(job_id, self.jobs.jobs.get(job_id), tab=tab))
