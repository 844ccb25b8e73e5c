"""``etlmon tokens``: create, list and revoke. A token's text is shown once, when it is made."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import click

from etlmon.commands.context import Context, pass_context
from etlmon.commands.lazy import Entry, LazyGroup

COMMANDS = {
    "create": Entry("etlmon.commands.tokens:create", "Make a token and print it."),
    "list": Entry("etlmon.commands.tokens:list_tokens", "Every token, without its text."),
    "revoke": Entry("etlmon.commands.tokens:revoke", "Refuse a token from now on."),
}
ROLES = ("viewer", "operator", "admin", "reporter")

tokens = LazyGroup("tokens", table=COMMANDS, help="Create, list and revoke tokens. Needs an admin token.")


@click.command("create")
@click.option("--role", required=True, type=click.Choice(ROLES, case_sensitive=False), help="What it allows.")
@click.option("--name", required=True, metavar="N", help="What it is for.")
@click.option("--owner", metavar="O", help="The person or team behind it.")
@click.option("--expires", metavar="AGE|TIME", help="Valid for so long (90d) or until a timestamp.")
@pass_context
def create(context: Context, /, role: str, name: str, owner: str | None, expires: str | None) -> None:
    """Make a token and print it alone, so that it can go into a file; it is never shown again.

    \b
    etlmon tokens create --role reporter --name etl-3 > reporter.token
    """
    from etlmon.commands.output import write
    from etlmon.core.text import shown

    printer = context.printer()
    body = {"role": role, "name": name, "owner": owner}
    if expires:
        body["expiresAt"] = _expiry(expires)
    made = context.client().post("/api/tokens", body=body)
    if printer.structured:
        printer.item(made, _lines)
    else:
        write(shown(str(made["token"])) + "\n")


def _expiry(text: str) -> str:
    """``90d`` from now, or a timestamp, as the wire's timestamp."""
    import time

    from etlmon.core.durations import parse_duration
    from etlmon.core.errors import Usage
    from etlmon.core.instants import format_instant, parse_instant

    try:
        return format_instant(time.time_ns() // 1_000_000 + parse_duration(text))
    except (ValueError, OverflowError):
        pass  # no duration: then a timestamp
    try:
        return format_instant(parse_instant(text))
    except (ValueError, OverflowError) as error:
        raise Usage(f"--expires takes a duration such as 90d, or a timestamp, not {text!r}.") from error


def _lines(token: dict[str, Any], look: Any) -> Iterator[tuple[str, str]]:
    yield from ((key, str(value)) for key, value in token.items() if value is not None)


@click.command("list")
@pass_context
def list_tokens(context: Context, /) -> None:
    """Every token: what it allows, whose it is, when it was used; never its text."""
    from etlmon.commands.job_columns import instant_of, text_of
    from etlmon.commands.output import Column

    columns = (
        Column("ID", text_of("id")),
        Column("NAME", text_of("name"), elastic=16),
        Column("ROLE", text_of("role")),
        Column("OWNER", text_of("owner")),
        Column("CREATED", instant_of("createdAt")),
        Column("USED", instant_of("lastUsedAt")),
        Column("EXPIRES", instant_of("expiresAt")),
        Column("REVOKED", instant_of("revokedAt"), colour=lambda token: "muted"),
    )
    context.printer().items(context.client().listed("/api/tokens"), columns)


@click.command("revoke")
@click.argument("token_ids", metavar="ID...", nargs=-1, required=True)
@pass_context
def revoke(context: Context, /, token_ids: tuple[str, ...]) -> None:
    """Refuse tokens from now on; live connections made with them are closed. ID may be shortened."""
    from etlmon.commands.output import write
    from etlmon.core.text import shown

    client = context.client()
    known = [str(token["id"]) for token in client.listed("/api/tokens")]
    for token_id in [_meant(part, known) for part in token_ids]:
        client.delete(f"/api/tokens/{token_id}")
        write(shown(token_id) + "\n")


def _meant(part: str, known: list[str]) -> str:
    from etlmon.core.errors import NotFound, Usage

    fits = [part] if part in known else [each for each in known if each.startswith(part) or each.endswith(part)]
    if not fits:
        raise NotFound(f"No token has an id that begins or ends with {part[:80]!r}.")
    if len(fits) > 1:
        raise Usage(f"{part!r} fits {len(fits)} tokens; give more of the id: {', '.join(fits[:10])}.")
    return fits[0]
