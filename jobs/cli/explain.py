"""tsi-fetch explain"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, log_option, look_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("explain", short_help="Say where a resource came from.")
@click.argument("what", metavar="TYPE/ID|KEY")
@click.option("--job", type=JOB, metavar="JOB", help="Only what this job knows.")
@click.option("--offline", is_flag=True, help="Ask the store alone, and not what the sink holds now.")
@look_option
@config_option
@json_option
@log_option
@click.pass_obj
def command(
    voice: Voice,
    /,
    *,
    what: str,
    job: str | None,
    offline: bool,
    store: str | None,
    config: Path | None,
    as_json: bool,
    log: str | None,
) -> int:
    """Say where a resource came from, and whether its sink still holds what was written; or all that a row gave.

    \b
    tsi-fetch explain Composition/es-aemps-comp-p-54347  this leaflet: why?
    tsi-fetch explain 54347                              all of one product
    tsi-fetch explain 54347 --offline --json

    The first sentence says the essence: which row it comes from, which run wrote it last, whether somebody else has
    changed it since, what waits or lies in quarantine for it.  No value of it is printed, and nothing is written.

    Exit code 65 where nothing is known of it; 75 or 78 where its sink could not be asked, and all else is told.
    """
    voice.speak(log=log, as_json=as_json, place=Place(config, store))
    from jobs.explaining import explain
    from jobs.looking import Where
    from jobs.reporting.explained import explained_text
    from jobs.signals import listening

    with listening("") as stop:
        found = explain(Where(config, voice.secrets, store), what, job, stop, offline=offline)
    figures = found.to_json()
    voice.show(figures, voice.place.completed(explained_text(voice.clean(figures))))
    return found.exit_code
