"""tsi-fetch audit"""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.job_names import JOB
from jobs.cli.options import config_option, json_option, look_option
from jobs.cli.voice import Voice
from jobs.reporting.place import Place


@click.command("audit", short_help="Show what persons changed, when and why.")
@click.argument("job", type=JOB, required=False)
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, metavar="N", help="How many.")
@look_option
@config_option
@json_option
@click.pass_obj
def command(
    voice: Voice, /, *, job: str | None, limit: int, store: str | None, config: Path | None, as_json: bool
) -> int:
    """Show what was changed by hand, of all jobs or of JOB, the latest first: who, when, what and why.

    \b
    tsi-fetch audit
    tsi-fetch audit cima --limit 5 --json     with every figure

    What runs do is not here: tsi-fetch runs JOB.
    """
    voice.speak(as_json=as_json, place=Place(config, store))
    from jobs.auditing import audit_lines, audit_rows
    from jobs.looking import Where
    from jobs.reporting.table import table_text

    found = audit_rows(Where(config, voice.secrets, store), job, limit)
    voice.errors(found.troubles)
    text = table_text(voice.clean(audit_lines(found.told)), found.nothing("nothing was changed by hand"))
    voice.show({"audit": found.told, "exit_code": found.exit_code}, text)
    return found.exit_code
