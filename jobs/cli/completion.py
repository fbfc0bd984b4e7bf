"""tsi-fetch completion"""

from __future__ import annotations

import click

from jobs.cli.voice import Voice

VARIABLE = "_TSI_FETCH_COMPLETE"
"""What click makes of the program's name: set by the shell that asks."""


@click.command("completion", short_help="Print what makes a shell complete commands and jobs.")
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def command(ctx: click.Context, /, shell: str) -> int:
    """Print the script that makes SHELL complete commands, options and the names of jobs.

    \b
    eval "$(tsi-fetch completion bash)"                           in ~/.bashrc
    eval "$(tsi-fetch completion zsh)"                            in ~/.zshrc
    tsi-fetch completion fish > ~/.config/fish/completions/tsi-fetch.fish

    Jobs are those of --config where it stands before, else of TSI_FETCH_CONFIG, else the stock ones.
    """
    voice: Voice = ctx.obj
    voice.speak()
    from click.shell_completion import get_completion_class

    maker = get_completion_class(shell)
    assert maker is not None  # one of the choices, which click has built in
    voice.show(None, maker(ctx.find_root().command, {}, "tsi-fetch", VARIABLE).source())
    return 0
