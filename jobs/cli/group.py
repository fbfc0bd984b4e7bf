"""The command group.  A command's module is imported when it is asked for; each imports what it needs when it runs."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

import click

from jobs.config.mistakes import closest

COMMANDS: Mapping[str, str] = {
    "run": "jobs.cli.run",
    "plan": "jobs.cli.plan",
    "verify": "jobs.cli.verify",
    "jobs": "jobs.cli.jobs",
    "status": "jobs.cli.status",
    "explain": "jobs.cli.explain",
    "runs": "jobs.cli.runs",
    "quarantine": "jobs.cli.quarantine",
    "reconcile": "jobs.cli.reconcile",
    "backfill": "jobs.cli.backfill",
    "export": "jobs.cli.export",
    "check": "jobs.cli.check",
    "watermark": "jobs.cli.watermark",
    "audit": "jobs.cli.audit",
    "db": "jobs.cli.db",
    "completion": "jobs.cli.completion",
}
"""In the order of a day's work.  Each module has a click command called `command`."""


class LazyGroup(click.Group):
    """A group whose commands are imported by name."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(COMMANDS[cmd_name]).command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            hint = closest(args[0], COMMANDS)
            raise click.UsageError(f"There is no command {args[0]!r}{f'; {hint}' if hint else '.'}", ctx)
        return super().resolve_command(ctx, args)


def _show_version(ctx: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        from tsi_fetch.http.agent import version

        click.echo(f"tsi-fetch {version()}")
        ctx.exit()


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version", is_flag=True, is_eager=True, expose_value=False, callback=_show_version, help="Show the version."
)
def cli() -> None:
    """Keep FHIR servers in step with medicines registers, and tell the truth about it.

    \b
    tsi-fetch plan cima      what a run would do; nothing is written
    tsi-fetch run cima       do it
    tsi-fetch status         how all jobs are
    tsi-fetch explain KEY    where something came from, and whether it is still so

    Exit codes: 0 done · 2 usage · 65 something went to quarantine · 70 a bug · 75 try again later · 77 a guard
    refused · 78 a setting is wrong · 130/143 stopped by a signal.
    """
