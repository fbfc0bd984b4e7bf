"""tsi-fetch runs"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.in_order import OrJob
from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, look_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


class Listing(OrJob):
    """A group whose `list` need not be written: `runs cima` is `runs list cima`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        helped = bool(args) and args[0] in ctx.help_option_names
        self.check_word(ctx, args)
        completing = ctx.resilient_parsing and not args  # a shell asks what may come here
        if not helped and not completing and (not args or args[0] not in self.commands):
            args = ["list", *args]
        return super().parse_args(ctx, args)


@click.group("runs", cls=Listing, short_help="List the runs, or show one.")
def command() -> None:
    """List the runs of all jobs or of one, the latest first; or show what one did, and how long it took.

    \b
    tsi-fetch runs                     of all jobs, as tsi-fetch runs list
    tsi-fetch runs cima                of one
    tsi-fetch runs show 260302-0930    what one did: its id, or its number
    tsi-fetch runs --json --limit 100  for a dashboard
    """


@command.command("list", short_help="List the runs, the latest first.")
@click.argument("job", type=JOB, required=False)
@click.option(
    "--limit", type=click.IntRange(1, 10_000), default=20, show_default=True, metavar="N", help="How many in all."
)
@look_option
@config_option
@json_option
@click.pass_obj
def list_runs(
    voice: Voice, /, *, job: str | None, limit: int, store: str | None, config: Path | None, as_json: bool
) -> int:
    """List the runs of all jobs, or of JOB, the latest first: when, for how long, how it ended and what it did.

    \b
    tsi-fetch runs list
    tsi-fetch runs list cima
    tsi-fetch runs list cima --limit 1 --json  the last one, with its whole report
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where
    from jobs.reporting.runs import runs_text
    from jobs.run_list import runs_of

    found = runs_of(Where(config, voice.secrets, store), job, limit)
    voice.errors(found.troubles)
    told = {"job": job, "runs": found.told, "exit_code": found.exit_code}
    none = f"{job} has not run yet" if job else "no job has run yet"
    none = found.nothing("no run is known" if found.troubles else none)
    voice.show(told, runs_text(voice.clean(found.told), job, none))
    return found.exit_code


@command.command("show", short_help="Show what one run did.")
@click.argument("run", metavar="ID")
@look_option
@config_option
@json_option
@click.pass_obj
def show(voice: Voice, /, *, run: str, store: str | None, config: Path | None, as_json: bool) -> int:
    """Show one run: counts per type and action, reasons, seconds per phase, requests and bytes per host, the slowest
    requests and those that were sent again.

    \b
    tsi-fetch runs show 260302-0930-ab12
    tsi-fetch runs show 260302-09           as much of it as no other run has
    tsi-fetch runs show 17 --json           by its number

    ID is looked for in all stores of the job file.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where
    from jobs.reporting.runs import run_text
    from jobs.run_list import run_of

    found = run_of(Where(config, voice.secrets, store), run)
    voice.tell_of(found["job"])
    voice.show(found, voice.place.completed(run_text(voice.clean(found))))
    return 0
