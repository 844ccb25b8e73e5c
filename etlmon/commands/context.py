"""What every command knows: the options given before or after it; from them the server to talk to and the way to print.

Only click is imported here; the rest comes with the first use, so that a command starts fast.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from click.shell_completion import CompletionItem

    from etlmon.client.rest import Client
    from etlmon.commands.output import Printer
    from etlmon.host.endpoint import Endpoint

FORMATS = ("table", "wide", "json", "jsonl", "yaml", "name")
SHARED = ("url", "token_file", "profile", "data_dir", "config", "utc", "no_color", "debug", "output", "fields")


class Context:
    """The shared options of one invocation; None or False where one was not given."""

    def __init__(self) -> None:
        self.url: str | None = None
        self.token_file: str | None = None
        self.profile: str | None = None
        self.data_dir: str | None = None
        self.config: str | None = None
        self.utc = False
        self.no_color = False
        self.debug = False
        self.output: str | None = None
        self.fields: str | None = None
        self._endpoint: Endpoint | None = None
        self._client: Client | None = None

    def given(self) -> dict[str, Any]:
        """The shared options by name."""
        return {name: getattr(self, name) for name in SHARED}

    def endpoint(self) -> Endpoint:
        """The server and the token that these options, the environment, the profile and this machine name."""
        if self._endpoint is None:
            self._endpoint = self.find_endpoint()
            for warning in self._endpoint.warnings:
                from etlmon.commands.output import note

                note(f"etlmon: {warning}")
        return self._endpoint

    def endpoint_now(self) -> Endpoint:
        """The endpoint as it is by now: the server that ``server.json`` told of may have come back on another port.

        While none is told there the known one stays: what else this machine offers is another server.
        """
        from etlmon.core.errors import Usage
        from etlmon.host.endpoint import DEFAULT_ORIGIN

        known = self.endpoint()
        by_default = known.origin == DEFAULT_ORIGIN
        if known.may_move or by_default:
            with suppress(Usage):  # a token file that is gone by now: the server says what it thinks of the token
                found = self.find_endpoint()
                self._endpoint = found if by_default or found.origin == known.origin else known
        return self.endpoint()

    def find_endpoint(self) -> Endpoint:
        """Looked for anew: nothing is kept, nothing said."""
        from etlmon.host.endpoint import find_endpoint

        return find_endpoint(
            url=self.url,
            profile=self.profile,
            data_dir=self.data_dir,
            config=self.config,
            token_file=self.token_file,
        )

    def client(self, *, timeout_s: float = 10.0) -> Client:
        """The REST client for the endpoint, one per invocation."""
        from etlmon.client.rest import Client

        if self._client is None:
            self._client = Client(self.endpoint_now, timeout_s=timeout_s)
        return self._client

    def printer(self) -> Printer:
        """How to print here: format, terminal, colour, time zone."""
        from etlmon.commands.output import Printer

        return Printer.of(self)

    def close(self) -> None:
        """Let go of the connection, if one was made."""
        if self._client is not None:
            self._client.close()
            self._client = None


pass_context = click.make_pass_decorator(Context, ensure=True)


def _complete_ids(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    from etlmon.commands.job_ids import complete_ids

    return complete_ids(ctx, incomplete)


job_argument = click.argument("job_id", metavar="ID", shell_complete=_complete_ids)
"""One job, by id or an unambiguous part of it."""
jobs_argument = click.argument("job_ids", metavar="ID...", nargs=-1, required=True, shell_complete=_complete_ids)
"""One or several jobs."""


def _keep(ctx: click.Context, param: click.Parameter, value: Any) -> None:
    """Put a given option into the Context; one that was not given leaves what came before it."""
    name = param.name or ""
    if ctx.get_parameter_source(name) is click.core.ParameterSource.COMMANDLINE:
        setattr(ctx.ensure_object(Context), name, value)


def _option(*spellings: str, **attributes: Any) -> click.Option:
    return click.Option(spellings, callback=_keep, expose_value=False, **attributes)


def shared_options(*, prints: bool = True) -> list[click.Option]:
    """Fresh options that are accepted before and after every command; with ``prints`` also those that shape output."""
    options = [
        _option("--url", metavar="URL", help="The server (default: the one found on this machine)."),
        _option("--token-file", metavar="FILE", help="File that holds the token; or set ETLMON_TOKEN."),
        _option("--profile", metavar="NAME", help="A [profiles.NAME] of the config file."),
        _option("--data-dir", metavar="DIR", help="Data directory of the local server."),
        _option("--config", metavar="FILE", help="The config file."),
        _option("--no-color", is_flag=True, help="No colour (also NO_COLOR)."),
        _option("--debug", is_flag=True, help="Show the traceback of a failure."),
    ]
    if prints:
        choice = click.Choice(FORMATS, case_sensitive=False)
        options += [
            _option("-o", "--output", "output", type=choice, metavar="FORMAT", help=f"One of {', '.join(FORMATS)}."),
            _option(
                "--json",
                "fields",
                is_flag=False,
                flag_value="",
                metavar="FIELDS",
                help="JSON of these fields only: a,b.c.",
            ),
            _option("--utc", is_flag=True, help="Times in UTC."),
        ]
    return options
