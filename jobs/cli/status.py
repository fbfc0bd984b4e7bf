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
@click.option("--fail-if-overdue", is_flag=True, help="Exit code 65 where a job is overdue: for probes and alarms.")
@look_option
@config_option
@json_option
@click.pass_obj
def command(
    voice: Voice, /, *, job: str | None, fail_if_overdue: bool, store: str | None, config: Path | None, as_json: bool
) -> int:
    """Show how all jobs are, or JOB: last success and outcome, watermark, nights without a change, what lies in
    quarantine or waits, what is left, when it runs next, and whether it is overdue.

    \b
    tsi-fetch status
    tsi-fetch status cima --json
    tsi-fetch status --fail-if-overdue  a probe: 65 where a run is missing

    Only the store is asked; a job that never ran is listed, too.  A store that cannot be read hides no other: its jobs
    are listed as unreadable, and the exit code (75, 78) says so.  Below the table: what waits for something that is
    not there yet, for what and since when.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where
    from jobs.reporting.status import status_text
    from jobs.reporting.waiting import waiting_text
    from jobs.standing import standing

    found = standing(Where(config, voice.secrets, store), job, everything=as_json)
    if job:
        voice.tell_of(job)
    text = status_text(voice.clean(found.jobs)) + waiting_text(voice.clean(found.waits), found.more)
    code = found.exit_code(fail_if_overdue=fail_if_overdue)
    voice.show({"jobs": found.jobs, "waits": found.waits, "exit_code": code}, voice.place.completed(text))
    return code
