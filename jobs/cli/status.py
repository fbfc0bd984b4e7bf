"""tsi-fetch status"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.options import config_option, json_option
from jobs.cli.voice import Voice


@click.command("status", short_help="Show how the jobs are.")
@click.argument("job", required=False)
@config_option
@json_option
@click.pass_obj
def command(voice: Voice, job: str | None, config: Path | None, as_json: bool) -> int:
    """Show how all jobs are, or JOB: last success, last outcome, watermark, what lies in quarantine, what is left.

    \b
    tsi-fetch status
    tsi-fetch status cima --json

    Only the store is asked; a job that never ran is listed, too.
    """
    voice.speak(as_json=as_json)
    from jobs.looking import status_rows
    from jobs.reporting.table import table_text

    rows = status_rows(config, job, voice.secrets)
    voice.show({"jobs": rows}, table_text(rows, "no jobs"))
    return 0
