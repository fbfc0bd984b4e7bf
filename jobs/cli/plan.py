"""tsi-fetch plan"""

from __future__ import annotations

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
@config_option
@json_option
@log_option
@click.pass_obj
def command(voice: Voice, /, *, config: Path | None, as_json: bool, log: str | None, **asked: Any) -> int:
    """Show what a run of JOB would create, update, delete and leave.  Nothing is written anywhere.

    \b
    tsi-fetch plan cima
    tsi-fetch plan cima --only 54347
    tsi-fetch plan cima --replay tuesday --json

    The source is asked as a run would ask it, and the sink is read; a plan needs no lease.  The exit code is that of
    the run: 77 where a guard would refuse, 65 where something would go to quarantine.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, asked["store"], asked["sink"]))
    from jobs.running import plan
    from jobs.signals import listening
    from jobs.wiring import Asked

    wanted = Asked(config=config, **asked)
    configuration = wanted.configuration(voice.secrets)
    with listening() as stop, voice.progress() as progress:
        ran = plan(configuration, wanted, stop, progress)
    voice.place = ran.place(voice.place)
    voice.report(ran.report.to_json(), ran.places)
    return ran.report.exit_code
