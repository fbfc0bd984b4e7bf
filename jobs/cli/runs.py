"""tsi-fetch runs"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, look_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("runs", short_help="List the runs of a job, the latest first.")
@click.argument("job", type=JOB)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="How many.")
@look_option
@config_option
@json_option
@click.pass_obj
def command(voice: Voice, /, *, job: str, limit: int, store: str | None, config: Path | None, as_json: bool) -> int:
    """List the runs of JOB, the latest first: when, for how long, how it ended and what it did.

    \b
    tsi-fetch runs cima
    tsi-fetch runs cima --limit 1 --json     the last one, with its whole report
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.looking import Where, run_lines, runs_of
    from jobs.reporting.table import table_text

    runs = runs_of(Where(config, voice.secrets, store), job, limit)
    voice.show({"job": job, "runs": runs}, table_text(voice.clean(run_lines(runs)), f"{job} has not run yet"))
    return 0
