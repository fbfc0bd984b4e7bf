"""tsi-fetch plan"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import Any

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, how_to_run, json_option, log_option, replay_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("plan", short_help="Show what a run would do; write nothing.")
@click.argument("job", type=JOB)
@replay_option
@how_to_run
@click.option("--diff", is_flag=True, help="Show what would change in each update; prints values of resources.")
@click.option(
    "--limit", type=click.IntRange(0), default=20, show_default=True, metavar="N", help="List so many resources."
)
@config_option
@json_option
@log_option
@click.pass_obj
def command(
    voice: Voice,
    /,
    *,
    diff: bool,
    limit: int,
    config: Path | None,
    as_json: bool,
    log: str | None,
    **asked: Any,
) -> int:
    """Show what a run of JOB would create, update, delete and leave.  Nothing is written anywhere.

    \b
    tsi-fetch plan cima                      how many of each, and 20 by name
    tsi-fetch plan cima --only 54347 --diff  what would change, old → new
    tsi-fetch plan cima --limit 1000 --json
    tsi-fetch plan cima --replay tuesday

    Resources are listed by what would become of them, updates first, what is unchanged last; where not all are listed,
    some of each.  All of them are counted, listed or not.
    With --diff each update is followed by the paths that differ, and the words of a narrative.  Without it no value of
    a resource is printed; with it they may hold personal data.

    The source is asked as a run would ask it, and the sink is read; a plan needs no lease.  The exit code is that of
    the run: 77 where a guard would refuse, 65 where something would go to quarantine.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, asked["store"], asked["sink"]))
    from jobs.planning import Listing
    from jobs.running import plan
    from jobs.signals import listening
    from jobs.wiring import Asked

    wanted = Asked(config=config, **asked)
    configuration = wanted.configuration(voice.secrets)
    voice.tell_of(wanted.job)
    with closing(Listing(limit, diff=diff)) as listing:
        with listening("plan again") as stop, voice.progress() as progress:
            ran = plan(configuration, wanted, stop, progress, listing)
        voice.place = ran.place(voice.place)
        voice.report(ran.report.to_json(), ran.places, listing)
    return ran.report.exit_code
