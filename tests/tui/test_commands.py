"""The ``:`` line and the palette: one registry, what it understands, and what it says when it does not."""

from __future__ import annotations

from console_world import console
from textual.widgets import Input

from etlmon.tui import commands
from world import ServerProcess, new_id, started


def test_a_command_is_known_by_its_name_the_start_of_it_or_its_letter() -> None:
    for text, name, rest in (
        ("jobs /orders", "jobs", "/orders"),
        (":logs crm_sync", "logs", "crm_sync"),
        ("not", "notices", ""),
        ("q", "quit", ""),
        ("h", "help", ""),
    ):
        found = commands.parsed(text)
        assert not isinstance(found, str)
        assert (found[0].name, found[1]) == (name, rest)


def test_what_is_no_command_is_told_with_what_was_probably_meant() -> None:
    assert commands.parsed("themes x") == "themes is no command: did you mean 'theme'?"
    assert commands.parsed("job") == "job wants ID or NAME"
    assert commands.parsed("\x1b[31mx") == "\u241b[31mx is no command"


def test_the_line_under_the_command_tells_what_fits() -> None:
    assert commands.told("").startswith("jobs   logs   job   server")
    assert commands.told("the") == "theme NAME   other colours"
    assert commands.told("job x").startswith("job ID or NAME")
    assert commands.told("jo") == "jobs   job"


async def test_commands_filter_open_refuse_and_remember(server: ServerProcess) -> None:
    ids = {name: new_id() for name in ("orders_nightly", "crm_sync", "ledger_close")}
    server.report(*[started(job, name) for name, job in ids.items()])
    server.report({"kind": "failed", "jobId": ids["ledger_close"], "failure": {"kind": "error", "message": "no"}})
    async with console(server) as seat:
        await seat.press("colon")
        await seat.shows(" :", "jobs   logs   job   server")
        await seat.types("jobs /orders")
        await seat.press("enter")
        await seat.hides("crm_sync")
        await seat.press("colon")
        await seat.types("jobs !")
        await seat.press("enter")
        await seat.shows("ledger_close")
        await seat.hides("orders_nightly")
        await seat.press("colon", "up")
        assert seat.app.screen.query_one(Input).value == "jobs !"
        await seat.press("up", "enter")
        await seat.shows("orders_nightly")
        await seat.press("colon")
        await seat.types("jbos")
        await seat.press("enter")
        await seat.shows("^ jbos is no command: did you mean 'jobs'?")
        await seat.press("escape", "colon")
        await seat.types("jobs stat:x")
        await seat.press("enter")
        await seat.shows(":jobs stat:x", "^ ")
        await seat.press("escape")
        await seat.shows(" orders ", "1 job of 3")


async def test_a_job_is_opened_by_name_with_the_rest_suggested_or_by_a_part_of_its_id(server: ServerProcess) -> None:
    job = new_id()
    server.report(started(job, "orders_nightly"), started(new_id(), "crm_sync"))
    async with console(server) as seat:
        await seat.press("colon")
        await seat.types("job o")
        await seat.shows(":job orders_nightly")
        await seat.press("tab")
        await seat.until(lambda: seat.app.screen.query_one(Input).value == "job orders_nightly", "the name completed")
        await seat.press("enter")
        await seat.shows("Jobs › orders_nightly")
        await seat.press("colon")
        await seat.types("jobs")
        await seat.press("enter")
        await seat.shows("crm_sync")
        await seat.press("colon")
        await seat.types(f"job {job[-8:]}")
        await seat.press("enter")
        await seat.shows("Jobs › orders_nightly")
        await seat.press("colon")
        await seat.types("job orders_nihgtly")
        await seat.press("enter")
        await seat.shows("did you mean 'orders_nightly'?")


async def test_the_palette_offers_the_same_and_shows_hostile_names_as_text(server: ServerProcess) -> None:
    server.report(started(new_id(), "[red]evil[/red]"))
    async with console(server, size=(120, 40)) as seat:
        await seat.press("ctrl+p")
        await seat.shows("server URL or PROFILE", "leave the console; jobs and server go on")
        await seat.types("job evil")
        await seat.shows("job [red]evil[/red]")
        await seat.press("down", "enter")
        await seat.shows("Jobs › [red]evil[/red]")


async def test_another_server_a_theme_and_quitting(server: ServerProcess) -> None:
    server.report(started(new_id()))
    async with console(server) as seat:
        await seat.press("colon")
        await seat.types("theme etlmon-light")
        await seat.press("enter")
        await seat.until(lambda: seat.app.theme == "etlmon-light", "the theme")
        await seat.press("colon")
        await seat.types("server nowhere")
        await seat.press("enter")
        await seat.shows("There is no profile nowhere")
        await seat.press("colon")
        await seat.types("server http://etl-2:8081")
        await seat.press("enter")
        await seat.until(lambda: seat.app.return_value is not None, "the console leaves")
    assert seat.app.return_value == "server http://etl-2:8081"
