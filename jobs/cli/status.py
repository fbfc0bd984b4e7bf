"""tsi-fetch status"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, look_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("status", short_help="Show how the jobs are.")
@click.argument("job", type=JOB, required=False)
@look_option
@config_option
@json_option
@click.pass_obj
def command(voice: Voice, /, *, job: str | None, store: str | None, config: Path | None, as_json: bool) -> int:
    """Show how all jobs are, or JOB: last success, last outcome, watermark, what lies in quarantine, what is left;
    then what waits for something that is not there yet, for what and since when.

    \b
    tsi-fetch status
    tsi-fetch status cima --json

    Only the store is asked; a job that never ran is listed, too.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where, standing
    from jobs.reporting.table import table_text
    from jobs.reporting.waiting import waiting_text

    found = standing(Where(config, voice.secrets, store), job, everything=as_json)
    text = table_text(voice.clean(found.jobs), "no jobs") + waiting_text(voice.clean(found.waits), found.more)
    voice.show({"jobs": found.jobs, "waits": found.waits}, text)
    return 0
