"""``etlmon completion``: the script that lets a shell complete commands, options and job ids."""

from __future__ import annotations

import click

from etlmon.commands.context import Context, pass_context

SHELLS = ("bash", "zsh", "fish")


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
@pass_context
def completion(context: Context, /, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash:  etlmon completion bash > ~/.local/share/bash-completion/completions/etlmon
    zsh:   etlmon completion zsh > "${fpath[1]}/_etlmon"
    fish:  etlmon completion fish > ~/.config/fish/completions/etlmon.fish
    """
    from click.shell_completion import BashComplete, FishComplete, ZshComplete

    from etlmon.cli import root

    makers = {"bash": BashComplete, "zsh": ZshComplete, "fish": FishComplete}
    script = makers[shell](root, {}, "etlmon", "_ETLMON_COMPLETE").source_template
    values = makers[shell](root, {}, "etlmon", "_ETLMON_COMPLETE").source_vars()
    click.echo((script % values).strip())
