"""tsi-fetch run"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import FOLDER, Span, config_option, how_to_run, json_option, log_option, replay_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("run", short_help="Run a job now.")
@click.argument("job", type=JOB)
@click.option("--record", type=FOLDER, metavar="DIR", help="Keep the source's traffic, without secrets, for a replay.")
@replay_option
@how_to_run
@click.option("--max-duration", type=Span(), metavar="2h", help="End by plan after so long; the next run goes on.")
@config_option
@json_option
@log_option
@click.pass_obj
def command(
    voice: Voice,
    /,
    *,
    config: Path | None,
    as_json: bool,
    log: str | None,
    max_duration: timedelta | None,
    **asked: Any,
) -> int:
    """Run JOB: pull what changed, map it, write it to the sink, remember what the sink acknowledged, report.

    \b
    tsi-fetch run cima                       as the job file says
    tsi-fetch run cima --record tuesday      and keep what the source said
    tsi-fetch run cima --replay tuesday      from that, into a temporary folder
    tsi-fetch run cima --only 54347 --again  one product, changed or not

    A second run beside this one says that it waits for the job's lease, and gives up after a minute (exit code 75).
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, asked["store"], asked["sink"]))
    from jobs.running import run
    from jobs.signals import listening
    from jobs.wiring import Asked

    wanted = Asked(config=config, max_duration=max_duration, **asked)
    configuration = wanted.configuration(voice.secrets)
    voice.tell_of(wanted.job)
    with listening() as stop, voice.progress() as progress:
        ran = run(configuration, wanted, stop, progress)
    voice.place = ran.place(voice.place)
    voice.report(ran.report.to_json(), ran.places)
    return ran.report.exit_code
